// RFC 1071 sums, RFC 1624 incremental updates.
#pragma once

#include <cstddef>
#include <cstdint>

namespace gwlb::wire {

// One's complement sum of `length` bytes as big-endian 16-bit words, not folded, not inverted.
// Sums of parts at even offsets may be added.
uint64_t checksum_add(const uint8_t* data, size_t length, uint64_t sum = 0);
// Folds and inverts: the value for a checksum field, in host order.
uint16_t checksum_finish(uint64_t sum);

// Header checksum of an IPv4 header of `header_length` bytes whose checksum field counts as 0.
uint16_t ipv4_header_checksum(const uint8_t* header, size_t header_length);
// UDP, TCP or ICMPv6 checksum with the pseudo header of IPv4 (4-byte addresses) or IPv6 (16-byte).
// The field inside `segment` must be 0 when computing; when verifying leave it: the result is then
// 0.
uint16_t transport_checksum(const uint8_t* source, const uint8_t* destination,
                            size_t address_length, uint8_t protocol, const uint8_t* segment,
                            size_t segment_length);
// The field's new value after a 16-bit word below it went from `before` to `after` (RFC 1624 eqn
// 3).
uint16_t checksum_update(uint16_t field, uint16_t before, uint16_t after);

}  // namespace gwlb::wire
