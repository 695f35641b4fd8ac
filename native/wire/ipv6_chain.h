// The chain of IPv6 extension headers (RFC 8200 section 4), shared by packets and their quotes in
// ICMP errors.
#pragma once

#include <cstdint>

#include "wire/inner.h"

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
  uint32_t fragment_at = 0;      // behind the fragment header; 0 where there is none
  uint16_t fragment_offset = 0;  // in bytes
  uint8_t next = 0;              // protocol of what is at `at`
  bool first_fragment = false;
  bool more_fragments = false;
};

enum class Ipv6Extension : uint8_t {
  none,   // it ends the chain, as ESP (50) does, which hides what follows it
  words,  // the second byte is how many words of 8 bytes follow the first
  fragment,
  authentication,  // RFC 4302: how many words of 4 bytes follow the first two
};
struct ExtensionTable {
  Ipv6Extension of[256] = {};
  constexpr ExtensionTable() {
    of[0] = Ipv6Extension::words;   // hop-by-hop options
    of[43] = Ipv6Extension::words;  // routing
    of[44] = Ipv6Extension::fragment;
    of[51] = Ipv6Extension::authentication;
    of[60] = Ipv6Extension::words;   // destination options
    of[135] = Ipv6Extension::words;  // mobility, RFC 6275
    of[139] = Ipv6Extension::words;  // host identity, RFC 7401
    of[140] = Ipv6Extension::words;  // shim6, RFC 5533
  }
};
inline constexpr ExtensionTable kExtensions;
inline bool is_ipv6_extension(uint8_t next) { return kExtensions.of[next] != Ipv6Extension::none; }

// Whether the first fragment of a later one's datagram may have ports, by the protocol that the
// later one shows: for IPv6 the first header of what was cut, which may be an extension header.
inline bool may_have_ports(uint8_t version, uint8_t protocol) {
  return has_ports(protocol) || (version == 6 && is_ipv6_extension(protocol));
}

// `available` bytes (at least 40) of an IPv6 packet.
ChainEnd walk_ipv6_chain(const uint8_t* data, uint32_t available, Ipv6Chain* out);

}  // namespace gwlb::wire
