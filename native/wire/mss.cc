#include "wire/mss.h"

#include <algorithm>

#include "base/bytes.h"
#include "wire/checksum.h"
#include "wire/ip.h"

namespace gwlb::wire {
namespace {

constexpr uint32_t kChecksumAt = 16;
constexpr uint8_t kMaximumSegmentSize = 2;
constexpr uint32_t kMssBytes = 4;

// Whether the checksum field is the pseudo header's sum, to which an offload adds the rest. That
// may be a finished checksum too, by chance: then the whole is right.
bool is_left_to_offload(const uint8_t* tcp, const InnerPacket& inner, uint32_t segment) {
  if ((inner.flags & kFirstFragment) != 0) return false;
  const size_t address = inner.version == 4 ? 4 : 16;
  if (transport_checksum(inner.source, inner.destination, address, kTcp, tcp, segment) == 0) {
    return false;
  }
  const uint64_t addresses =
      checksum_add(inner.destination, address, checksum_add(inner.source, address));
  return checksum_fold(addresses + kTcp + segment) == base::load_be16(tcp + kChecksumAt);
}

// At an odd place the word's halves lie in two words, each in the other's half.
uint16_t as_summed(uint16_t word, uint32_t at) {
  return at % 2 == 0 ? word : __builtin_bswap16(word);
}

}  // namespace

bool clamp_mss(uint8_t* packet, const InnerPacket& inner, uint16_t mss) {
  uint8_t* tcp = packet + inner.transport_offset;
  const uint32_t segment = inner.total_length - inner.transport_offset;
  if (segment < kTcpHeaderBytes) return false;
  const uint32_t end = std::min((tcp[12] >> 4) * 4u, segment);
  bool lowered = false, offload = false;
  for (uint32_t at = kTcpHeaderBytes; at < end && tcp[at] != kEndOfOptions;) {
    if (tcp[at] == kNoOperation) {
      ++at;
      continue;
    }
    const uint32_t bytes = at + 1 < end ? tcp[at + 1] : 0;
    if (bytes < 2 || bytes > end - at) break;
    const uint32_t value = at + 2;
    if (tcp[at] == kMaximumSegmentSize && bytes == kMssBytes &&
        base::load_be16(tcp + value) > mss) {
      if (!lowered) offload = is_left_to_offload(tcp, inner, segment);
      lowered = true;
      const uint16_t field = base::load_be16(tcp + kChecksumAt);
      const uint16_t before = as_summed(base::load_be16(tcp + value), value);
      base::store_be16(tcp + value, mss);
      if (!offload) {
        base::store_be16(tcp + kChecksumAt, checksum_update(field, before, as_summed(mss, value)));
      }
    }
    at += bytes;
  }
  return lowered;
}

}  // namespace gwlb::wire
