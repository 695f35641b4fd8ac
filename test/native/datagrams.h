// UDP payloads as a gateway (or somebody hostile) sends them to an appliance, built byte by byte
// from RFC 8926 and not by the code under test.
#pragma once

#include <initializer_list>
#include <vector>

#include "test/native/packets.h"
#include "test/native/wire_rig.h"

namespace gwlb::test {

struct Option {
  uint16_t option_class = 0;
  uint8_t type = 0;
  Bytes data;
};

inline constexpr uint64_t kTestEndpoint = 0x123456789abcdef0;
inline constexpr uint64_t kTestAttachment = 0x0011223344556677;

inline Bytes big_endian(uint64_t value, size_t bytes) {
  Bytes b(bytes);
  for (size_t i = 0; i < bytes; ++i) b[i] = static_cast<uint8_t>(value >> (8 * (bytes - 1 - i)));
  return b;
}

// The three gateway options in their usual order.
inline std::vector<Option> gateway_options(uint32_t cookie, uint16_t option_class = 0x0108) {
  return {{option_class, 1, big_endian(kTestEndpoint, 8)},
          {option_class, 2, big_endian(kTestAttachment, 8)},
          {option_class, 3, big_endian(cookie, 4)}};
}

inline void append(Bytes* to, const Bytes& more) {
  to->insert(to->end(), more.begin(), more.end());
}

// `reserved` is written into every bit that a receiver has to ignore (R15, R19).
inline Bytes geneve(uint16_t protocol_type, const std::vector<Option>& options, uint32_t vni = 0,
                    bool reserved = false) {
  Bytes b(8);
  put16(b, 2, protocol_type);
  put32(b, 4, vni << 8 | (reserved ? 0xff : 0));
  if (reserved) b[1] = 0x3f;
  for (const Option& option : options) {
    Bytes header(4);
    put16(header, 0, option.option_class);
    header[2] = option.type;
    header[3] = static_cast<uint8_t>(option.data.size() / 4 | (reserved ? 0xe0 : 0));
    append(&b, header);
    append(&b, option.data);
  }
  b[0] = static_cast<uint8_t>((b.size() - 8) / 4);
  return b;
}

inline Bytes ethernet(uint16_t ether_type, std::initializer_list<uint16_t> vlans = {}) {
  Bytes b = {2, 0, 0, 0, 0, 0xaa, 2, 0, 0, 0, 0, 0xbb};
  uint16_t tag = vlans.size() == 2 ? 0x88a8 : 0x8100;
  for (const uint16_t vlan : vlans) {
    append(&b, big_endian(tag, 2));
    append(&b, big_endian(vlan, 2));
    tag = 0x8100;
  }
  append(&b, big_endian(ether_type, 2));
  return b;
}

// What AWS sends around one IPv4 or IPv6 packet.
inline Bytes datagram(const Bytes& packet, uint32_t cookie = 0xc00c1e) {
  return geneve(packet[0] >> 4 == 4 ? 0x0800 : 0x86dd, gateway_options(cookie)) + packet;
}

}  // namespace gwlb::test
