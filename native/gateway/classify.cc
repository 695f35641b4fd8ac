// First half of a batch: what is each packet, and which flow is it of? Reads packets, drops what is
// malformed or from a stranger; changes no flow, but notes the ports of fragment trains, because
// the rest of a train is often in the same batch.
#include "gateway/state.h"
#include "wire/checksum.h"
#include "wire/ecn.h"
#include "wire/ipv6_chain.h"

namespace gwlb::gateway {

using base::DropReason;
using batch::PacketBatch;

namespace {

// Moves the packet's start forward by `bytes`.
void strip(PacketBatch& batch, uint32_t i, uint32_t bytes) {
  batch.offset[i] += bytes;
  batch.length[i] -= bytes;
}

// What the packet's key is made of: itself, or what it quotes.
wire::InnerPacket& keyed_part(Scratch& s, uint32_t i) {
  return s.quoted[i] ? s.quote[i] : s.inner[i];
}

// The key of packet i, and its place among the batch's keys of its family.
void set_key(Gateway::State& state, PacketBatch& batch, uint32_t i) {
  Scratch& s = state.scratch;
  const wire::InnerPacket& keyed = keyed_part(s, i);
  const flow::Stickiness stickiness = state.config.stickiness;
  const uint16_t scope = state.scope_of(batch.endpoint[i]);
  if (keyed.version == 4) {
    const uint32_t n = s.n4++;
    s.low_to_high[i] = flow::make_key(keyed, stickiness, scope, &s.keys4[n]);
    s.hashes4[n] = batch.hash[i] = flow::hash_key(state.config.hash_key, s.keys4[n]);
    s.packet4[n] = i;
    s.key_at[i] = n;
  } else {
    const uint32_t n = s.n6++;
    s.low_to_high[i] = flow::make_key(keyed, stickiness, scope, &s.keys6[n]);
    s.hashes6[n] = batch.hash[i] = flow::hash_key(state.config.hash_key, s.keys6[n]);
    s.packet6[n] = i;
    s.key_at[i] = n;
  }
}

// An ICMP error has the key of the packet that it quotes; a later fragment has the ports of its
// train's first fragment, which may be in the rest of the batch.
DropReason classify_inner(Gateway::State& state, PacketBatch& batch, uint32_t i) {
  Scratch& s = state.scratch;
  wire::InnerPacket& inner = s.inner[i];
  const uint8_t* packet = batch.packet(i);
  const wire::ParseError error = wire::parse_inner(packet, batch.length[i], &inner);
  if (!error.ok()) return error.reason;
  batch.length[i] = inner.total_length;

  s.quoted[i] = (inner.flags & wire::kIcmpError) != 0;
  if (s.quoted[i] && !wire::parse_icmp_quote(packet, inner, &s.quote[i]).ok()) {
    return DropReason::icmp_bad_quote;
  }
  if (state.config.stickiness == flow::Stickiness::five_tuple) {
    const auto now_ms = static_cast<uint32_t>(state.now_ms);
    const uint16_t scope = state.scope_of(batch.endpoint[i]);
    wire::InnerPacket& keyed = keyed_part(s, i);
    constexpr uint8_t kFirstWithPorts = wire::kFirstFragment | wire::kHasPorts;
    if ((keyed.flags & wire::kLaterFragment) != 0) {
      if (state.fragments->find(&keyed, scope, now_ms) == flow::FragmentTable::Found::unknown) {
        s.waiting[s.waiting_count++] = i;
        return DropReason::none;
      }
    } else if (!s.quoted[i] && (inner.flags & kFirstWithPorts) == kFirstWithPorts) {
      state.fragments->bind(inner, scope, now_ms);
    }
  }
  set_key(state, batch, i);
  return DropReason::none;
}

// Whether the first fragment of this one's train may have ports. (A later IPv6 fragment shows the
// first header of what was cut, which may be an extension header.)
bool may_have_ports(const wire::InnerPacket& later) {
  switch (later.protocol) {
    case wire::kTcp:
    case wire::kUdp:
    case wire::kUdpLite:
    case wire::kSctp:
      return true;
    default:
      return later.version == 6 && wire::is_ipv6_extension(later.protocol);
  }
}

// Later fragments that were waiting for the rest of the batch.
void settle_fragments(Gateway::State& state, PacketBatch& batch) {
  using Found = flow::FragmentTable::Found;
  Scratch& s = state.scratch;
  const auto now_ms = static_cast<uint32_t>(state.now_ms);
  for (uint32_t k = 0; k < s.waiting_count; ++k) {
    const uint32_t i = s.waiting[k];
    if (!batch.pending(i)) continue;
    wire::InnerPacket& keyed = keyed_part(s, i);
    const uint16_t endpoint = batch.endpoint[i];
    const uint16_t scope = state.scope_of(endpoint);
    const bool unknown = state.fragments->find(&keyed, scope, now_ms) == Found::unknown;
    if (unknown && s.role[i] == Role::ingress && !s.quoted[i] && may_have_ports(keyed)) {
      if (state.hold->put(batch.packet(i), batch.length[i], endpoint, state.now_ms)) {
        batch.verdict[i] = static_cast<uint8_t>(batch::Verdict::held);
        state.counters.add(GatewayCounter::packets_held);
        continue;
      }
      state.fragments->give_up(keyed, scope, now_ms);
    }
    set_key(state, batch, i);
  }
}

DropReason classify_ingress(Gateway::State& state, PacketBatch& batch, uint32_t i) {
  const uint16_t endpoint = batch.endpoint[i];
  if (!state.endpoints.exists(endpoint)) return DropReason::unknown_endpoint;
  state.scratch.role[i] = Role::ingress;
  if ((batch.flags[i] & batch::kWasHeld) == 0) {
    state.counters.add(GatewayCounter::packets_in, batch.packets[i]);
    state.counters.add(GatewayCounter::bytes_in, batch.bytes(i));
    state.counters.add(endpoint, EndpointCounter::packets_in, batch.packets[i]);
    state.counters.add(endpoint, EndpointCounter::bytes_in, batch.bytes(i));
  }
  const DropReason reason = classify_inner(state, batch, i);
  if (reason != DropReason::none) return reason;
  if (batch.longest(i) > state.mtu_of(endpoint)) return DropReason::inner_too_big;
  return DropReason::none;
}

// Opens the inner Ethernet header, if that is what the peer is configured to send.
DropReason open_ethernet(PacketBatch& batch, uint32_t i, wire::EthernetFrame* frame) {
  const wire::ParseError error = wire::parse_ethernet(batch.packet(i), batch.length[i], frame);
  if (!error.ok()) return error.reason;
  if (frame->ether_type != wire::kEtherTypeIpv4 && frame->ether_type != wire::kEtherTypeIpv6) {
    return DropReason::geneve_bad_protocol;
  }
  strip(batch, i, frame->header_length);
  return DropReason::none;
}

bool protocol_is(uint16_t protocol_type, InnerMode mode) {
  if (mode == InnerMode::ethernet) return protocol_type == wire::kEtherTypeEthernet;
  return protocol_type == wire::kEtherTypeIpv4 || protocol_type == wire::kEtherTypeIpv6;
}

DropReason merge_congestion(PacketBatch& batch, uint32_t i) {
  const bool ok = wire::carry_congestion(batch.packet(i), batch.tos[i]);
  return ok ? DropReason::none : DropReason::ecn_not_capable;
}

DropReason classify_from_target(Gateway::State& state, PacketBatch& batch, uint32_t i,
                                uint16_t slot) {
  Scratch& s = state.scratch;
  s.role[i] = Role::from_target;
  wire::GeneveHeader header;
  const wire::ParseError error = wire::parse_gateway_header(
      batch.packet(i), batch.length[i], state.config.option_class, &header, &s.options[i]);
  // Several targets may have one address, with ports of their own, but answer from any port (R6):
  // the cookie tells which of them it is.
  const select::TargetSpec& named = state.table->target(cookie_slot(s.options[i].cookie));
  const bool is_named =
      error.ok() && (named.flags & select::kRegistered) != 0 && named.address == batch.address[i];
  if (is_named) slot = named.slot;
  s.source_slot[i] = slot;
  batch.target[i] = slot;
  state.counters.add(GatewayCounter::packets_from_targets);
  state.counters.add(slot, TargetCounter::packets_from);
  if (!error.ok()) return error.reason;
  if (!protocol_is(header.protocol_type, state.config.inner)) {
    return DropReason::geneve_bad_protocol;
  }
  const uint16_t endpoint = state.endpoints.by_id(s.options[i].endpoint_id);
  if (endpoint == base::kNoEndpoint) {
    if (s.options[i].endpoint_id != kProbeEndpointId || !is_named) {
      return DropReason::unknown_endpoint;
    }
    state.counters.add(GatewayCounter::probes_returned);
    state.counters.set_probe(slot, s.options[i].cookie & kProbeNonceMask);
    batch.verdict[i] = static_cast<uint8_t>(batch::Verdict::probe);
    return DropReason::none;
  }
  batch.endpoint[i] = endpoint;
  strip(batch, i, header.header_length());
  if (state.config.inner == InnerMode::ethernet) {
    wire::EthernetFrame frame;
    const DropReason reason = open_ethernet(batch, i, &frame);
    if (reason != DropReason::none) return reason;
  }
  const DropReason reason = classify_inner(state, batch, i);
  if (reason != DropReason::none) return reason;
  state.counters.add(slot, TargetCounter::bytes_from, batch.length[i]);
  return merge_congestion(batch, i);
}

DropReason classify_from_peer(Gateway::State& state, PacketBatch& batch, uint32_t i) {
  wire::GeneveHeader header;
  const wire::ParseError error =
      wire::parse_plain_header(batch.packet(i), batch.length[i], &header);
  if (!error.ok()) return error.reason;
  const uint16_t endpoint = state.endpoints.by_peer(batch.address[i], header.vni);
  if (endpoint == base::kNoEndpoint) return DropReason::unknown_endpoint;
  const EndpointSpec& spec = state.endpoints.at(endpoint);
  if (!protocol_is(header.protocol_type, spec.inner)) return DropReason::geneve_bad_protocol;
  batch.endpoint[i] = endpoint;
  strip(batch, i, header.header_length());
  wire::EthernetFrame frame;
  if (spec.inner == InnerMode::ethernet) {
    const DropReason reason = open_ethernet(batch, i, &frame);
    if (reason != DropReason::none) return reason;
    // Its tags could not be given back on the way out, and may keep tenants apart (R37).
    if (frame.vlans != 0) return DropReason::geneve_bad_protocol;
  }
  const DropReason reason = classify_ingress(state, batch, i);
  if (reason == DropReason::none && spec.inner == InnerMode::ethernet) {
    // The peer is answered with the addresses of its last good frame, swapped.
    Endpoints::Macs& macs = state.endpoints.macs(endpoint);
    std::memcpy(macs.source, frame.destination, 6);
    std::memcpy(macs.destination, frame.source, 6);
  }
  return reason != DropReason::none ? reason : merge_congestion(batch, i);
}

// With outer_headers the batch holds whole IPv4 packets, whose checksums nobody has verified (R9).
DropReason open_outer(Gateway::State& state, PacketBatch& batch, uint32_t i) {
  const uint8_t* ip = batch.packet(i);
  wire::InnerPacket outer;
  const wire::ParseError error = wire::parse_inner(ip, batch.length[i], &outer);
  if (!error.ok()) return DropReason::outer_truncated;
  const bool is_fragment = (outer.flags & (wire::kFirstFragment | wire::kLaterFragment)) != 0;
  if (outer.version != 4 || outer.protocol != wire::kUdp || is_fragment ||
      outer.destination_port != state.config.port) {
    return DropReason::outer_not_geneve;
  }
  if (wire::ipv4_header_checksum(ip, outer.transport_offset) != base::load_be16(ip + 10)) {
    return DropReason::outer_bad_checksum;
  }
  const uint8_t* udp = ip + outer.transport_offset;
  const uint32_t segment = outer.total_length - outer.transport_offset;
  const uint32_t udp_length = base::load_be16(udp + 4);
  if (udp_length < 8 || udp_length > segment) return DropReason::outer_truncated;
  if (base::load_be16(udp + 6) != 0 && wire::transport_checksum(outer.source, outer.destination, 4,
                                                                wire::kUdp, udp, udp_length) != 0) {
    return DropReason::outer_bad_checksum;
  }
  batch.address[i] = base::load_be32(outer.source);
  batch.port[i] = outer.source_port;
  batch.tos[i] = ip[1];
  strip(batch, i, outer.transport_offset + 8);
  batch.length[i] = udp_length - 8;
  return DropReason::none;
}

DropReason classify_datagram(Gateway::State& state, PacketBatch& batch, uint32_t i) {
  if (state.config.outer_headers) {
    const DropReason reason = open_outer(state, batch, i);
    if (reason != DropReason::none) return reason;
  }
  const uint16_t slot = state.table->slot_of(batch.address[i]);
  if (slot != base::kNoTarget) return classify_from_target(state, batch, i, slot);
  if (state.endpoints.is_peer(batch.address[i])) return classify_from_peer(state, batch, i);
  return DropReason::unknown_source;
}

template <class Classify>
void classify_each(Gateway::State& state, PacketBatch& batch, Classify classify) {
  Scratch& s = state.scratch;
  s.n4 = s.n6 = s.waiting_count = 0;
  for (uint32_t i = 0; i < batch.count; ++i) {
    if (!batch.pending(i)) continue;
    const DropReason reason = classify(state, batch, i);
    if (reason == DropReason::none) continue;
    if (reason == DropReason::inner_too_big) {
      answer_too_big(state, batch, i);
    } else {
      drop(state, batch, i, reason);
    }
  }
  if (s.waiting_count != 0) settle_fragments(state, batch);
}

}  // namespace

void classify_packets(Gateway::State& state, PacketBatch& batch) {
  classify_each(state, batch, classify_ingress);
}

void classify_datagrams(Gateway::State& state, PacketBatch& batch) {
  classify_each(state, batch, classify_datagram);
}

}  // namespace gwlb::gateway
