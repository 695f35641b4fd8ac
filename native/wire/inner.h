// One walk over an inner IP packet: everything that keying, connection tracking and ICMP answers
// need to know of it. Lengths are checked here, once; the accessors below cannot fail afterwards.
#pragma once

#include <cstddef>
#include <cstdint>

#include "base/bytes.h"
#include "wire/parse_error.h"

namespace gwlb::wire {

enum IpProtocol : uint8_t {
  kIcmp = 1,
  kTcp = 6,
  kUdp = 17,
  kIcmpv6 = 58,
  kSctp = 132,
  kUdpLite = 136,
};

inline bool has_ports(uint8_t protocol) {
  return protocol == kTcp || protocol == kUdp || protocol == kUdpLite || protocol == kSctp;
}

enum TcpFlags : uint8_t { kFin = 1, kSyn = 2, kRst = 4, kPsh = 8, kAck = 16 };

enum InnerFlags : uint8_t {
  kHasPorts = 1,       // TCP, UDP, UDP-Lite or SCTP whose ports are in this packet
  kFirstFragment = 2,  // offset 0 with more fragments to come
  kLaterFragment = 4,  // offset above 0: no transport header here
  kIcmpError = 8,      // ICMP/ICMPv6 error: `quote` is the packet it is about
  kQuote = 16,         // this InnerPacket describes a quoted packet, which may be cut short
};

struct InnerPacket {
  const uint8_t* source = nullptr;       // 4 or 16 bytes, network order, inside the packet
  const uint8_t* destination = nullptr;  // the same
  uint32_t total_length = 0;             // by the IP header; never above what was parsed
  uint32_t fragment_id = 0;              // IPv4: 16 bits; IPv6: 32 bits; 0 where not fragmented
  uint32_t fragment_length = 0;          // of a fragment: the datagram's bytes in it; 0 in quotes
  uint16_t fragment_offset = 0;          // in bytes
  uint16_t transport_offset = 0;         // from the first byte of the IP header
  uint16_t source_port = 0;              // host order; 0 without kHasPorts
  uint16_t destination_port = 0;
  uint8_t version = 0;    // 4 or 6
  uint8_t protocol = 0;   // the last one of an IPv6 chain
  uint8_t flags = 0;      // InnerFlags
  uint8_t tcp_flags = 0;  // of an unfragmented or first-fragment TCP packet, else 0
  uint8_t icmp_type = 0;  // of ICMP and ICMPv6
  uint8_t icmp_code = 0;
  bool more_fragments = false;  // of a fragment: it is not the datagram's last one
};

// Parses an IPv4 or IPv6 packet of `length` bytes. Bytes behind the IP total length (Ethernet
// padding) are ignored; a total length above `length` is inner_truncated. `base_offset` is added to
// the error's offset. RFC 791, 8200 (chain bounded by kIpv6ExtensionHeadersMax), 7112, 1858, 3128.
// RFC 6946 atomic fragments count as whole packets. An IPv6 jumbogram is refused.
// What has to be there of a transport header: TCP 20, UDP and UDP-Lite 8, SCTP 12, ICMP 8 bytes; of
// an IPv4 first fragment TCP 16 (RFC 3128's minimum), others 8. Nothing of other protocols.
ParseError parse_inner(const uint8_t* data, size_t length, InnerPacket* out,
                       uint32_t base_offset = 0);

// What most packets are: TCP or UDP in IPv4 without options or fragmentation, or in IPv6 without
// extension headers. These take what parse_inner takes, and say the same of it, in a few
// instructions; false for everything else (which parse_inner may take or refuse).
struct PlainInner {
  static constexpr uint8_t kFlags = kHasPorts;
  uint32_t total_length;
  uint8_t protocol;
  uint8_t tcp_flags;
};
inline constexpr uint32_t kPlainIpv4Bytes = 20;
inline constexpr uint32_t kPlainIpv6Bytes = 40;

// The transport header behind `header` bytes.
inline bool parse_plain_transport(const uint8_t* data, size_t length, uint32_t header,
                                  PlainInner* out) {
  constexpr uint32_t kUdpBytes = 8, kTcpBytes = 20;
  const bool tcp = out->protocol == kTcp;
  if (!tcp && out->protocol != kUdp) return false;
  out->tcp_flags = 0;
  if (out->total_length > length || out->total_length < header + (tcp ? kTcpBytes : kUdpBytes)) {
    return false;
  }
  if (tcp) out->tcp_flags = data[header + 13];
  return true;
}
inline bool parse_plain_ipv4(const uint8_t* data, size_t length, PlainInner* out) {
  if (length < kPlainIpv4Bytes) return false;
  const auto start = base::load<uint64_t>(data);
  // Version, header length, "more fragments" and fragment offset, as a load sees them.
  if ((start & 0xff3f'0000'0000'00ff) != 0x45) return false;
  out->total_length = __builtin_bswap16(static_cast<uint16_t>(start >> 16));
  out->protocol = data[9];
  return parse_plain_transport(data, length, kPlainIpv4Bytes, out);
}
inline bool parse_plain_ipv6(const uint8_t* data, size_t length, PlainInner* out) {
  if (length < kPlainIpv6Bytes) return false;
  const auto start = base::load<uint64_t>(data);
  if ((start & 0xf0) != 0x60) return false;
  out->total_length = kPlainIpv6Bytes + __builtin_bswap16(static_cast<uint16_t>(start >> 32));
  out->protocol = static_cast<uint8_t>(start >> 48);
  return parse_plain_transport(data, length, kPlainIpv6Bytes, out);
}

// The same for tools that read captures: of a packet of `length` bytes only `captured` are there.
// Headers have to be in those; the IP total length is held against `length`, so `total_length` may
// be above `captured`. An IPv4 total length or IPv6 payload length of 0 (BIG TCP, segmentation
// offload) means "to the end".
ParseError parse_captured_inner(const uint8_t* data, size_t captured, size_t length,
                                InnerPacket* out, uint32_t base_offset = 0);

// ICMP 3, 4, 5, 11, 12; ICMPv6 below 128 (RFC 4443 section 2.1).
bool is_icmp_error(uint8_t version, uint8_t type);

// The packet quoted by an ICMP error: out of parse_inner (not parse_captured_inner) with
// kIcmpError; `data` is the first byte of the error's IP header. The quote may end anywhere after
// its addresses and protocol: ports are there (kHasPorts) when four transport bytes are. Where a
// quoted IPv6 chain is cut, `protocol` is the extension header at which it was. Too short or
// malformed, or itself an ICMP error: icmp_bad_quote. RFC 792, 4443, 4884.
ParseError parse_icmp_quote(const uint8_t* data, const InnerPacket& error, InnerPacket* out,
                            uint32_t base_offset = 0);

// Inner Ethernet frame with up to two VLAN tags (802.1Q, 802.1ad).
struct EthernetFrame {
  const uint8_t* destination = nullptr;  // 6 bytes
  const uint8_t* source = nullptr;
  uint16_t ether_type = 0;    // of the payload, behind the tags
  uint16_t vlan[2] = {0, 0};  // tag control information, outermost first
  uint8_t vlans = 0;
  uint8_t header_length = 14;  // with the tags
};
ParseError parse_ethernet(const uint8_t* data, size_t length, EthernetFrame* out,
                          Layer layer = Layer::inner_ethernet, uint32_t base_offset = 0);

}  // namespace gwlb::wire
