// An IPv4 packet that is longer than its link, cut into fragments in user space (RFC 791 section
// 3.2, RFC 1812 section 5.2.6). Nothing is copied but headers.
//
//   packet:      IP header | payload 0 | payload 1 | ... | payload n-1 (may be shorter)
//   fragment k:  IP header (its own, written elsewhere) + payload k (where it lies)
#pragma once

#include <cstdint>

namespace gwlb::wire {

inline constexpr uint32_t kIpv4HeaderBytesMax = 60;

// How a packet is cut, worked out once.
struct Ipv4Fragments {
  const uint8_t* packet = nullptr;
  uint32_t length = 0;   // by the IP header
  uint16_t headers = 0;  // bytes of the first fragment's header, which is the packet's
  uint16_t segment = 0;  // payload bytes of each but the last, a multiple of 8
  uint16_t count = 0;
  uint16_t later_headers = 0;               // of the others', with the options that are copied
  uint8_t later[kIpv4HeaderBytesMax] = {};  // such a header, but for length, offset and checksum

  // All fragments but the last are of one length.
  bool even() const { return headers == later_headers; }
};

// Payload bytes of each fragment where none is longer than `mtu`; 0 where the packet must not be
// cut: another version than 4, Don't Fragment, or less room than for 8 bytes.
uint32_t fragment_payload(const uint8_t* packet, uint32_t mtu);

// Reads `packet` (IPv4, whole, `length` bytes, which parse_inner took) as one to be cut into
// fragments of `segment` payload bytes. It may be a fragment itself. Options without the copy flag
// are in the first one only. False where there is nothing to cut, `segment` is 0 or no multiple of
// 8, or the last offset does not fit its field (RFC 791: a datagram has 65,535 bytes at most).
bool parse_fragments(const uint8_t* packet, uint32_t length, uint32_t segment, Ipv4Fragments* out);

inline uint32_t fragment_headers(const Ipv4Fragments& cut, uint32_t k) {
  return k == 0 ? cut.headers : cut.later_headers;
}
inline uint32_t fragment_payload(const Ipv4Fragments& cut, uint32_t k) {
  const uint32_t left = cut.length - cut.headers - k * uint32_t{cut.segment};
  return left < cut.segment ? left : cut.segment;
}
inline const uint8_t* fragment_payload_at(const Ipv4Fragments& cut, uint32_t k) {
  return cut.packet + cut.headers + k * uint32_t{cut.segment};
}

// Writes the header of fragment k, fragment_headers() bytes, to `to`: total length, offset, More
// Fragments (the packet's own in the last one) and checksum; the rest is the packet's.
void write_fragment_header(const Ipv4Fragments& cut, uint32_t k, uint8_t* to);

}  // namespace gwlb::wire
