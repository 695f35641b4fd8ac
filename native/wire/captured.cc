#include "wire/captured.h"

#include <algorithm>
#include <cstring>

#include "base/bytes.h"
#include "wire/ip.h"
#include "wire/segment.h"

namespace gwlb::wire {
namespace {

constexpr uint32_t kJumboBytes = 8;  // a hop-by-hop header with nothing but the jumbo option
constexpr uint8_t kJumboOption = 0xc2;

// Up to the payload; 0 where the packet cannot be cut.
uint32_t header_bytes(const uint8_t* packet, const InnerPacket& inner) {
  constexpr uint8_t kFragment = kFirstFragment | kLaterFragment;
  if ((inner.flags & kFragment) != 0) return 0;
  uint32_t transport = 8;
  if (inner.protocol == kTcp) {
    transport = (packet[inner.transport_offset + 12] >> 4) * 4u;
    if (transport < 20) return 0;
  } else if (inner.protocol != kUdp) {
    return 0;
  }
  const uint32_t bytes = inner.transport_offset + transport;
  return bytes <= inner.total_length && bytes <= kSegmentHeadersMax ? bytes : 0;
}

// Takes the jumbo option's header out; bytes that are gone.
uint32_t remove_jumbo(uint8_t* packet, uint32_t headers) {
  if (packet[0] >> 4 != 6 || packet[6] != kHopByHop || packet[41] != 0 ||
      packet[42] != kJumboOption) {
    return 0;
  }
  packet[6] = packet[kIpv6HeaderBytes];
  std::memmove(packet + kIpv6HeaderBytes, packet + kIpv6HeaderBytes + kJumboBytes,
               headers - kIpv6HeaderBytes - kJumboBytes);
  return kJumboBytes;
}

void write_lengths(uint8_t* packet, uint32_t bytes, uint32_t transport, uint8_t protocol) {
  if (packet[0] >> 4 == 4) {
    base::store_be16(packet + 2, static_cast<uint16_t>(bytes));
  } else {
    base::store_be16(packet + 4, static_cast<uint16_t>(bytes - kIpv6HeaderBytes));
  }
  if (protocol != kUdp) return;
  base::store_be16(packet + transport + 4, static_cast<uint16_t>(bytes - transport));
}

}  // namespace

CapturedPacket read_captured(const uint8_t* packet, uint32_t captured, uint32_t room) {
  CapturedPacket out;
  const uint32_t version = captured == 0 ? 0 : packet[0] >> 4;
  uint32_t stated = 0;
  if (version == 4 && captured >= kIpv4HeaderBytes) {
    stated = base::load_be16(packet + 2);
    out.length_zero = stated == 0;
  } else if (version == 6 && captured >= kIpv6HeaderBytes) {
    const uint32_t payload = base::load_be16(packet + 4);
    stated = kIpv6HeaderBytes + payload;
    out.length_zero = payload == 0 && packet[6] != kNoNextHeader;
  } else {
    out.length = captured;
    return out;
  }
  out.length = out.length_zero ? room : std::min(stated, room);
  InnerPacket inner;
  if (!parse_captured_inner(packet, std::min(captured, out.length), out.length, &inner).ok()) {
    return out;
  }
  out.headers = header_bytes(packet, inner);
  out.transport = inner.transport_offset;
  out.protocol = inner.protocol;
  out.tcp_flags = inner.tcp_flags;
  return out;
}

uint32_t write_captured_segment(const uint8_t* packet, uint32_t length, uint32_t segment,
                                uint32_t k, uint8_t* to) {
  InnerPacket inner;
  if (!parse_captured_inner(packet, length, length, &inner).ok()) return 0;
  uint32_t headers = header_bytes(packet, inner);
  if (headers == 0 || inner.total_length != length) return 0;
  const uint32_t payload = length - headers;
  const uint64_t from = uint64_t{k} * segment;
  if (k != 0 && from >= payload) return 0;
  const uint32_t part = std::min(segment, payload - static_cast<uint32_t>(from));
  std::memcpy(to, packet, headers);
  const uint32_t removed = remove_jumbo(to, headers);
  const uint32_t transport = inner.transport_offset - removed;
  headers -= removed;
  const uint32_t bytes = headers + part;
  if (bytes > 0xffff) return 0;
  if (part != 0) std::memcpy(to + headers, packet + length - payload + from, part);
  write_lengths(to, bytes, transport, inner.protocol);
  if (inner.version == 4) {
    base::store_be16(to + 4, static_cast<uint16_t>(base::load_be16(packet + 4) + k));
  }
  if (inner.protocol == kTcp) {
    uint8_t* tcp = to + transport;
    base::store_be32(tcp + 4, base::load_be32(tcp + 4) + static_cast<uint32_t>(from));
    if (k != 0) tcp[13] &= static_cast<uint8_t>(~kCwr);
    if (from + part < payload) tcp[13] &= static_cast<uint8_t>(~(kFin | kPsh));
  }
  SuperPacket whole;
  uint8_t finished[kSegmentHeadersMax];
  if (parse_super_packet(to, bytes, part, &whole)) {
    write_segment_headers(whole, 0, finished);
    std::memcpy(to, finished, headers);
  }
  return bytes;
}

}  // namespace gwlb::wire
