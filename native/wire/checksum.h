// RFC 1071 sums, RFC 1624 incremental updates.
#pragma once

#include <cstddef>
#include <cstdint>

namespace gwlb::wire {

// One's complement sum of `length` bytes as big-endian 16-bit words, not folded, not inverted.
// Sums of parts at even offsets may be added. Fast where it is long: 32 bytes a step with AVX2, 16
// with SSE2 or NEON.
uint64_t checksum_add(const uint8_t* data, size_t length, uint64_t sum = 0);
// To 16 bits; only 0 becomes 0.
inline uint16_t checksum_fold(uint64_t sum) {
  // A number added to itself with its halves swapped has both halves' sum in its upper half, and
  // the carry with it.
  const auto half = static_cast<uint32_t>((sum + (sum << 32 | sum >> 32)) >> 32);
  return static_cast<uint16_t>((half + (half << 16 | half >> 16)) >> 16);
}
// Folds and inverts: the value for a checksum field, in host order.
inline uint16_t checksum_finish(uint64_t sum) { return static_cast<uint16_t>(~checksum_fold(sum)); }

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

// The versions of checksum_add that this machine can run, the portable one first and the one that
// is used for long data last. For tests and benchmarks.
struct ChecksumVersion {
  const char* name;
  // Sum of little-endian 16-bit words (an odd byte is the lower half of the last), not folded.
  uint64_t (*add)(const uint8_t* data, size_t length);
};
inline constexpr size_t kChecksumVersionsMax = 3;
size_t checksum_versions(ChecksumVersion out[kChecksumVersionsMax]);

}  // namespace gwlb::wire
