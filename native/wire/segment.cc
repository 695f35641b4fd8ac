#include "wire/segment.h"

#include <cstring>

#include "base/assert.h"
#include "base/bytes.h"
#include "base/limits.h"
#include "wire/checksum.h"
#include "wire/inner.h"
#include "wire/ip.h"

namespace gwlb::wire {
namespace {

constexpr uint8_t kRouting = 43;
constexpr uint8_t kDestinationOptions = 60;

uint16_t sum16(const uint8_t* at) { return base::load_be16(at); }

bool parse_ipv4(const uint8_t* packet, uint32_t length, SuperPacket* out) {
  if (length < kIpv4HeaderBytes) return false;
  const uint32_t header = (packet[0] & 0xfu) * 4;
  if (header < kIpv4HeaderBytes || header > length) return false;
  if (base::load_be16(packet + 2) != length) return false;
  if ((base::load_be16(packet + 6) & 0x3fff) != 0) return false;  // more fragments, or an offset
  out->transport = static_cast<uint16_t>(header);
  out->protocol = packet[9];
  const uint64_t sum = uint64_t{sum16(packet)} + sum16(packet + 6) + sum16(packet + 8);
  out->ip_sum = static_cast<uint32_t>(checksum_add(packet + 12, header - 12, sum));
  out->transport_sum = static_cast<uint32_t>(checksum_add(packet + 12, 8));
  return true;
}

bool parse_ipv6(const uint8_t* packet, uint32_t length, SuperPacket* out) {
  if (length < kIpv6HeaderBytes) return false;
  if (base::load_be16(packet + 4) + kIpv6HeaderBytes != length) return false;
  uint32_t at = kIpv6HeaderBytes;
  uint8_t next = packet[6];
  for (uint32_t seen = 0; next == kHopByHop || next == kRouting || next == kDestinationOptions;) {
    if (++seen > base::kIpv6ExtensionHeadersMax) return false;
    if (length - at < 8) return false;
    const uint32_t bytes = (packet[at + 1] + 1u) * 8;
    if (length - at < bytes) return false;
    // With segments left the checksum's destination is another one than the header's.
    if (next == kRouting && packet[at + 3] != 0) return false;
    next = packet[at];
    at += bytes;
  }
  out->transport = static_cast<uint16_t>(at);
  out->protocol = next;
  out->transport_sum = static_cast<uint32_t>(checksum_add(packet + 8, 32));
  return true;
}

// The transport header's length, 0 where there is none; adds what its checksum has in common.
uint32_t parse_transport(const uint8_t* header, uint32_t left, SuperPacket* out) {
  const uint32_t ports = uint32_t{sum16(header)} + sum16(header + 2);
  out->transport_sum += out->protocol + ports;
  if (out->protocol == kUdp) return base::load_be16(header + 4) == left ? kUdpHeaderBytes : 0;
  if (left < kTcpHeaderBytes) return 0;
  const uint32_t bytes = (header[12] >> 4) * 4u;
  if (bytes < kTcpHeaderBytes || bytes > left) return 0;
  // Acknowledgment number and window; urgent pointer and options.
  uint64_t sum = uint64_t{sum16(header + 8)} + sum16(header + 10) + sum16(header + 14);
  sum = checksum_add(header + 18, bytes - 18, sum);
  out->transport_sum += static_cast<uint32_t>(sum);
  return bytes;
}

void copy_headers(uint8_t* to, const uint8_t* from, uint32_t length) {
  // At least 28 bytes: 16 at a time, the last 16 again. A call of memcpy takes longer.
  struct Block {
    uint8_t bytes[16];
  };
  for (uint32_t i = 0; i + 16 < length; i += 16) {
    base::store(to + i, base::load<Block>(from + i));
  }
  base::store(to + length - 16, base::load<Block>(from + length - 16));
}

void write_tcp(const SuperPacket& super, uint32_t k, uint64_t sum, uint8_t* header) {
  const uint32_t sequence = base::load_be32(header + 4) + k * uint32_t{super.segment};
  uint8_t flags = header[13];
  if (k > 0) flags &= static_cast<uint8_t>(~kCwr);
  if (k + 1 < super.count) flags &= static_cast<uint8_t>(~(kFin | kPsh));
  base::store_be32(header + 4, sequence);
  header[13] = flags;
  sum += (sequence >> 16) + (sequence & 0xffff) + (header[12] << 8 | flags);
  base::store_be16(header + 16, checksum_finish(sum));
}

void write_udp(uint64_t sum, uint32_t length, uint8_t* header) {
  base::store_be16(header + 4, static_cast<uint16_t>(length));
  const uint16_t checksum = checksum_finish(sum + length);
  base::store_be16(header + 6, checksum == 0 ? 0xffff : checksum);
}

}  // namespace

bool parse_super_packet(const uint8_t* packet, uint32_t length, uint32_t segment,
                        SuperPacket* out) {
  *out = SuperPacket{};
  if (length == 0 || segment == 0) return false;
  out->packet = packet;
  out->length = length;
  out->version = packet[0] >> 4;
  if (out->version == 4) {
    if (!parse_ipv4(packet, length, out)) return false;
  } else if (out->version == 6) {
    if (!parse_ipv6(packet, length, out)) return false;
  } else {
    return false;
  }
  if (out->protocol != kTcp && out->protocol != kUdp) return false;
  const uint32_t left = length - out->transport;
  if (left < kUdpHeaderBytes) return false;
  const uint32_t header = parse_transport(packet + out->transport, left, out);
  if (header == 0 || header == left) return false;
  if (out->transport + header > kSegmentHeadersMax) return false;
  out->headers = static_cast<uint16_t>(out->transport + header);
  // An IP packet has less payload than that: one segment either way.
  out->segment = static_cast<uint16_t>(segment < 0xffff ? segment : 0xffff);
  const uint32_t payload = length - out->headers;
  out->count = static_cast<uint16_t>((payload + out->segment - 1) / out->segment);
  return true;
}

void write_segment_headers(const SuperPacket& super, uint32_t k, uint8_t* to) {
  GWLB_ASSERT(k < super.count);
  const uint32_t payload = segment_payload(super, k);
  const uint32_t length = super.headers + payload;
  copy_headers(to, super.packet, super.headers);
  if (super.version == 4) {
    const auto id = static_cast<uint16_t>(base::load_be16(to + 4) + k);
    base::store_be16(to + 2, static_cast<uint16_t>(length));
    base::store_be16(to + 4, id);
    base::store_be16(to + 10, checksum_finish(uint64_t{super.ip_sum} + length + id));
  } else {
    base::store_be16(to + 4, static_cast<uint16_t>(length - kIpv6HeaderBytes));
  }
  const uint32_t transport_length = length - super.transport;
  const uint64_t common = uint64_t{super.transport_sum} + transport_length;
  const uint64_t sum = checksum_add(segment_payload_at(super, k), payload, common);
  uint8_t* header = to + super.transport;
  if (super.protocol == kTcp) {
    write_tcp(super, k, sum, header);
  } else {
    write_udp(sum, transport_length, header);
  }
}

uint32_t write_segment(const SuperPacket& super, uint32_t k, uint8_t* to) {
  write_segment_headers(super, k, to);
  const uint32_t payload = segment_payload(super, k);
  std::memcpy(to + super.headers, segment_payload_at(super, k), payload);
  return super.headers + payload;
}

bool complete_checksum(uint8_t* packet, uint32_t length, uint32_t start, uint32_t offset) {
  if (uint64_t{start} + offset + 2 > length) return false;
  const uint16_t checksum = checksum_finish(checksum_add(packet + start, length - start));
  base::store_be16(packet + start + offset, checksum == 0 ? 0xffff : checksum);
  return true;
}

}  // namespace gwlb::wire
