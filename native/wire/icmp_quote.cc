#include <algorithm>

#include "base/bytes.h"
#include "base/limits.h"
#include "wire/inner.h"
#include "wire/ipv6_chain.h"

namespace gwlb::wire {

using base::DropReason;

namespace {

constexpr uint32_t kIcmpHeaderBytes = 8;

// RFC 4884: destination unreachable, time exceeded and (IPv4) parameter problem may say how long
// the quote is, in words of 4 (IPv4) or 8 (IPv6) bytes; what follows are extensions. 0 says
// nothing.
uint32_t quote_limit(const uint8_t* icmp, const InnerPacket& error) {
  const uint8_t type = error.icmp_type;
  if (error.version == 4) return type == 3 || type == 11 || type == 12 ? icmp[5] * 4u : 0;
  return type == 1 || type == 3 ? icmp[4] * 8u : 0;
}

bool is_icmp(const InnerPacket& packet) {
  return packet.protocol == (packet.version == 4 ? kIcmp : kIcmpv6);
}

struct Length {
  uint32_t needed;
  uint32_t had;
};

// Fills the network part from `length->had` bytes. False: too short or malformed, as `length` says.
bool parse_quoted_ipv4(const uint8_t* quote, InnerPacket* out, Length* length) {
  const uint32_t available = length->had;
  length->needed = 20;
  if (available < length->needed) return false;
  const uint32_t header = (quote[0] & 0xf) * 4u;
  length->had = header;
  if (header < length->needed) return false;
  const uint32_t total = base::load_be16(quote + 2);
  *length = {header, total};
  if (total < header) return false;
  const uint16_t fragment = base::load_be16(quote + 6);
  out->source = quote + 12;
  out->destination = quote + 16;
  out->protocol = quote[9];
  out->total_length = std::min(total, available);
  out->transport_offset = static_cast<uint16_t>(std::min(header, out->total_length));
  out->fragment_offset = static_cast<uint16_t>((fragment & 0x1fff) * 8);
  const bool more = (fragment & 0x2000) != 0;
  if (more || out->fragment_offset > 0) out->fragment_id = base::load_be16(quote + 4);
  if (out->fragment_offset > 0) {
    out->flags |= kLaterFragment;
  } else if (more) {
    out->flags |= kFirstFragment;
  }
  return true;
}

bool parse_quoted_ipv6(const uint8_t* quote, InnerPacket* out, Length* length) {
  const uint32_t available = length->had;
  length->needed = 40;
  if (available < length->needed) return false;
  out->source = quote + 8;
  out->destination = quote + 24;
  out->total_length = std::min(uint32_t{40} + base::load_be16(quote + 4), available);
  Ipv6Chain chain;
  const ChainEnd end = walk_ipv6_chain(quote, out->total_length, &chain);
  if (end == ChainEnd::too_many) {
    *length = {base::kIpv6ExtensionHeadersMax, base::kIpv6ExtensionHeadersMax + 1};
    return false;
  }
  if (end == ChainEnd::two_fragments) {
    *length = {1, 2};
    return false;
  }
  out->protocol = chain.next;
  const uint32_t transport = end == ChainEnd::cut ? out->total_length : chain.at;
  out->transport_offset = static_cast<uint16_t>(transport);
  out->fragment_offset = chain.fragment_offset;
  out->fragment_id = chain.fragment_id;
  if (end == ChainEnd::later_fragment) {
    out->flags |= kLaterFragment;
  } else if (chain.first_fragment) {
    out->flags |= kFirstFragment;
  }
  return true;
}

}  // namespace

bool is_icmp_error(uint8_t version, uint8_t type) {
  if (version == 6) return type < 128;
  return type == 3 || type == 4 || type == 5 || type == 11 || type == 12;
}

ParseError parse_icmp_quote(const uint8_t* data, const InnerPacket& error, InnerPacket* out,
                            uint32_t base_offset) {
  *out = InnerPacket{};
  const uint8_t* icmp = data + error.transport_offset;
  const uint8_t* quote = icmp + kIcmpHeaderBytes;
  uint32_t available = error.total_length - error.transport_offset - kIcmpHeaderBytes;
  const uint32_t limit = quote_limit(icmp, error);
  if (limit > 0) available = std::min(available, limit);

  const uint32_t offset = base_offset + error.transport_offset + kIcmpHeaderBytes;
  const auto fail = [&](uint32_t needed, uint32_t had) {
    return ParseError{DropReason::icmp_bad_quote, Layer::inner_icmp_quote, offset, needed, had};
  };
  if (available == 0) return fail(error.version == 4 ? 20 : 40, 0);
  if (quote[0] >> 4 != error.version) return fail(error.version, quote[0] >> 4);
  out->version = error.version;
  out->flags = kQuote;
  Length length{0, available};
  const bool parsed = error.version == 4 ? parse_quoted_ipv4(quote, out, &length)
                                         : parse_quoted_ipv6(quote, out, &length);
  if (!parsed) return fail(length.needed, length.had);

  if ((out->flags & kLaterFragment) != 0) return {};
  const uint8_t* transport = quote + out->transport_offset;
  const uint32_t left = out->total_length - out->transport_offset;
  if (has_ports(out->protocol) && left >= 4) {
    out->source_port = base::load_be16(transport);
    out->destination_port = base::load_be16(transport + 2);
    out->flags |= kHasPorts;
  } else if (is_icmp(*out) && left >= 1) {
    out->icmp_type = transport[0];
    if (left >= 2) out->icmp_code = transport[1];
    // RFC 1122 section 3.2.2: no error is ever sent about an error.
    if (is_icmp_error(out->version, out->icmp_type)) return fail(0, out->icmp_type);
  }
  return {};
}

}  // namespace gwlb::wire
