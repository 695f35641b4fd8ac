#pragma once

#include <cstdint>
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

// The error that `errno` now holds.
OsError last_error(const char* syscall, std::string detail);

// "EADDRINUSE"; "EUNKNOWN" for a number without a name here.
const char* error_name(int number);

// "bind 10.0.0.1:6081: Address already in use (EADDRINUSE)"; "" for success.
std::string sentence(const OsError& error);

// "10.0.0.1:6081" of an address in host order.
std::string address_text(uint32_t address, uint16_t port);

}  // namespace gwlb::io
