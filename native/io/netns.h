// Contract: run something inside a named network namespace without moving the calling thread: a
// short-lived thread enters it, opens sockets or devices (which stay in that namespace), and ends.
#pragma once

#include <functional>
#include <string>

#include "io/os_error.h"

namespace gwlb::io {

// `netns`: "" for the current one, a name under /run/netns, or a path. The error of entering, or
// what `work` returns.
OsError in_netns(const std::string& netns, const std::function<OsError()>& work);

}  // namespace gwlb::io
