#include "wire/ipv6_chain.h"

#include "base/bytes.h"
#include "base/limits.h"
#include "wire/ip.h"

namespace gwlb::wire {
namespace {

// Takes note of the fragment header at `header`, whose end is at `end`.
void read_fragment_header(const uint8_t* header, uint32_t end, Ipv6Chain* out) {
  const uint16_t field = base::load_be16(header + 2);
  const bool more = (field & 1) != 0;
  out->fragment_offset = field & 0xfff8;
  // RFC 6946: a fragment header on a whole packet says nothing.
  if (more || out->fragment_offset > 0) out->fragment_id = base::load_be32(header + 4);
  out->first_fragment = more && out->fragment_offset == 0;
  out->more_fragments = more;
  out->fragment_at = end;
}

}  // namespace

ChainEnd walk_ipv6_chain(const uint8_t* data, uint32_t available, Ipv6Chain* out) {
  *out = Ipv6Chain{};
  constexpr uint32_t kShortest = 8;
  uint32_t at = kIpv6HeaderBytes;
  uint32_t bytes = 0;
  uint8_t next = data[6];
  const auto end = [&](ChainEnd how, uint32_t needed) {
    out->at = at;
    out->next = next;
    out->needed = needed;
    return how;
  };
  for (uint32_t headers = 0;; ++headers) {
    const Ipv6Extension kind = kExtensions.of[next];
    if (kind == Ipv6Extension::none) return end(ChainEnd::transport, bytes);
    if (headers == base::kIpv6ExtensionHeadersMax) return end(ChainEnd::too_many, bytes);
    const uint8_t* header = data + at;
    const uint32_t left = available - at;
    if (left < kShortest) return end(ChainEnd::cut, kShortest);
    bytes = (header[1] + 1u) * 8;
    if (kind != Ipv6Extension::words) {
      if (kind == Ipv6Extension::fragment) {
        bytes = kShortest;
        if (out->fragment_at != 0) return end(ChainEnd::two_fragments, bytes);
        read_fragment_header(header, at + bytes, out);
        if (out->fragment_offset > 0) {
          at += bytes;
          next = header[0];
          return end(ChainEnd::later_fragment, bytes);
        }
      } else {
        bytes = (header[1] + 2u) * 4;
      }
    }
    if (left < bytes) return end(ChainEnd::cut, bytes);
    at += bytes;
    next = header[0];
  }
}

}  // namespace gwlb::wire
