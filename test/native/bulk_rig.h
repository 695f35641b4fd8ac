// TCP and UDP packets of bulk transfers for tests of segmentation and coalescing: every header
// field that matters there by name, checksums right.
#pragma once

#include "test/native/packets.h"

namespace gwlb::test {

struct Bulk {
  int version = 4;
  uint8_t protocol = 6;
  uint8_t tos = 0;
  uint8_t ttl = 64;
  uint16_t fragment = 0x4000;  // IPv4: flags and offset; DF
  uint16_t id = 0x1234;        // IPv4
  uint32_t flow_label = 0;     // IPv6
  uint32_t source = 0x0a000001;
  uint32_t destination = 0x0a000002;
  uint16_t source_port = 40000;
  uint16_t destination_port = 5001;
  uint32_t sequence = 1000;
  uint32_t acknowledgment = 77;
  uint8_t flags = 0x10;  // TCP, byte 13; ACK
  uint8_t reserved = 0;  // TCP, low half of byte 12
  uint16_t window = 8192;
  uint16_t urgent = 0;
  Bytes ip_options;  // IPv4: multiples of 4
  Bytes extension;   // IPv6: whole headers, of the first one's kind
  uint8_t extension_kind = 60;
  Bytes tcp_options;  // multiples of 4
  size_t payload = 100;
  uint8_t seed = 1;  // of the payload's bytes
};

inline Bytes bulk_payload(size_t length, uint8_t seed) {
  Bytes b(length);
  uint32_t random = seed;
  for (uint8_t& byte : b) {
    random = random * 1664525 + 1013904223;
    byte = static_cast<uint8_t>(random >> 24);
  }
  return b;
}

// The offset of the TCP or UDP header.
inline size_t bulk_transport(const Bulk& of) {
  return of.version == 4 ? 20 + of.ip_options.size() : 40 + of.extension.size();
}
inline size_t bulk_headers(const Bulk& of) {
  return bulk_transport(of) + (of.protocol == 6 ? 20 + of.tcp_options.size() : 8);
}

// Pseudo header (RFC 9293 section 3.1, RFC 768, RFC 8200 section 8.1) without zero bytes.
inline Bytes pseudo_header(const Bytes& packet, uint8_t protocol, size_t transport_length) {
  const bool four = packet[0] >> 4 == 4;
  const size_t at = four ? 12 : 8;
  Bytes b(packet.begin() + static_cast<std::ptrdiff_t>(at),
          packet.begin() + static_cast<std::ptrdiff_t>(at + (four ? 8 : 32)));
  const size_t end = b.size();
  b.resize(end + 8);
  put32(b, end, static_cast<uint32_t>(transport_length));
  b[end + 7] = protocol;
  return b;
}

// Computes both checksums anew; a UDP checksum of 0 becomes 0xffff.
inline void fix_checksums(Bytes& packet, size_t transport, uint8_t protocol) {
  if (packet[0] >> 4 == 4) {
    put16(packet, 10, 0);
    put16(packet, 10, ones_complement(packet.data(), (packet[0] & 15u) * 4u));
  }
  const size_t field = transport + (protocol == 6 ? 16 : 6);
  put16(packet, field, 0);
  Bytes all = pseudo_header(packet, protocol, packet.size() - transport);
  append(all, Bytes(packet.begin() + static_cast<std::ptrdiff_t>(transport), packet.end()));
  const uint16_t sum = ones_complement(all.data(), all.size());
  put16(packet, field, sum == 0 && protocol == 17 ? 0xffff : sum);
}

inline Bytes bulk_packet(const Bulk& of) {
  const size_t at = bulk_transport(of);
  Bytes b(bulk_headers(of));
  append(b, bulk_payload(of.payload, of.seed));
  if (of.version == 4) {
    b[0] = static_cast<uint8_t>(0x45 + of.ip_options.size() / 4);
    b[1] = of.tos;
    put16(b, 2, static_cast<uint16_t>(b.size()));
    put16(b, 4, of.id);
    put16(b, 6, of.fragment);
    b[8] = of.ttl;
    b[9] = of.protocol;
    put32(b, 12, of.source);
    put32(b, 16, of.destination);
    for (size_t i = 0; i < of.ip_options.size(); ++i) b[20 + i] = of.ip_options[i];
  } else {
    put32(b, 0, 0x60000000u | uint32_t{of.tos} << 20 | of.flow_label);
    put16(b, 4, static_cast<uint16_t>(b.size() - 40));
    b[6] = of.extension.empty() ? of.protocol : of.extension_kind;
    b[7] = of.ttl;
    b[8] = b[24] = 0xfd;
    put32(b, 20, of.source);
    put32(b, 36, of.destination);
    for (size_t i = 0; i < of.extension.size(); ++i) b[40 + i] = of.extension[i];
  }
  put16(b, at, of.source_port);
  put16(b, at + 2, of.destination_port);
  if (of.protocol == 6) {
    put32(b, at + 4, of.sequence);
    put32(b, at + 8, of.acknowledgment);
    b[at + 12] = static_cast<uint8_t>((5 + of.tcp_options.size() / 4) << 4 | of.reserved);
    b[at + 13] = of.flags;
    put16(b, at + 14, of.window);
    put16(b, at + 18, of.urgent);
    for (size_t i = 0; i < of.tcp_options.size(); ++i) b[at + 20 + i] = of.tcp_options[i];
  } else {
    put16(b, at + 4, static_cast<uint16_t>(b.size() - at));
  }
  fix_checksums(b, at, of.protocol);
  return b;
}

// NOP NOP timestamps, and NOP NOP SACK with one block.
inline Bytes timestamps(uint32_t value = 1) {
  Bytes b{1, 1, 8, 10, 0, 0, 0, 0, 0, 0, 0, 9};
  put32(b, 4, value);
  return b;
}
inline Bytes selective_acknowledgment() { return {1, 1, 5, 10, 0, 0, 1, 0, 0, 0, 2, 0}; }

}  // namespace gwlb::test
