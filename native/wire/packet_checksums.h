// The checksums of a whole packet, made right after its bytes were changed.
#pragma once

#include <cstdint>

#include "wire/inner.h"

namespace gwlb::wire {

// Writes the IPv4 header's checksum and that of TCP, UDP, ICMP or ICMPv6. Left as they are: those
// of a fragment (they are the datagram's), a UDP checksum of 0 in IPv4, which means none (RFC 768),
// and those of other protocols.
void write_checksums(uint8_t* packet, const InnerPacket& inner);

}  // namespace gwlb::wire
