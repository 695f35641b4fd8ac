// What the system said, as JavaScript knows it: Error with `code` ("EADDRINUSE"), `syscall`
// ("bind"), `detail` ("10.0.0.1:6081") and the message "bind 10.0.0.1:6081: address already in
// use".
#pragma once

#include <napi.h>

#include <string>

#include "io/os_error.h"

namespace gwlb::node {

// "EADDRINUSE"; "E" and the number for one that is not in the table.
std::string errno_name(int number);
void throw_system_error(napi_env env, const io::OsError& error);
// ENOMEM for what a constructor could not allocate.
void throw_out_of_memory(napi_env env, const std::string& detail);

}  // namespace gwlb::node
