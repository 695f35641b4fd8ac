#include "wire/packet_checksums.h"

#include "base/bytes.h"
#include "wire/checksum.h"

namespace gwlb::wire {
namespace {

// Where the checksum is in the transport header; 0: none that is known.
uint32_t checksum_at(uint8_t protocol, uint8_t version) {
  switch (protocol) {
    case kTcp:
      return 16;
    case kUdp:
      return 6;
    case kIcmp:
      return version == 4 ? 2 : 0;
    case kIcmpv6:
      return version == 6 ? 2 : 0;
    default:
      return 0;
  }
}

}  // namespace

void write_checksums(uint8_t* packet, const InnerPacket& inner) {
  if (inner.version == 4) {
    base::store_be16(packet + 10, ipv4_header_checksum(packet, (packet[0] & 15u) * 4));
  }
  const uint32_t at = checksum_at(inner.protocol, inner.version);
  if (at == 0 || (inner.flags & (kFirstFragment | kLaterFragment)) != 0) return;
  uint8_t* segment = packet + inner.transport_offset;
  const uint32_t length = inner.total_length - inner.transport_offset;
  const bool udp = inner.protocol == kUdp;
  if (udp && inner.version == 4 && base::load_be16(segment + at) == 0) return;
  base::store_be16(segment + at, 0);
  const size_t address_bytes = inner.version == 4 ? 4 : 16;
  uint16_t sum = inner.protocol == kIcmp
                     ? checksum_finish(checksum_add(segment, length))
                     : transport_checksum(inner.source, inner.destination, address_bytes,
                                          inner.protocol, segment, length);
  if (udp && sum == 0) sum = 0xffff;
  base::store_be16(segment + at, sum);
}

}  // namespace gwlb::wire
