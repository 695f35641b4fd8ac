// What takes too long for JavaScript's thread: it runs on a thread of libuv's pool, and JavaScript
// has a promise of it. An environment does not end before its work has.
#pragma once

#include <napi.h>

#include <functional>
#include <utility>

#include "io/os_error.h"
#include "node/class_wrap.h"

namespace gwlb::node {

// On another thread.
using Work = std::function<io::OsError()>;
// Afterwards, on JavaScript's thread, also where the work failed: what the promise resolves with
// where it did not. Null: undefined, or an exception is pending.
using Done = std::function<napi_value(napi_env env, const io::OsError& error)>;

// The promise, or null with an exception pending (then nothing runs). It rejects with the system
// error. `keep` is an object that must not be collected meanwhile, or null.
napi_value off_thread(napi_env env, napi_value keep, Work work, Done done = nullptr);

}  // namespace gwlb::node
