// Packets that answer a packet, written in its place: to its source, from its destination, as if
// the other end had sent them. (A gateway in the path has no address of its own that the ends
// know.)
#pragma once

#include <cstdint>

#include "wire/inner.h"

namespace gwlb::wire {

// Whether a packet may be answered at all: its source is one host, and it was sent to one (RFC 1122
// section 3.2.2, RFC 4443 section 2.4 e).
bool can_answer(const uint8_t* packet, const InnerPacket& inner);

// Overwrites a TCP packet that has its header and no RST with the RST that its sender's stack
// accepts: with the sequence number it acknowledges, or, where it acknowledges nothing, with number
// 0 and an acknowledgment of all it carries (RFC 9293 section 3.5.2). Returns the answer's length:
// 40 or 60, never above the packet's.
uint32_t write_reset(uint8_t* packet, const InnerPacket& inner);

// ICMP Fragmentation Needed (RFC 792, 1191) or ICMPv6 Packet Too Big (RFC 4443 section 3.2):
// written in front of the packet, which becomes its quote, cut so that the whole is no longer than
// the minimum that every host takes (RFC 1812 section 4.3.2.3: 576; RFC 4443: 1280).
constexpr uint32_t kTooBigHeaderBytes4 = 28;
constexpr uint32_t kTooBigHeaderBytes6 = 48;
inline uint32_t too_big_header_bytes(uint8_t version) {
  return version == 4 ? kTooBigHeaderBytes4 : kTooBigHeaderBytes6;
}
// `start` is too_big_header_bytes() in front of the packet. Returns the answer's length.
uint32_t write_too_big(uint8_t* start, const InnerPacket& inner, uint32_t mtu);

// The same with "communication administratively prohibited" (RFC 1812 section 5.2.7.1, RFC 4443
// section 3.1).
uint32_t write_prohibited(uint8_t* start, const InnerPacket& inner);

}  // namespace gwlb::wire
