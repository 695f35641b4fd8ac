// Inner packets for tests, built byte by byte from the RFCs and not by the code under test.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace gwlb::test {

using Bytes = std::vector<uint8_t>;

inline void put16(Bytes& b, size_t at, uint16_t v) {
  b[at] = static_cast<uint8_t>(v >> 8);
  b[at + 1] = static_cast<uint8_t>(v);
}
inline void put32(Bytes& b, size_t at, uint32_t v) {
  put16(b, at, static_cast<uint16_t>(v >> 16));
  put16(b, at + 2, static_cast<uint16_t>(v));
}

// Byte by byte: g++ 12 sees overflows in vector::insert that are not there.
inline void append(Bytes& b, const Bytes& more) {
  for (const uint8_t byte : more) b.push_back(byte);
}

inline uint16_t ones_complement(const uint8_t* data, size_t length) {
  uint32_t sum = 0;
  for (size_t i = 0; i < length; ++i) sum += i % 2 == 0 ? data[i] * 256u : data[i];
  while (sum >> 16 != 0) sum = (sum & 0xffff) + (sum >> 16);
  return static_cast<uint16_t>(~sum);
}

// `transport` is everything behind the IP header; `fragment` is the flags-and-offset field.
inline Bytes ipv4(uint32_t source, uint32_t destination, uint8_t protocol, const Bytes& transport,
                  uint16_t fragment = 0, uint16_t id = 0x1234, uint8_t tos = 0) {
  Bytes b(20);
  append(b, transport);
  b[0] = 0x45;
  b[1] = tos;
  put16(b, 2, static_cast<uint16_t>(20 + transport.size()));
  put16(b, 4, id);
  put16(b, 6, fragment);
  b[8] = 64;
  b[9] = protocol;
  put32(b, 12, source);
  put32(b, 16, destination);
  put16(b, 10, ones_complement(b.data(), 20));
  return b;
}

inline Bytes ipv6(uint8_t source, uint8_t destination, uint8_t protocol, const Bytes& transport) {
  Bytes b(40);
  append(b, transport);
  b[0] = 0x60;
  put16(b, 4, static_cast<uint16_t>(transport.size()));
  b[6] = protocol;
  b[7] = 64;
  b[8] = b[24] = 0xfd;
  b[23] = source;
  b[39] = destination;
  return b;
}

inline Bytes tcp(uint16_t source, uint16_t destination, uint8_t flags, size_t payload = 0) {
  Bytes b(20);
  b.resize(20 + payload, 0x61);
  put16(b, 0, source);
  put16(b, 2, destination);
  put32(b, 4, 1000);
  if ((flags & 16) != 0) put32(b, 8, 1001);
  b[12] = 0x50;
  b[13] = flags;
  return b;
}

inline Bytes udp(uint16_t source, uint16_t destination, size_t payload = 8) {
  Bytes b(8 + payload, 0x62);
  put16(b, 0, source);
  put16(b, 2, destination);
  put16(b, 4, static_cast<uint16_t>(8 + payload));
  put16(b, 6, 0);
  return b;
}

inline Bytes icmp_echo(bool reply, uint16_t id, size_t payload = 16) {
  Bytes b(8 + payload, 0x63);
  b[0] = reply ? 0 : 8;
  b[1] = 0;
  put16(b, 2, 0);
  put16(b, 4, id);
  put16(b, 6, 1);
  put16(b, 2, ones_complement(b.data(), b.size()));
  return b;
}

// ICMPv4 destination unreachable (3/3) quoting the first `quoted` bytes of a packet.
inline Bytes icmp_unreachable(const Bytes& about, size_t quoted) {
  Bytes b(8);
  b[0] = 3;
  b[1] = 3;
  b.insert(
      b.end(), about.begin(),
      about.begin() + static_cast<std::ptrdiff_t>(quoted < about.size() ? quoted : about.size()));
  put16(b, 2, ones_complement(b.data(), b.size()));
  return b;
}

}  // namespace gwlb::test
