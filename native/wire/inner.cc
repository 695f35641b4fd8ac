#include "wire/inner.h"

#include <algorithm>

#include "base/bytes.h"
#include "base/limits.h"
#include "wire/ip.h"
#include "wire/ipv6_chain.h"

namespace gwlb::wire {

using base::DropReason;

namespace {

// Bytes of a packet: those that are there, and those it has by the link's word. Of a captured one a
// total length of 0 means all of these.
struct Whole {
  static constexpr bool kZeroIsRest = false;
  uint32_t length;
  uint32_t captured() const { return length; }
};
struct Captured {
  static constexpr bool kZeroIsRest = true;
  uint32_t there;
  uint32_t length;
  uint32_t captured() const { return there; }
};

// What a packet has to bring of its transport header.
struct TransportRule {
  uint8_t whole;           // bytes, unfragmented (and by RFC 7112 in an IPv6 first fragment)
  uint8_t first_fragment;  // bytes, in an IPv4 first fragment
  Layer layer;
};

constexpr TransportRule kTcpRule{20, 16, Layer::inner_tcp};
constexpr TransportRule kUdpRule{8, 8, Layer::inner_udp};
constexpr TransportRule kSctpRule{12, 8, Layer::inner_sctp};
constexpr TransportRule kIcmpRule{8, 8, Layer::inner_icmp};

const TransportRule* transport_rule(uint8_t version, uint8_t protocol) {
  switch (protocol) {
    case kTcp:
      return &kTcpRule;
    case kUdp:
    case kUdpLite:
      return &kUdpRule;
    case kSctp:
      return &kSctpRule;
    case kIcmp:
      return version == 4 ? &kIcmpRule : nullptr;
    case kIcmpv6:
      return version == 6 ? &kIcmpRule : nullptr;
    default:
      return nullptr;
  }
}

// Part of the walk: nearly every packet comes here.
template <class Extent>
__attribute__((always_inline)) inline ParseError parse_transport(const uint8_t* data,
                                                                 const Extent& extent,
                                                                 InnerPacket* out,
                                                                 uint32_t base_offset) {
  const TransportRule* rule = transport_rule(out->version, out->protocol);
  if (rule == nullptr) return {};
  const bool first = (out->flags & kFirstFragment) != 0;
  const uint32_t needed = first && out->version == 4 ? rule->first_fragment : rule->whole;
  const uint32_t in_packet = out->total_length - out->transport_offset;
  const uint32_t had = std::min(extent.captured(), out->total_length) - out->transport_offset;
  if (had < needed) {
    const bool attack = first && in_packet < needed;
    return {attack ? DropReason::inner_bad_fragment : DropReason::inner_truncated, rule->layer,
            base_offset + out->transport_offset, needed, had};
  }
  const uint8_t* transport = data + out->transport_offset;
  if (rule == &kIcmpRule) {
    out->icmp_type = transport[0];
    out->icmp_code = transport[1];
    if (is_icmp_error(out->version, out->icmp_type)) out->flags |= kIcmpError;
    return {};
  }
  out->source_port = base::load_be16(transport);
  out->destination_port = base::load_be16(transport + 2);
  out->flags |= kHasPorts;
  if (rule == &kTcpRule) out->tcp_flags = transport[13];
  return {};
}

// RFC 1858 section 3, RFC 3128: a fragment that would overwrite the flags of the one before it.
bool is_tcp_overwrite(const InnerPacket& packet) {
  return packet.protocol == kTcp && packet.fragment_offset == 8;
}

ParseError later_fragment(InnerPacket* out, Layer layer, uint32_t base_offset) {
  out->flags |= kLaterFragment;
  if (!is_tcp_overwrite(*out)) return {};
  return {DropReason::inner_bad_fragment, layer, base_offset + out->transport_offset,
          kTcpRule.first_fragment, out->fragment_offset};
}

template <class Extent>
ParseError parse_ipv4(const uint8_t* data, const Extent& extent, InnerPacket* out,
                      uint32_t base_offset) {
  const auto fail = [&](DropReason reason, uint32_t needed, uint32_t had) {
    return ParseError{reason, Layer::inner_ipv4, base_offset, needed, had};
  };
  if (extent.captured() < kIpv4HeaderBytes) {
    return fail(DropReason::inner_truncated, kIpv4HeaderBytes, extent.captured());
  }
  const uint32_t header = (data[0] & 0xf) * 4u;
  if (header < kIpv4HeaderBytes) {
    return fail(DropReason::inner_bad_header_length, kIpv4HeaderBytes, header);
  }
  uint32_t total = base::load_be16(data + 2);
  if (total == 0 && Extent::kZeroIsRest) total = extent.length;
  if (total < header) return fail(DropReason::inner_bad_total_length, header, total);
  if (total > extent.length) return fail(DropReason::inner_truncated, total, extent.length);
  if (header > extent.captured())
    return fail(DropReason::inner_truncated, header, extent.captured());

  const uint16_t fragment = base::load_be16(data + 6);
  const bool more = (fragment & 0x2000) != 0;
  out->source = data + 12;
  out->destination = data + 16;
  out->total_length = total;
  out->transport_offset = static_cast<uint16_t>(header);
  out->version = 4;
  out->protocol = data[9];
  out->fragment_offset = static_cast<uint16_t>((fragment & 0x1fff) * 8);
  if (more || out->fragment_offset > 0) {
    out->fragment_id = base::load_be16(data + 4);
    out->fragment_length = total - header;
    out->more_fragments = more;
  }
  if (out->fragment_offset > 0) return later_fragment(out, Layer::inner_ipv4, base_offset);
  if (more) out->flags |= kFirstFragment;
  return parse_transport(data, extent, out, base_offset);
}

ParseError ipv6_chain_error(ChainEnd end, const Ipv6Chain& chain, uint32_t available,
                            bool packet_ends, uint32_t base_offset) {
  ParseError error{DropReason::inner_bad_fragment, Layer::inner_ipv6_extension,
                   base_offset + chain.at, chain.needed, available - chain.at};
  if (end == ChainEnd::cut && !(chain.first_fragment && packet_ends)) {
    error.reason = DropReason::inner_truncated;
  } else if (end == ChainEnd::too_many) {
    error.reason = DropReason::inner_too_many_extensions;
    error.needed = base::kIpv6ExtensionHeadersMax;
    error.had = base::kIpv6ExtensionHeadersMax + 1;
  } else if (end == ChainEnd::two_fragments) {
    error.needed = 1;
    error.had = 2;
  }
  return error;
}

template <class Extent>
ParseError parse_ipv6(const uint8_t* data, const Extent& extent, InnerPacket* out,
                      uint32_t base_offset) {
  const auto fail = [&](DropReason reason, uint32_t needed, uint32_t had) {
    return ParseError{reason, Layer::inner_ipv6, base_offset, needed, had};
  };
  if (extent.captured() < kIpv6HeaderBytes) {
    return fail(DropReason::inner_truncated, kIpv6HeaderBytes, extent.captured());
  }
  const uint32_t payload = base::load_be16(data + 4);
  uint32_t total = kIpv6HeaderBytes + payload;
  if (payload == 0 && Extent::kZeroIsRest) {
    if (data[6] != kNoNextHeader) total = extent.length;
  } else if (payload == 0 && data[6] == kHopByHop) {  // RFC 2675 jumbogram
    return fail(DropReason::inner_bad_total_length, kIpv6HeaderBytes + 8, total);
  }
  if (total > extent.length) return fail(DropReason::inner_truncated, total, extent.length);

  out->source = data + 8;
  out->destination = data + 24;
  out->total_length = total;
  out->version = 6;
  Ipv6Chain chain;
  const uint32_t available = std::min(extent.captured(), total);
  const ChainEnd end = walk_ipv6_chain(data, available, &chain);
  out->protocol = chain.next;
  out->transport_offset = static_cast<uint16_t>(chain.at);
  out->fragment_id = chain.fragment_id;
  out->fragment_offset = chain.fragment_offset;
  if (chain.first_fragment || chain.fragment_offset > 0) {
    out->fragment_length = total - chain.fragment_at;
    out->more_fragments = chain.more_fragments;
  }
  if (end == ChainEnd::later_fragment) {
    return later_fragment(out, Layer::inner_ipv6_extension, base_offset);
  }
  if (chain.first_fragment) out->flags |= kFirstFragment;
  if (end != ChainEnd::transport) {
    return ipv6_chain_error(end, chain, available, available == total, base_offset);
  }
  return parse_transport(data, extent, out, base_offset);
}

template <class Extent>
ParseError parse(const uint8_t* data, const Extent& extent, InnerPacket* out,
                 uint32_t base_offset) {
  *out = InnerPacket{};
  if (extent.captured() == 0) {
    return {DropReason::inner_truncated, Layer::inner_ipv4, base_offset, kIpv4HeaderBytes, 0};
  }
  const uint32_t version = data[0] >> 4;
  if (version == 4) return parse_ipv4(data, extent, out, base_offset);
  if (version == 6) return parse_ipv6(data, extent, out, base_offset);
  return {DropReason::inner_bad_version, Layer::inner_ipv4, base_offset, 4, version};
}

uint32_t clamp_length(size_t length) {
  return static_cast<uint32_t>(std::min<size_t>(length, 0xffffffff));
}

}  // namespace

ParseError parse_inner(const uint8_t* data, size_t length, InnerPacket* out, uint32_t base_offset) {
  const uint32_t all = clamp_length(length);
  return parse(data, Whole{all}, out, base_offset);
}

ParseError parse_captured_inner(const uint8_t* data, size_t captured, size_t length,
                                InnerPacket* out, uint32_t base_offset) {
  const uint32_t there = clamp_length(captured);
  return parse(data, Captured{there, std::max(there, clamp_length(length))}, out, base_offset);
}

}  // namespace gwlb::wire
