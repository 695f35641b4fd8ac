#pragma once

#include <string>

namespace gwlb::io {

// What the system said, and to which call: becomes a GatewayError with `code`, `syscall` and a
// sentence. `number` 0 means success.
struct OsError {
  int number = 0;
  const char* syscall = "";
  std::string detail;  // what was asked for: "10.0.0.1:6081", "gwlbe0", "/run/netns/gw"
  bool ok() const { return number == 0; }
};

}  // namespace gwlb::io
