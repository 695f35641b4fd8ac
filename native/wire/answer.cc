#include "wire/answer.h"

#include <algorithm>
#include <cstring>

#include "base/bytes.h"
#include "wire/checksum.h"

namespace gwlb::wire {

namespace {

constexpr uint8_t kHops = 64;
constexpr uint32_t kTcpBytes = 20;
constexpr uint32_t kAnswerBytes4 = 576;
constexpr uint32_t kAnswerBytes6 = 1280;

// Writes an IP header of 20 or 40 bytes.
void write_ip(uint8_t* ip, uint8_t version, const uint8_t* source, const uint8_t* destination,
              uint8_t protocol, uint32_t payload_bytes) {
  if (version == 4) {
    std::memset(ip, 0, 20);
    ip[0] = 0x45;
    base::store_be16(ip + 2, static_cast<uint16_t>(20 + payload_bytes));
    base::store_be16(ip + 6, 0x4000);  // DF; RFC 6864: the identification may then be anything
    ip[8] = kHops;
    ip[9] = protocol;
    std::memcpy(ip + 12, source, 4);
    std::memcpy(ip + 16, destination, 4);
    base::store_be16(ip + 10, ipv4_header_checksum(ip, 20));
    return;
  }
  std::memset(ip, 0, 8);
  ip[0] = 0x60;
  base::store_be16(ip + 4, static_cast<uint16_t>(payload_bytes));
  ip[6] = protocol;
  ip[7] = kHops;
  std::memcpy(ip + 8, source, 16);
  std::memcpy(ip + 24, destination, 16);
}

uint32_t ip_bytes(uint8_t version) { return version == 4 ? 20 : 40; }
size_t address_bytes(uint8_t version) { return version == 4 ? 4 : 16; }

bool is_host4(const uint8_t* address) {
  const uint8_t first = address[0];
  return first != 0 && first != 127 && first < 224;
}
bool is_host6(const uint8_t* address) {
  static constexpr uint8_t kUnspecified[16] = {};
  static constexpr uint8_t kLoopback[16] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1};
  return address[0] != 0xff && std::memcmp(address, kUnspecified, 16) != 0 &&
         std::memcmp(address, kLoopback, 16) != 0;
}

// Bytes of sequence space that the segment takes.
uint32_t segment_length(const uint8_t* packet, const InnerPacket& inner) {
  const uint8_t* tcp = packet + inner.transport_offset;
  const uint32_t header = (tcp[12] >> 4) * 4u;
  const uint32_t segment = inner.total_length - inner.transport_offset;
  const uint32_t data = segment > header ? segment - header : 0;
  return data + ((inner.tcp_flags & kSyn) != 0) + ((inner.tcp_flags & kFin) != 0);
}

// An ICMP error in front of the packet it quotes.
uint32_t write_error(uint8_t* start, const InnerPacket& inner, uint8_t type, uint8_t code,
                     uint32_t rest) {
  const uint32_t headers = too_big_header_bytes(inner.version);
  const uint32_t whole = inner.version == 4 ? kAnswerBytes4 : kAnswerBytes6;
  const uint32_t quoted = std::min(inner.total_length, whole - headers);
  const uint8_t protocol = inner.version == 4 ? kIcmp : kIcmpv6;
  const uint32_t icmp_bytes = 8 + quoted;
  write_ip(start, inner.version, inner.destination, inner.source, protocol, icmp_bytes);
  uint8_t* icmp = start + ip_bytes(inner.version);
  std::memset(icmp, 0, 4);
  icmp[0] = type;
  icmp[1] = code;
  base::store_be32(icmp + 4, rest);
  base::store_be16(icmp + 2, inner.version == 4 ? checksum_finish(checksum_add(icmp, icmp_bytes))
                                                : transport_checksum(start + 8, start + 24, 16,
                                                                     kIcmpv6, icmp, icmp_bytes));
  return headers + quoted;
}

}  // namespace

bool can_answer(const uint8_t* packet, const InnerPacket& inner) {
  if (inner.version == 4) return is_host4(packet + 12) && is_host4(packet + 16);
  return is_host6(packet + 8) && is_host6(packet + 24);
}

uint32_t write_reset(uint8_t* packet, const InnerPacket& inner) {
  const uint8_t* tcp = packet + inner.transport_offset;
  const bool acknowledges = (inner.tcp_flags & kAck) != 0;
  const uint32_t sequence = acknowledges ? base::load_be32(tcp + 8) : 0;
  const uint32_t acknowledged =
      acknowledges ? 0 : base::load_be32(tcp + 4) + segment_length(packet, inner);
  const size_t bytes = address_bytes(inner.version);
  uint8_t source[16];
  uint8_t destination[16];
  std::memcpy(source, inner.source, bytes);
  std::memcpy(destination, inner.destination, bytes);

  write_ip(packet, inner.version, destination, source, kTcp, kTcpBytes);
  uint8_t* out = packet + ip_bytes(inner.version);
  std::memset(out, 0, kTcpBytes);
  base::store_be16(out, inner.destination_port);
  base::store_be16(out + 2, inner.source_port);
  base::store_be32(out + 4, sequence);
  base::store_be32(out + 8, acknowledged);
  out[12] = kTcpBytes / 4 << 4;
  out[13] = acknowledges ? kRst : kRst | kAck;
  base::store_be16(out + 16, transport_checksum(destination, source, bytes, kTcp, out, kTcpBytes));
  return ip_bytes(inner.version) + kTcpBytes;
}

uint32_t write_too_big(uint8_t* start, const InnerPacket& inner, uint32_t mtu) {
  return inner.version == 4 ? write_error(start, inner, 3, 4, mtu & 0xffff)
                            : write_error(start, inner, 2, 0, mtu);
}

uint32_t write_prohibited(uint8_t* start, const InnerPacket& inner) {
  return inner.version == 4 ? write_error(start, inner, 3, 13, 0)
                            : write_error(start, inner, 1, 1, 0);
}

}  // namespace gwlb::wire
