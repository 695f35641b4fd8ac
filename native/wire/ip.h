// Sizes and numbers of IPv4 (RFC 791), IPv6 (RFC 8200), TCP (RFC 9293, 3168) and UDP (RFC 768).
#pragma once

#include <cstdint>

namespace gwlb::wire {

// Without options and extension headers.
inline constexpr uint32_t kIpv4HeaderBytes = 20;
inline constexpr uint32_t kIpv6HeaderBytes = 40;
inline constexpr uint32_t kTcpHeaderBytes = 20;
inline constexpr uint32_t kUdpHeaderBytes = 8;

// Of IPv6's next header field.
inline constexpr uint8_t kHopByHop = 0;
inline constexpr uint8_t kNoNextHeader = 59;

// TCP's congestion window reduced.
inline constexpr uint8_t kCwr = 0x80;

// Options of IPv4 and of TCP.
inline constexpr uint8_t kEndOfOptions = 0;
inline constexpr uint8_t kNoOperation = 1;

}  // namespace gwlb::wire
