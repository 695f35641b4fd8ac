// The routes and rules of a network namespace, as far as they tell where packets go when a device
// goes away.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "io/os_error.h"

namespace gwlb::io {

struct Route {
  uint8_t version = 4;      // 4, 6
  uint8_t type = 0;         // RTN_UNICAST, RTN_BLACKHOLE, ...
  uint32_t table = 0;       // 254: main
  uint32_t metric = 0;      // the least one wins
  uint8_t prefix_bits = 0;  // 0: default route
  uint8_t protocol = 0;     // RTPROT_KERNEL: the kernel made it for an address of the device
  std::array<uint8_t, 16> prefix{};  // network order; IPv4 in the first four bytes
  std::vector<uint32_t> links;       // interface indices; several for a multipath route
};

struct RouteRule {
  uint8_t version = 4;
  uint8_t action = 0;  // FR_ACT_TO_TBL, FR_ACT_BLACKHOLE, ...
  uint32_t priority = 0;
  uint32_t table = 0;
  std::string input;  // device that packets enter by; "": any
};

struct RoutingTables {
  std::vector<Route> routes;                // without those of the local table
  std::vector<RouteRule> rules;             // in the order they are tried
  std::map<uint32_t, std::string> devices;  // names by interface index
  bool complete = true;                     // false: there were more routes than kRoutesMax
};

inline constexpr uint32_t kRoutesMax = 65'536;

// Of the namespace `netns` ("": the current one). Errors: those of in_netns and of netlink.
OsError read_routes(const std::string& netns, RoutingTables* out);

}  // namespace gwlb::io
