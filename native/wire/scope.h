// Addresses that no router forwards.
#pragma once

#include <cstdint>

#include "base/bytes.h"

namespace gwlb::wire {

// First bytes of addresses that may be such: of IPv4 in bit 0, of IPv6 in bit 1.
struct ScopeTable {
  uint8_t of[256] = {};
  constexpr ScopeTable() {
    for (uint32_t first = 0; first < 256; ++first) {
      const bool v4 = first == 0 || first == 127 || first == 169 || first >= 224;
      const bool v6 = first == 0 || first >= 0xfe;
      of[first] = static_cast<uint8_t>((v4 ? 1 : 0) | (v6 ? 2 : 0));
    }
  }
};
inline constexpr ScopeTable kScopes;

inline bool is_local_ipv4(uint32_t address) {
  return address >> 24 == 0 || address >> 24 == 127 || address >> 16 == 0xa9fe;
}
// `ip` is an IPv4 header: 0/8 and 127/8 (RFC 1122, section 3.2.1.3), 169.254/16 (RFC 3927, section
// 2.7), to 224.0.0/24 (RFC 5771, section 4) and 255.255.255.255 (RFC 919, section 7), from groups
// and broadcasts (RFC 1812, section 5.3.7).
inline bool stays_on_link_ipv4(const uint8_t* ip) {
  const uint32_t source = base::load_be32(ip + 12);
  const uint32_t destination = base::load_be32(ip + 16);
  return is_local_ipv4(source) || is_local_ipv4(destination) || destination >> 8 == 0xe00000 ||
         destination == 0xffffffff || source >> 28 == 0xe || source == 0xffffffff;
}

inline bool is_local_ipv6(const uint8_t* address) {
  if (address[0] == 0xfe) return (address[1] & 0xc0) == 0x80;
  // :: and ::1.
  return (base::load<uint64_t>(address) | base::load<uint32_t>(address + 8)) == 0 &&
         base::load_be32(address + 12) <= 1;
}
// `ip` is an IPv6 header: :: and ::1 (RFC 4291, sections 2.5.2 and 2.5.3), fe80::/10 (2.5.6), to
// groups of an interface's or a link's scope, from groups (2.7).
inline bool stays_on_link_ipv6(const uint8_t* ip) {
  const uint8_t* source = ip + 8;
  const uint8_t* destination = ip + 24;
  return is_local_ipv6(source) || is_local_ipv6(destination) || source[0] == 0xff ||
         (destination[0] == 0xff && (destination[1] & 0x0f) <= 2);
}

// `ip` is the whole header of a packet of that version: false for nearly all of them, by the first
// bytes of its addresses.
inline bool may_stay_on_link_ipv4(const uint8_t* ip) {
  return ((kScopes.of[ip[12]] | kScopes.of[ip[16]]) & 1) != 0;
}
inline bool may_stay_on_link_ipv6(const uint8_t* ip) {
  return ((kScopes.of[ip[8]] | kScopes.of[ip[24]]) & 2) != 0;
}

// `ip` is the whole header of a packet.
inline bool may_stay_on_link(const uint8_t* ip) {
  return ip[0] >> 4 == 4 ? may_stay_on_link_ipv4(ip) : may_stay_on_link_ipv6(ip);
}
inline bool stays_on_link(const uint8_t* ip) {
  return ip[0] >> 4 == 4 ? stays_on_link_ipv4(ip) : stays_on_link_ipv6(ip);
}

}  // namespace gwlb::wire
