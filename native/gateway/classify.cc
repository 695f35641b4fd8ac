// First half of a batch: what is each packet, and which flow is it of? Reads packets, drops what is
// malformed or from a stranger; changes no flow, but notes the ports of fragment trains, because
// the rest of a train is often in the same batch.
#include <algorithm>

#include "base/prefetch.h"
#include "gateway/drops.h"
#include "gateway/keys.h"
#include "wire/checksum.h"
#include "wire/ecn.h"
#include "wire/scope.h"

namespace gwlb::gateway {

using base::DropReason;
using batch::PacketBatch;

namespace {

constexpr uint32_t kLine = 64;
// So many packets ahead their memory is asked for.
constexpr uint32_t kAhead = 8;

// Moves the packet's start forward by `bytes`.
void strip(PacketBatch& batch, uint32_t i, uint32_t bytes) {
  batch.offset[i] += bytes;
  batch.length[i] -= bytes;
}

// Of a packet of the endpoint whose run it is, with its ports behind `header` bytes.
template <class Key>
GWLB_HOT void set_plain_key(Gateway::State& state, const PacketBatch& batch, uint32_t i,
                            const wire::PlainInner& inner, const uint8_t* packet, uint32_t header) {
  const flow::KeyRule& rule = state.key_rule;
  Seen& seen = state.scratch.seen[i];
  seen.protocol = inner.protocol;
  seen.flags = wire::PlainInner::kFlags;
  seen.tcp_flags = inner.tcp_flags;
  Key* key = next_key<Key>(state, i);
  const uint8_t* addresses = packet + header - sizeof key->low - sizeof key->high;
  const uint32_t ports = base::load<uint32_t>(packet + header) & rule.port_mask;
  const bool forward = flow::write_key(addresses, ports, inner.protocol & rule.protocol_mask,
                                       state.run.key_tail, key);
  const bool usual = (inner.tcp_flags & kTurns) == 0 && !batch.is_super(i);
  seen.way = static_cast<uint8_t>((forward ? kLowToHigh : 0) | (usual ? kUsual : 0));
}

// An ICMP error has the key of the packet that it quotes; a later fragment has the ports of its
// train's first fragment, and gets its key with those.
GWLB_APART DropReason classify_other(Gateway::State& state, PacketBatch& batch, uint32_t i,
                                     uint16_t scope) {
  const uint8_t* packet = batch.packet(i);
  Fragment& fragment = state.scratch.fragments.next();  // it may be one
  wire::InnerPacket& keyed = fragment.keyed;
  const wire::ParseError error = wire::parse_inner(packet, batch.length[i], &keyed);
  if (!error.ok()) return error.reason;
  batch.length[i] = keyed.total_length;
  Seen& seen = state.scratch.seen[i];
  seen.version = keyed.version;
  seen.protocol = keyed.protocol;
  seen.flags = keyed.flags;
  seen.tcp_flags = keyed.tcp_flags;
  const bool quoted = seen.quoted();
  if (quoted) {
    const wire::InnerPacket inner = keyed;
    if (!wire::parse_icmp_quote(packet, inner, &keyed).ok()) return DropReason::icmp_bad_quote;
  }
  constexpr uint8_t kFragment = wire::kFirstFragment | wire::kLaterFragment;
  if ((keyed.flags & kFragment) != 0 && state.config.stickiness == flow::Stickiness::five_tuple) {
    using Part = Fragment::Part;
    if ((keyed.flags & wire::kLaterFragment) != 0) {
      state.scratch.fragments.add(i, quoted ? Part::quoted : Part::later, keyed.fragment_id, scope);
      return DropReason::none;
    }
    if (!quoted && (keyed.flags & wire::kHasPorts) != 0) {
      state.scratch.fragments.add(i, Part::first, keyed.fragment_id, scope);
    }
  }
  set_key(state, batch, i, keyed, scope);
  return DropReason::none;
}

// Of a packet that enters and may have such addresses.
GWLB_SELDOM DropReason check_scope(const uint8_t* packet) {
  return wire::stays_on_link(packet) ? DropReason::never_forwarded : DropReason::none;
}

// `enters`: it must not be one that no router forwards.
GWLB_HOT DropReason classify_inner(Gateway::State& state, PacketBatch& batch, uint32_t i,
                                   bool enters) {
  const uint8_t* packet = batch.packet(i);
  wire::PlainInner plain;
  if (wire::parse_plain_ipv4(packet, batch.length[i], &plain)) {
    batch.length[i] = plain.total_length;
    set_plain_key<flow::FlowKey4>(state, batch, i, plain, packet, wire::kPlainIpv4Bytes);
    return enters && wire::may_stay_on_link_ipv4(packet) ? check_scope(packet) : DropReason::none;
  }
  if (wire::parse_plain_ipv6(packet, batch.length[i], &plain)) {
    batch.length[i] = plain.total_length;
    set_plain_key<flow::FlowKey6>(state, batch, i, plain, packet, wire::kPlainIpv6Bytes);
    return enters && wire::may_stay_on_link_ipv6(packet) ? check_scope(packet) : DropReason::none;
  }
  const DropReason reason = classify_other(state, batch, i, state.run.scope);
  const bool may_stay = enters && reason == DropReason::none && wire::may_stay_on_link(packet);
  return may_stay ? check_scope(packet) : reason;
}

GWLB_HOT DropReason classify_ingress(Gateway::State& state, PacketBatch& batch, uint32_t i) {
  if (!state.run_of(batch.endpoint[i])) return DropReason::unknown_endpoint;
  EndpointRun& run = state.run;
  state.scratch.seen[i].role = Role::ingress;
  const bool super = batch.is_super(i);
  if ((batch.flags[i] & batch::kWasHeld) == 0) {
    run.packets_in += super ? batch.packets[i] : 1;
    run.bytes_in += super ? batch.bytes(i) : batch.length[i];
  }
  const DropReason reason = classify_inner(state, batch, i, true);
  if (reason != DropReason::none) return reason;
  const uint32_t longest = super ? batch.longest(i) : batch.length[i];
  if (longest <= run.mtu || cut_entering(state, batch, i)) return DropReason::none;
  return DropReason::inner_too_big;
}

// Opens the inner Ethernet header, if that is what the peer is configured to send.
GWLB_APART DropReason open_ethernet(PacketBatch& batch, uint32_t i, wire::EthernetFrame* frame) {
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

GWLB_HOT DropReason merge_congestion(PacketBatch& batch, uint32_t i) {
  if ((batch.tos[i] & 3) == 0) return DropReason::none;
  const bool ok = wire::carry_congestion(batch.packet(i), batch.tos[i]);
  return ok ? DropReason::none : DropReason::ecn_not_capable;
}

// Not of an endpoint: a data-path check of the target in `slot`, or a mistake.
GWLB_SELDOM DropReason open_probe(Gateway::State& state, PacketBatch& batch, uint32_t i,
                                  uint16_t slot, bool is_named,
                                  const wire::GatewayOptions& options) {
  if (options.endpoint_id != kProbeEndpointId || !is_named) return DropReason::unknown_endpoint;
  state.counters.add(GatewayCounter::probes_returned);
  state.counters.set_probe(slot, options.cookie & kProbeNonceMask);
  batch.verdict[i] = static_cast<uint8_t>(batch::Verdict::probe);
  return DropReason::none;
}

void begin_return(Gateway::State& state, PacketBatch& batch, uint32_t i, uint16_t slot,
                  uint32_t cookie) {
  Seen& seen = state.scratch.seen[i];
  seen.role = Role::from_target;
  seen.source_slot = slot;
  seen.cookie = cookie;
  batch.target[i] = slot;
  ++state.packets_from_targets;
  state.counters.add(slot, TargetCounter::packets_from);
}

// Behind a good gateway header of `header` bytes, from the target in `slot`, which the cookie names
// or not.
GWLB_HOT DropReason open_return(Gateway::State& state, PacketBatch& batch, uint32_t i,
                                uint16_t slot, bool is_named, const wire::GatewayOptions& options,
                                uint16_t protocol_type, uint32_t header) {
  if (!protocol_is(protocol_type, state.config.inner)) return DropReason::geneve_bad_protocol;
  if (state.run.endpoint == base::kNoEndpoint || state.run.id != options.endpoint_id) {
    const uint16_t endpoint = state.endpoints.by_id(options.endpoint_id);
    if (endpoint == base::kNoEndpoint) {
      return open_probe(state, batch, i, slot, is_named, options);
    }
    state.begin_run(endpoint);
  }
  batch.endpoint[i] = state.run.endpoint;
  strip(batch, i, header);
  if (state.config.inner == InnerMode::ethernet) {
    wire::EthernetFrame frame;
    const DropReason reason = open_ethernet(batch, i, &frame);
    if (reason != DropReason::none) return reason;
  }
  const DropReason reason = classify_inner(state, batch, i, false);
  if (reason != DropReason::none) return reason;
  state.counters.add(slot, TargetCounter::bytes_from, batch.length[i]);
  return merge_congestion(batch, i);
}

// A registered target that the cookie names at this address, or null.
GWLB_HOT const select::TargetSpec* named_target(const Gateway::State& state, uint32_t cookie,
                                                uint32_t address) {
  const select::TargetSpec& named = state.table->target(cookie_slot(cookie));
  const bool is_it = (named.flags & select::kRegistered) != 0 && named.address == address;
  return is_it ? &named : nullptr;
}

// From a target's address, whatever the header is.
GWLB_APART DropReason classify_from_target(Gateway::State& state, PacketBatch& batch, uint32_t i,
                                           uint16_t slot) {
  wire::GeneveHeader header;
  wire::GatewayOptions options;
  const wire::ParseError error = wire::parse_gateway_header(
      batch.packet(i), batch.length[i], state.config.option_class, &header, &options);
  // Several targets may have one address, with ports of their own, but answer from any port (R6):
  // the cookie tells which of them it is.
  const select::TargetSpec* named =
      error.ok() ? named_target(state, options.cookie, batch.address[i]) : nullptr;
  if (named != nullptr) slot = named->slot;
  begin_return(state, batch, i, slot, options.cookie);
  if (!error.ok()) return error.reason;
  return open_return(state, batch, i, slot, named != nullptr, options, header.protocol_type,
                     header.header_length());
}

GWLB_APART DropReason classify_from_peer(Gateway::State& state, PacketBatch& batch, uint32_t i) {
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
GWLB_APART DropReason open_outer(Gateway::State& state, PacketBatch& batch, uint32_t i) {
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

GWLB_HOT DropReason classify_datagram(Gateway::State& state, PacketBatch& batch, uint32_t i) {
  if (state.config.outer_headers) {
    const DropReason reason = open_outer(state, batch, i);
    if (reason != DropReason::none) return reason;
  }
  // What nearly every datagram is: the expected header, from the target that its cookie names.
  wire::GatewayOptions options;
  uint16_t protocol_type;
  if (wire::parse_expected_header(batch.packet(i), batch.length[i], state.config.option_class,
                                  &protocol_type, &options)) {
    const select::TargetSpec* named = named_target(state, options.cookie, batch.address[i]);
    if (named != nullptr) {
      begin_return(state, batch, i, named->slot, options.cookie);
      return open_return(state, batch, i, named->slot, true, options, protocol_type,
                         wire::kGatewayHeaderBytes);
    }
  }
  const uint16_t slot = state.table->slot_of(batch.address[i]);
  if (slot != base::kNoTarget) return classify_from_target(state, batch, i, slot);
  if (state.endpoints.is_peer(batch.address[i])) return classify_from_peer(state, batch, i);
  return DropReason::unknown_source;
}

template <class Key>
void hash_batch(Gateway::State& state, PacketBatch& batch) {
  Keys<Key>& keys = Family<Key>::keys(state);
  flow::hash_keys(state.config.hash_key, keys.key, keys.count, keys.hash);
  for (uint32_t k = 0; k < keys.count; ++k) batch.hash[keys.packet[k]] = keys.hash[k];
}

// The packet's headers, and what will be written in front of one that enters.
GWLB_HOT void prefetch(const PacketBatch& batch, uint32_t i, bool enters, bool more_headers) {
  const uint8_t* packet = batch.packet(i);
  base::prefetch(packet);
  if (!enters) return base::prefetch(packet + kLine);
  base::prefetch_to_write(packet - kLine);
  if (more_headers) base::prefetch_to_write(packet - 2 * kLine);
}

template <class Classify>
void classify_each(Gateway::State& state, PacketBatch& batch, bool enters, Classify classify) {
  Scratch& s = state.scratch;
  s.keys4.count = s.keys6.count = s.too_big_count = s.fitted_count = 0;
  s.fragments.count = s.fragments.binding = 0;
  const uint32_t count = batch.count;
  const bool more = !state.bare_geneve;
  for (uint32_t i = 0; i < std::min(count, kAhead); ++i) prefetch(batch, i, enters, more);
  for (uint32_t i = 0; i < count; ++i) {
    if (i + kAhead < count) prefetch(batch, i + kAhead, enters, more);
    if (!batch.pending(i)) {
      s.seen[i].role = Role::none;
      continue;
    }
    const DropReason reason = classify(state, batch, i);
    if (reason == DropReason::none) continue;
    // Answered below; of those that cannot be answered some may be waiting.
    constexpr uint8_t kUnanswered = wire::kIcmpError | wire::kLaterFragment;
    if (reason == DropReason::inner_too_big && (s.seen[i].flags & kUnanswered) == 0) {
      s.too_big[s.too_big_count++] = static_cast<uint16_t>(i);
    } else {
      drop(state, batch, i, reason);
    }
  }
  if (s.fragments.count != 0) take_trains(state, batch);
  if (s.keys4.count != 0) hash_batch<flow::FlowKey4>(state, batch);
  if (s.keys6.count != 0) hash_batch<flow::FlowKey6>(state, batch);
  for (uint32_t k = 0; k < s.too_big_count; ++k) answer_too_big(state, batch, s.too_big[k]);
}

}  // namespace

void classify_packets(Gateway::State& state, PacketBatch& batch) {
  classify_each(state, batch, true,
                [](Gateway::State& of, PacketBatch& packets, uint32_t i)
                    GWLB_HOT_LAMBDA { return classify_ingress(of, packets, i); });
}

void classify_datagrams(Gateway::State& state, PacketBatch& batch) {
  classify_each(state, batch, false,
                [](Gateway::State& of, PacketBatch& packets, uint32_t i)
                    GWLB_HOT_LAMBDA { return classify_datagram(of, packets, i); });
}

}  // namespace gwlb::gateway
