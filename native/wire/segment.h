// Super-packets: a TCP or UDP packet larger than its link, which stands for many of equal payload
// (segmentation offload: TSO, USO), cut into those in user space. Nothing is copied but headers.
//
//   super-packet:  IP | TCP or UDP | payload 0 | payload 1 | ... | payload n-1 (may be shorter)
//   segment k:     IP | TCP or UDP (its own, written elsewhere) + payload k (where it lies)
#pragma once

#include <cstddef>
#include <cstdint>

namespace gwlb::wire {

// The IP packet's headers up to the payload; what is in front of the packet is the caller's.
inline constexpr uint32_t kSegmentHeadersMax = 256;

// What a super-packet is, checked once.
struct SuperPacket {
  const uint8_t* packet = nullptr;  // first byte of the IP header
  uint32_t length = 0;              // by the IP header
  uint16_t headers = 0;             // bytes up to the payload: IP, extension headers, TCP or UDP
  uint16_t transport = 0;           // offset of the TCP or UDP header
  uint16_t segment = 0;             // payload bytes of each but the last
  uint16_t count = 0;               // segments
  uint8_t version = 0;
  uint8_t protocol = 0;  // kTcp or kUdp

  // Checksums of what all segments have in common, not folded: the IPv4 header without total
  // length, identification and checksum; the pseudo header and the transport header without
  // length, sequence number, flags and checksum.
  uint32_t ip_sum = 0;
  uint32_t transport_sum = 0;
};

// Reads `packet` (whole, `length` bytes) as a super-packet with `segment` payload bytes each. False
// where it is none: no TCP or UDP, a fragment, no payload, headers cut short or above
// kSegmentHeadersMax, `segment` 0, an IP length other than `length`, a UDP length other than what
// follows the IP headers. Of IPv6's extension headers hop-by-hop and destination options may be
// there and a routing header that has been used up, as in the kernel; the others number or sign
// what is cut here. A packet with one segment is fine. The checksums are not looked at (the kernel
// leaves the transport checksum of a super-packet to whoever cuts it).
bool parse_super_packet(const uint8_t* packet, uint32_t length, uint32_t segment, SuperPacket* out);

inline uint32_t segment_payload(const SuperPacket& super, uint32_t k) {
  const uint32_t at = super.headers + k * uint32_t{super.segment};
  const uint32_t left = super.length - at;
  return left < super.segment ? left : super.segment;
}
inline const uint8_t* segment_payload_at(const SuperPacket& super, uint32_t k) {
  return super.packet + super.headers + k * uint32_t{super.segment};
}

// Writes the headers of segment k (super.headers bytes) to `to`: lengths, IPv4 identification
// (+ k) and header checksum, TCP sequence number, flags (CWR in the first only, RFC 3168 section
// 6.1.2; FIN and PSH in the last only) and the transport checksum over the payload; as the kernel's
// own segmentation does. A UDP checksum that comes out as 0 is sent as 0xffff. One pass over the
// payload, nothing else.
void write_segment_headers(const SuperPacket& super, uint32_t k, uint8_t* to);

// The whole of segment k. Returns its length; `to` has room for headers + segment bytes.
uint32_t write_segment(const SuperPacket& super, uint32_t k, uint8_t* to);

// The transport checksum of a packet that was left to us (VIRTIO_NET_HDR_F_NEEDS_CSUM): the field
// at `start + offset` holds the pseudo header's sum; the bytes from `start` to the end are summed
// and the result stored there, 0xffff for 0 (the same number, and UDP has another use for 0).
// False where the field would lie outside the packet.
bool complete_checksum(uint8_t* packet, uint32_t length, uint32_t start, uint32_t offset);

}  // namespace gwlb::wire
