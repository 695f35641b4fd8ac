// Questions to the kernel's routing (rtnetlink), about the current network namespace.
#pragma once

#include <linux/netlink.h>

#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "io/os_error.h"

struct rtattr;

namespace gwlb::io {

// A request: header, fixed part of the message, attributes.
class NetlinkRequest {
 public:
  NetlinkRequest(uint16_t type, uint16_t flags, const void* fixed, size_t bytes);
  void attribute(uint16_t type, const void* data, size_t bytes);
  const std::vector<uint8_t>& bytes();

 private:
  std::vector<uint8_t> bytes_;
};

// Gets each message of the answer; false: enough.
using NetlinkReader = std::function<bool(const nlmsghdr& message)>;

// Asks and reads the whole answer, of one message or (NLM_F_DUMP) of many. The error that the
// kernel answered (ENODEV: no such link) has `detail`.
OsError ask_netlink(NetlinkRequest& request, const std::string& detail, const NetlinkReader& each);

// The attributes behind the first `bytes` of a message, or of a nested attribute's payload.
using AttributeReader = std::function<void(uint16_t type, const uint8_t* data, size_t bytes)>;
void read_attributes(const nlmsghdr& message, size_t fixed, const AttributeReader& each);
void read_attributes(const uint8_t* data, size_t bytes, const AttributeReader& each);

// An attribute's payload as a number; 0 where it is shorter.
uint32_t attribute_u32(const uint8_t* data, size_t bytes);

// A network device.
struct LinkInfo {
  uint32_t index = 0;
  bool up = false;
  std::string kind;  // "tun", "veth", ...; "" for hardware
  // Of a TUN device:
  bool multi_queue = false;
  uint32_t queues = 0;  // that somebody holds
};

// Errors: ENODEV for no such device; those of sockets.
OsError find_link(const std::string& name, LinkInfo* out);

}  // namespace gwlb::io
