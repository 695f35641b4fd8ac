#include "wire/frame.h"

#include <algorithm>

#include "base/bytes.h"
#include "wire/checksum.h"
#include "wire/ip.h"

namespace gwlb::wire {

using base::DropReason;

namespace {

constexpr uint32_t kAnyIpLength = 40 + 65535 + 1;  // more than a length field can say

struct Walk {
  const uint8_t* data;
  uint32_t captured;
  uint32_t wire;  // bytes on the wire, at least `captured`
  uint16_t option_class;
  uint16_t port;
  Frame* out;
  // The outer headers claim more than the wire had. Said only at the end, so that what is readable
  // behind them is read.
  ParseError outer_error;
};

bool is_ip(uint16_t ether_type) {
  return ether_type == kEtherTypeIpv4 || ether_type == kEtherTypeIpv6;
}

// LINKTYPE_NULL and LINKTYPE_LOOP: AF_INET is 2 everywhere, AF_INET6 differs between the BSDs. All
// of them are below 256, so the number says itself in which byte order it stands.
bool is_ip_family(uint32_t family) {
  if (family > 0xffff) family = __builtin_bswap32(family);
  return family == 2 || family == 24 || family == 28 || family == 30;
}

// Walks the link header. `*ip` is where the IP packet starts, or Frame::kAbsent where it is none.
ParseError parse_link(const Walk& walk, Link link, uint32_t* ip) {
  *ip = Frame::kAbsent;
  EthernetFrame ethernet;
  uint32_t header = 0;
  uint16_t ether_type = 0;
  switch (link) {
    case Link::bsd_null:
    case Link::bsd_loop:
      header = 4;
      break;
    case Link::raw_ip:
    case Link::raw_ip_bsd:
    case Link::ipv4:
    case Link::ipv6:
      *ip = 0;
      return {};
    case Link::ethernet: {
      const ParseError error =
          parse_ethernet(walk.data, walk.captured, &ethernet, Layer::ethernet, 0);
      if (error.ok() && is_ip(ethernet.ether_type)) *ip = ethernet.header_length;
      return error;
    }
    case Link::linux_cooked:
      header = 16;
      break;
    case Link::linux_cooked2:
      header = 20;
      break;
  }
  if (walk.captured < header) {
    return {DropReason::outer_truncated, Layer::frame, 0, header, walk.captured};
  }
  if (header == 4) {
    if (is_ip_family(base::load_be32(walk.data))) *ip = header;
    return {};
  }
  ether_type = base::load_be16(walk.data + (link == Link::linux_cooked ? 14 : 0));
  for (uint32_t tags = 0; ether_type == 0x8100 || ether_type == 0x88a8; ++tags, header += 4) {
    if (tags == 2) return {};
    if (walk.captured < header + 4) {
      return {DropReason::outer_truncated, Layer::vlan, header, 4, walk.captured - header};
    }
    ether_type = base::load_be16(walk.data + header + 2);
  }
  if (is_ip(ether_type)) *ip = header;
  return {};
}

// Outer and inner IP are the same headers; what differs is what an error is called. Errors behind
// the UDP header's place (TCP, ICMP) are another packet's business.
ParseError as_outer(ParseError error) {
  switch (error.layer) {
    case Layer::inner_ipv4:
      error.layer = Layer::outer_ipv4;
      break;
    case Layer::inner_ipv6:
    case Layer::inner_ipv6_extension:
      error.layer = Layer::outer_ipv6;
      break;
    case Layer::inner_udp:
      error.layer = Layer::outer_udp;
      break;
    default:
      return {};
  }
  const bool odd_chain =
      error.reason == DropReason::inner_too_many_extensions ||
      (error.reason == DropReason::inner_bad_fragment && error.had > error.needed);
  error.reason = odd_chain ? DropReason::outer_not_geneve : DropReason::outer_truncated;
  return error;
}

ChecksumState check_udp(const Frame& frame, const uint8_t* udp, uint32_t length, bool whole) {
  if (base::load_be16(udp + 6) == 0) return ChecksumState::zero;
  if (!whole) return ChecksumState::unknown;
  const uint32_t address_length = frame.version == 4 ? 4 : 16;
  const uint16_t sum =
      transport_checksum(frame.source, frame.destination, address_length, kUdp, udp, length);
  return sum == 0 ? ChecksumState::ok : ChecksumState::bad;
}

// The inner packet at `offset`, of the given EtherType.
ParseError parse_inner_ip(const Walk& walk, uint32_t offset, uint32_t end, uint16_t ether_type) {
  Frame* out = walk.out;
  const uint32_t there = std::min(walk.captured, end) - offset;
  const uint8_t* data = walk.data + offset;
  const uint32_t version = ether_type == kEtherTypeIpv4 ? 4 : 6;
  const Layer layer = version == 4 ? Layer::inner_ipv4 : Layer::inner_ipv6;
  if (there == 0) {
    return {DropReason::inner_truncated, layer, offset, version == 4 ? 20u : 40u, 0};
  }
  const uint32_t had = data[0] >> 4;
  if (had != version) return {DropReason::inner_bad_version, layer, offset, version, had};
  const ParseError error = parse_captured_inner(data, there, end - offset, &out->inner, offset);
  if (!error.ok()) return error;
  out->inner_offset = offset;
  out->has_inner = true;
  return {};
}

// The datagram's payload from `offset` to `end`.
ParseError parse_payload(const Walk& walk, uint32_t offset, uint32_t end) {
  Frame* out = walk.out;
  const uint8_t* data = walk.data + offset;
  const uint32_t there = std::min(walk.captured, end) - std::min(walk.captured, offset);
  if (there >= kGeneveBaseBytes) out->geneve_offset = offset;
  const ParseError error = parse_geneve(data, there, &out->geneve, offset);
  if (!error.ok()) return error;
  GeneveOption option;
  GeneveOptionWalk options(data + kGeneveBaseBytes, out->geneve.option_bytes,
                           offset + kGeneveBaseBytes);
  while (options.next(&option)) {
  }
  if (!options.error().ok()) return options.error();
  out->has_gateway_options =
      find_gateway_options(data, out->geneve, walk.option_class, &out->gateway);

  uint32_t inner = offset + out->geneve.header_length();
  if (is_ip(out->geneve.protocol_type)) {
    return parse_inner_ip(walk, inner, end, out->geneve.protocol_type);
  }
  if (out->geneve.protocol_type != kEtherTypeEthernet) return {};
  const ParseError ethernet =
      parse_ethernet(walk.data + inner, std::min(walk.captured, end) - inner, &out->inner_ethernet,
                     Layer::inner_ethernet, inner);
  if (!ethernet.ok()) return ethernet;
  out->inner_ethernet_offset = inner;
  inner += out->inner_ethernet.header_length;
  if (!is_ip(out->inner_ethernet.ether_type)) return {};
  return parse_inner_ip(walk, inner, end, out->inner_ethernet.ether_type);
}

ParseError parse_udp(Walk* walk, const InnerPacket& ip, uint32_t ip_end) {
  Frame* out = walk->out;
  const uint32_t udp = out->ip_offset + ip.transport_offset;
  const uint8_t* header = walk->data + udp;
  out->udp_offset = udp;
  out->source_port = ip.source_port;
  out->destination_port = ip.destination_port;
  if (out->destination_port != walk->port) return {};
  out->is_geneve = true;

  const uint32_t in_ip = ip_end - udp;
  const bool fragment = (ip.flags & kFirstFragment) != 0;
  uint32_t length = base::load_be16(header + 4);
  const bool big = length == 0;
  if (big) length = in_ip;
  if (length < kUdpHeaderBytes) {
    return {DropReason::outer_truncated, Layer::outer_udp, udp, kUdpHeaderBytes, length};
  }
  if (length > in_ip && !fragment && walk->outer_error.ok()) {
    walk->outer_error = {DropReason::outer_truncated, Layer::outer_udp, udp, length, in_ip};
  }
  const bool whole = !fragment && !big && walk->captured >= udp + length && length <= in_ip;
  out->checksum = check_udp(*out, header, length, whole);
  // A first fragment is as a cut capture: the datagram goes on, but not here.
  const uint32_t there = std::min(walk->captured, ip_end);
  out->datagram_end = udp + length;
  Walk payload = *walk;
  payload.captured = there;
  return parse_payload(payload, udp + kUdpHeaderBytes, udp + length);
}

ParseError parse_outer(Walk* walk, uint32_t offset) {
  Frame* out = walk->out;
  const uint8_t* data = walk->data + offset;
  const uint32_t there = walk->captured - offset;
  const uint32_t on_wire = walk->wire - offset;
  // Allow any length here and compare below: see Walk::outer_error.
  InnerPacket ip;
  const uint32_t length_max = std::max(on_wire, kAnyIpLength);
  ParseError error = parse_captured_inner(data, there, length_max, &ip, offset);
  if (error.reason == DropReason::inner_bad_version) return {};
  if (ip.version != 0) {
    out->ip_offset = offset;
    out->source = ip.source;
    out->destination = ip.destination;
    out->version = ip.version;
    out->ttl = data[ip.version == 4 ? 8 : 7];
    out->tos = ip.version == 4 ? data[1] : static_cast<uint8_t>(base::load_be16(data) >> 4);
    out->protocol = ip.protocol;
  }
  error = as_outer(error);
  if (!error.ok()) return error;
  const uint32_t total = ip.total_length == length_max ? on_wire : ip.total_length;
  if (ip.protocol != kUdp || (ip.flags & kHasPorts) == 0) return {};
  if (total > on_wire) {
    const Layer layer = ip.version == 4 ? Layer::outer_ipv4 : Layer::outer_ipv6;
    walk->outer_error = {DropReason::outer_truncated, layer, offset, total, on_wire};
  }
  return parse_udp(walk, ip, offset + total);
}

}  // namespace

bool link_supported(uint32_t link) {
  switch (static_cast<Link>(link)) {
    case Link::bsd_null:
    case Link::bsd_loop:
    case Link::ethernet:
    case Link::raw_ip:
    case Link::raw_ip_bsd:
    case Link::linux_cooked:
    case Link::linux_cooked2:
    case Link::ipv4:
    case Link::ipv6:
      return link <= 0xffff;
  }
  return false;
}

const char* checksum_state_name(ChecksumState state) {
  switch (state) {
    case ChecksumState::ok:
      return "ok";
    case ChecksumState::zero:
      return "zero";
    case ChecksumState::bad:
      return "bad";
    case ChecksumState::unknown:
      break;
  }
  return "unknown";
}

ParseError parse_frame(const uint8_t* data, size_t captured, size_t wire_length, uint32_t link,
                       uint16_t option_class, uint16_t port, Frame* out) {
  *out = Frame{};
  if (!link_supported(link)) return {};
  // 1 GiB is far above any frame and keeps the sums of offsets and lengths within 32 bits.
  constexpr size_t kFrameBytesMax = size_t{1} << 30;
  const auto there = static_cast<uint32_t>(std::min(captured, kFrameBytesMax));
  const auto wire = static_cast<uint32_t>(std::clamp<size_t>(wire_length, there, kFrameBytesMax));
  Walk walk{data, there, wire, option_class, port, out, {}};
  uint32_t ip = 0;
  ParseError error = parse_link(walk, static_cast<Link>(link), &ip);
  if (!error.ok() || ip == Frame::kAbsent) return error;
  out->network_offset = ip;
  if (walk.captured == ip) {
    return {DropReason::outer_truncated, Layer::outer_ipv4, ip, 20, 0};
  }
  error = parse_outer(&walk, ip);
  return error.ok() ? walk.outer_error : error;
}

}  // namespace gwlb::wire
