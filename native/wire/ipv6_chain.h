// The chain of IPv6 extension headers (RFC 8200 section 4), shared by packets and their quotes in
// ICMP errors.
#pragma once

#include <cstdint>

namespace gwlb::wire {

enum class ChainEnd : uint8_t {
  transport,       // `at` is where the transport header (or ESP, or nothing) begins
  later_fragment,  // `at` is behind a fragment header with an offset above 0
  cut,             // the header at `at` needs `needed` bytes, more than are available
  too_many,        // more than kIpv6ExtensionHeadersMax
  two_fragments,   // a fragment of a fragment, which no sender makes
};

struct Ipv6Chain {
  uint32_t at = 0;  // from the first byte of the IPv6 header
  uint32_t needed = 0;
  uint32_t fragment_id = 0;
  uint32_t fragment_at = 0;      // behind the fragment header
  uint16_t fragment_offset = 0;  // in bytes
  uint8_t next = 0;              // protocol of what is at `at`
  bool first_fragment = false;
  bool more_fragments = false;
};

// Those with a length in the second byte. ESP (50) hides what follows it and ends the chain.
struct ExtensionTable {
  bool of[256] = {};
  constexpr ExtensionTable() {
    of[0] = true;    // hop-by-hop options
    of[43] = true;   // routing
    of[44] = true;   // fragment
    of[51] = true;   // authentication, RFC 4302
    of[60] = true;   // destination options
    of[135] = true;  // mobility, RFC 6275
    of[139] = true;  // host identity, RFC 7401
    of[140] = true;  // shim6, RFC 5533
  }
};
inline constexpr ExtensionTable kExtensions;
inline bool is_ipv6_extension(uint8_t next) { return kExtensions.of[next]; }

// `available` bytes (at least 40) of an IPv6 packet.
ChainEnd walk_ipv6_chain(const uint8_t* data, uint32_t available, Ipv6Chain* out);

}  // namespace gwlb::wire
