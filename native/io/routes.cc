#include "io/routes.h"

#include <linux/fib_rules.h>
#include <linux/rtnetlink.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "io/netlink.h"
#include "io/netns.h"

namespace gwlb::io {
namespace {

uint8_t version_of(uint8_t family) { return family == AF_INET6 ? 6 : 4; }

void read_multipath(const uint8_t* data, size_t bytes, Route* route) {
  while (bytes >= sizeof(rtnexthop)) {
    rtnexthop hop;
    std::memcpy(&hop, data, sizeof hop);
    if (hop.rtnh_len < sizeof hop || hop.rtnh_len > bytes) return;
    route->links.push_back(static_cast<uint32_t>(hop.rtnh_ifindex));
    const size_t step = RTNH_ALIGN(hop.rtnh_len);
    if (step >= bytes) return;
    data += step;
    bytes -= step;
  }
}

// Cached entries and the local table are no routes of an administrator.
bool read_route(const nlmsghdr& message, Route* route) {
  rtmsg fixed;
  std::memcpy(&fixed, NLMSG_DATA(&message), sizeof fixed);
  if ((fixed.rtm_flags & RTM_F_CLONED) != 0) return false;
  route->version = version_of(fixed.rtm_family);
  route->type = fixed.rtm_type;
  route->table = fixed.rtm_table;
  route->prefix_bits = fixed.rtm_dst_len;
  route->protocol = fixed.rtm_protocol;
  read_attributes(message, sizeof fixed, [route](uint16_t type, const uint8_t* data, size_t bytes) {
    switch (type) {
      case RTA_TABLE:
        route->table = attribute_u32(data, bytes);
        break;
      case RTA_PRIORITY:
        route->metric = attribute_u32(data, bytes);
        break;
      case RTA_DST:
        std::memcpy(route->prefix.data(), data, std::min(bytes, route->prefix.size()));
        break;
      case RTA_OIF:
        route->links.push_back(attribute_u32(data, bytes));
        break;
      case RTA_MULTIPATH:
        read_multipath(data, bytes, route);
        break;
      default:
        break;
    }
  });
  return route->table != RT_TABLE_LOCAL;
}

RouteRule read_rule(const nlmsghdr& message) {
  fib_rule_hdr fixed;
  std::memcpy(&fixed, NLMSG_DATA(&message), sizeof fixed);
  RouteRule rule;
  rule.version = version_of(fixed.family);
  rule.action = fixed.action;
  rule.table = fixed.table;
  read_attributes(message, sizeof fixed, [&rule](uint16_t type, const uint8_t* data, size_t bytes) {
    if (type == FRA_TABLE) rule.table = attribute_u32(data, bytes);
    if (type == FRA_PRIORITY) rule.priority = attribute_u32(data, bytes);
    if (type == FRA_IIFNAME) {
      const char* text = reinterpret_cast<const char*>(data);
      rule.input.assign(text, strnlen(text, bytes));
    }
  });
  return rule;
}

OsError read_family(uint8_t family, RoutingTables* out) {
  rtmsg routes{};
  routes.rtm_family = family;
  NetlinkRequest ask_routes(RTM_GETROUTE, NLM_F_DUMP, &routes, sizeof routes);
  OsError error = ask_netlink(ask_routes, "routes", [out](const nlmsghdr& message) {
    if (message.nlmsg_type != RTM_NEWROUTE) return true;
    Route route;
    if (!read_route(message, &route)) return true;
    out->complete = out->routes.size() < kRoutesMax;
    if (out->complete) out->routes.push_back(std::move(route));
    return out->complete;
  });
  if (!error.ok()) return error;
  fib_rule_hdr rules{};
  rules.family = family;
  NetlinkRequest ask_rules(RTM_GETRULE, NLM_F_DUMP, &rules, sizeof rules);
  error = ask_netlink(ask_rules, "rules", [out](const nlmsghdr& message) {
    if (message.nlmsg_type == RTM_NEWRULE) out->rules.push_back(read_rule(message));
    return true;
  });
  // A kernel without policy routing has the main table alone.
  return error.number == EOPNOTSUPP ? OsError{} : error;
}

OsError read_devices(RoutingTables* out) {
  const ifinfomsg any{};
  NetlinkRequest request(RTM_GETLINK, NLM_F_DUMP, &any, sizeof any);
  return ask_netlink(request, "links", [out](const nlmsghdr& message) {
    ifinfomsg link;
    std::memcpy(&link, NLMSG_DATA(&message), sizeof link);
    read_attributes(message, sizeof link, [&](uint16_t type, const uint8_t* data, size_t bytes) {
      if (type != IFLA_IFNAME) return;
      const char* text = reinterpret_cast<const char*>(data);
      out->devices[static_cast<uint32_t>(link.ifi_index)].assign(text, strnlen(text, bytes));
    });
    return true;
  });
}

}  // namespace

OsError read_routes(const std::string& netns, RoutingTables* out) {
  *out = {};
  return in_netns(netns, [out]() -> OsError {
    OsError error = read_devices(out);
    if (error.ok()) error = read_family(AF_INET, out);
    if (error.ok() && out->complete) error = read_family(AF_INET6, out);
    std::stable_sort(
        out->rules.begin(), out->rules.end(),
        [](const RouteRule& a, const RouteRule& b) { return a.priority < b.priority; });
    return error;
  });
}

}  // namespace gwlb::io
