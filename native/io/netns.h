// Run something inside a named network namespace without moving the calling thread: a short-lived
// thread enters it, opens sockets or devices (which stay in that namespace), and ends.
#pragma once

#include <functional>
#include <string>

#include "io/os_error.h"

namespace gwlb::io {

// `netns`: "" for the current one (then `work` runs on the calling thread), a name under /run/netns
// (as `ip netns` keeps them), or a path (anything with a slash). Returns the error of entering, or
// what `work` returns. Entering: ENOENT from open (no such namespace), EINVAL from setns (the file
// is no network namespace), EPERM from setns (needs CAP_SYS_ADMIN), each with the path as detail.
OsError in_netns(const std::string& netns, const std::function<OsError()>& work);

}  // namespace gwlb::io
