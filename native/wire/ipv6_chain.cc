#include "wire/ipv6_chain.h"

#include "base/bytes.h"
#include "base/limits.h"

namespace gwlb::wire {
namespace {

constexpr uint32_t kIpv6HeaderBytes = 40;
constexpr uint8_t kFragmentHeader = 44;
constexpr uint8_t kAuthenticationHeader = 51;

}  // namespace

// Those with a length in the second byte. ESP (50) hides what follows it and ends the chain.
bool is_ipv6_extension(uint8_t next) {
  switch (next) {
    case 0:    // hop-by-hop options
    case 43:   // routing
    case 44:   // fragment
    case 51:   // authentication, RFC 4302
    case 60:   // destination options
    case 135:  // mobility, RFC 6275
    case 139:  // host identity, RFC 7401
    case 140:  // shim6, RFC 5533
      return true;
    default:
      return false;
  }
}

ChainEnd walk_ipv6_chain(const uint8_t* data, uint32_t available, Ipv6Chain* out) {
  *out = Ipv6Chain{};
  out->at = kIpv6HeaderBytes;
  out->next = data[6];
  bool fragment_seen = false;
  for (uint32_t headers = 0; is_ipv6_extension(out->next); ++headers) {
    if (headers == base::kIpv6ExtensionHeadersMax) return ChainEnd::too_many;
    const uint8_t* header = data + out->at;
    out->needed = 8;  // the shortest
    if (available - out->at < out->needed) return ChainEnd::cut;
    if (out->next == kFragmentHeader) {
      if (fragment_seen) return ChainEnd::two_fragments;
      fragment_seen = true;
      const uint16_t field = base::load_be16(header + 2);
      const bool more = (field & 1) != 0;
      out->fragment_offset = field & 0xfff8;
      // RFC 6946: a fragment header on a whole packet says nothing.
      if (more || out->fragment_offset > 0) out->fragment_id = base::load_be32(header + 4);
      out->first_fragment = more && out->fragment_offset == 0;
      out->more_fragments = more;
      out->fragment_at = out->at + 8;
    } else if (out->next == kAuthenticationHeader) {
      out->needed = (header[1] + 2u) * 4;
    } else {
      out->needed = (header[1] + 1u) * 8;
    }
    if (available - out->at < out->needed) return ChainEnd::cut;
    out->next = header[0];
    out->at += out->needed;
    if (out->fragment_offset > 0) return ChainEnd::later_fragment;
  }
  return ChainEnd::transport;
}

}  // namespace gwlb::wire
