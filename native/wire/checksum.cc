#include "wire/checksum.h"

#include "base/assert.h"
#include "base/bytes.h"

namespace gwlb::wire {
namespace {

uint32_t fold(uint64_t sum) {
  sum = (sum & 0xffffffff) + (sum >> 32);
  sum = (sum & 0xffff) + (sum >> 16);
  sum = (sum & 0xffff) + (sum >> 16);
  sum = (sum & 0xffff) + (sum >> 16);
  return static_cast<uint32_t>(sum);
}

// The sum in the machine's byte order (RFC 1071 section 2B): only its folded form has to be
// swapped. Halves of 64-bit words go to two accumulators, which overflow after 16 GiB only.
uint64_t add_native(const uint8_t* data, size_t length) {
  uint64_t low = 0;
  uint64_t high = 0;
  size_t i = 0;
  for (; i + 32 <= length; i += 32) {
    const uint64_t a = base::load<uint64_t>(data + i);
    const uint64_t b = base::load<uint64_t>(data + i + 8);
    const uint64_t c = base::load<uint64_t>(data + i + 16);
    const uint64_t d = base::load<uint64_t>(data + i + 24);
    low += (a & 0xffffffff) + (b & 0xffffffff) + (c & 0xffffffff) + (d & 0xffffffff);
    high += (a >> 32) + (b >> 32) + (c >> 32) + (d >> 32);
  }
  for (; i + 4 <= length; i += 4) low += base::load<uint32_t>(data + i);
  if (i + 2 <= length) {
    low += base::load<uint16_t>(data + i);
    i += 2;
  }
  if (i < length) low += data[i];  // padded with a zero byte behind it
  return fold(low) + uint64_t{fold(high)};
}

}  // namespace

uint64_t checksum_add(const uint8_t* data, size_t length, uint64_t sum) {
  const auto folded = static_cast<uint16_t>(fold(add_native(data, length)));
  return sum + __builtin_bswap16(folded);
}

uint16_t checksum_finish(uint64_t sum) { return static_cast<uint16_t>(~fold(sum)); }

uint16_t ipv4_header_checksum(const uint8_t* header, size_t header_length) {
  GWLB_ASSERT(header_length >= 20);
  const uint64_t before = checksum_add(header, 10);
  return checksum_finish(checksum_add(header + 12, header_length - 12, before));
}

uint16_t transport_checksum(const uint8_t* source, const uint8_t* destination,
                            size_t address_length, uint8_t protocol, const uint8_t* segment,
                            size_t segment_length) {
  uint64_t sum = checksum_add(source, address_length);
  sum = checksum_add(destination, address_length, sum);
  sum += protocol;
  sum += segment_length;  // as one number: RFC 8200's 32 bits and RFC 768's 16 fold to the same
  return checksum_finish(checksum_add(segment, segment_length, sum));
}

uint16_t checksum_update(uint16_t field, uint16_t before, uint16_t after) {
  const uint64_t sum =
      uint64_t{static_cast<uint16_t>(~field)} + static_cast<uint16_t>(~before) + after;
  return static_cast<uint16_t>(~fold(sum));
}

}  // namespace gwlb::wire
