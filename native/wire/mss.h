// The maximum segment size that the ends of a TCP connection tell each other (RFC 9293 section
// 3.7.1), lowered on the way to what a path carries.
#pragma once

#include <cstdint>

#include "wire/inner.h"

namespace gwlb::wire {

// A SYN or SYN-ACK that parse_inner took, and of which the TCP header is there: every MSS option in
// it that says more than `mss` says `mss` afterwards; one that says less stays, and none is added.
// The checksum follows (RFC 1624): one that was right is right, one that was wrong stays wrong; one
// that was left to an offload, as the pseudo header's sum, is left to it still. Returns whether
// something was lowered. An option list that is malformed is followed as far as it can be.
bool clamp_mss(uint8_t* packet, const InnerPacket& inner, uint16_t mss);

}  // namespace gwlb::wire
