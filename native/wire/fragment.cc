#include "wire/fragment.h"

#include <cstring>

#include "base/assert.h"
#include "base/bytes.h"
#include "wire/checksum.h"
#include "wire/ip.h"

namespace gwlb::wire {
namespace {

constexpr uint32_t kHeaderBytes = 20;
constexpr uint32_t kDatagramBytesMax = 65'535;
constexpr uint16_t kMore = 0x2000;
constexpr uint16_t kOffsetMask = 0x1fff;
constexpr uint8_t kDontFragment = 0x40;

constexpr uint8_t kCopied = 0x80;

uint32_t header_bytes(const uint8_t* packet) { return (packet[0] & 0xfu) * 4; }

// Those with the copy flag, padded with zeros, which end the list. Behind an option that is
// malformed nothing can be told. Returns how many bytes that is.
uint32_t copy_options(const uint8_t* options, uint32_t length, uint8_t* to) {
  uint32_t copied = 0;
  for (uint32_t at = 0; at < length && options[at] != kEndOfOptions;) {
    if (options[at] == kNoOperation) {
      ++at;
      continue;
    }
    const uint32_t bytes = at + 1 < length ? options[at + 1] : 0;
    if (bytes < 2 || bytes > length - at) break;
    if ((options[at] & kCopied) != 0) {
      std::memcpy(to + copied, options + at, bytes);
      copied += bytes;
    }
    at += bytes;
  }
  const uint32_t padded = (copied + 3) / 4 * 4;
  std::memset(to + copied, 0, padded - copied);
  return padded;
}

}  // namespace

uint32_t fragment_payload(const uint8_t* packet, uint32_t mtu) {
  if (packet[0] >> 4 != 4 || (packet[6] & kDontFragment) != 0) return 0;
  const uint32_t header = header_bytes(packet);
  return mtu < header ? 0 : (mtu - header) / 8 * 8;
}

bool parse_fragments(const uint8_t* packet, uint32_t length, uint32_t segment, Ipv4Fragments* out) {
  if (segment == 0 || segment % 8 != 0) return false;
  const uint32_t header = header_bytes(packet);
  if (length - header <= segment) return false;
  const uint32_t payload = length - header;
  const uint32_t offset = (base::load_be16(packet + 6) & kOffsetMask) * 8u;
  if (header + offset + payload > kDatagramBytesMax) return false;
  out->packet = packet;
  out->length = length;
  out->headers = static_cast<uint16_t>(header);
  out->segment = static_cast<uint16_t>(segment);
  out->count = static_cast<uint16_t>((payload + segment - 1) / segment);
  std::memcpy(out->later, packet, kHeaderBytes);
  const uint32_t options =
      copy_options(packet + kHeaderBytes, header - kHeaderBytes, out->later + kHeaderBytes);
  out->later_headers = static_cast<uint16_t>(kHeaderBytes + options);
  out->later[0] = static_cast<uint8_t>(0x40 | out->later_headers / 4);
  return true;
}

void write_fragment_header(const Ipv4Fragments& cut, uint32_t k, uint8_t* to) {
  GWLB_ASSERT(k < cut.count);
  const uint32_t header = fragment_headers(cut, k);
  std::memcpy(to, k == 0 ? cut.packet : cut.later, header);
  const uint32_t field = base::load_be16(cut.packet + 6) + k * uint32_t{cut.segment} / 8;
  const uint32_t more = k + 1 < cut.count ? kMore : 0;
  base::store_be16(to + 2, static_cast<uint16_t>(header + fragment_payload(cut, k)));
  base::store_be16(to + 6, static_cast<uint16_t>(field | more));
  base::store_be16(to + 10, ipv4_header_checksum(to, header));
}

}  // namespace gwlb::wire
