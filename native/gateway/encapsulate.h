// Headers in front of a packet, in its headroom: what every packet needs, for the loop in decide.cc.
#pragma once

#include "gateway/state.h"

namespace gwlb::gateway {

// Moves the packet's start back by `bytes` and returns the new first byte.
inline uint8_t* grow(batch::PacketBatch& batch, uint32_t i, uint32_t bytes) {
  batch.offset[i] -= bytes;
  batch.length[i] += bytes;
  return batch.packet(i);
}

inline uint16_t ip_ether_type(const uint8_t* ip) {
  return ip[0] >> 4 == 4 ? wire::kEtherTypeIpv4 : wire::kEtherTypeIpv6;
}

inline void address_to_target(batch::PacketBatch& batch, uint32_t i,
                              const select::TargetSpec& target, uint32_t cookie) {
  batch.flow[i] = cookie;
  batch.target[i] = target.slot;
  batch.address[i] = target.address;
  batch.port[i] = target.port;
  batch.source_port[i] = flow::hash_source_port(batch.hash[i]);
}

// encapsulate() with inner Ethernet or outer headers.
bool encapsulate_all(Gateway::State& state, batch::PacketBatch& batch, uint32_t i,
                     const select::TargetSpec& target, uint32_t cookie);

// Puts the gateway header (and inner Ethernet, and outer IPv4 + UDP where configured) in front of
// packet i and says where it goes. False: no headroom (dropped).
inline bool encapsulate(Gateway::State& state, batch::PacketBatch& batch, uint32_t i,
                        const select::TargetSpec& target, uint32_t cookie) {
  if (!state.bare_geneve || batch.headroom(i) < wire::kGatewayHeaderBytes) {
    return encapsulate_all(state, batch, i, target, cookie);
  }
  const uint16_t protocol = ip_ether_type(batch.packet(i));
  wire::write_gateway_header(
      grow(batch, i, wire::kGatewayHeaderBytes), protocol, state.config.option_class,
      {state.endpoints.at(batch.endpoint[i]).id, state.config.attachment_id, cookie});
  address_to_target(batch, i, target, cookie);
  return true;
}

// Packet i is a bare inner packet that leaves by its endpoint: checks the MTU, and wraps it for the
// peer of a `geneve` endpoint. False: dropped.
inline bool leave_by_endpoint(Gateway::State& state, batch::PacketBatch& batch, uint32_t i) {
  const uint16_t index = batch.endpoint[i];
  const uint64_t bytes = batch.bytes(i);
  if (batch.longest(i) > state.mtu_of(index)) {
    return dropped(state, batch, i, base::DropReason::inner_too_big);
  }
  const bool wraps = state.endpoints.at(index).kind == EndpointKind::geneve;
  if (wraps && !wrap_for_peer(state, batch, i)) return false;
  Tally& tally = state.tally_of(index);
  tally.packets_out += batch.packets[i];
  tally.bytes_out += bytes;
  return true;
}

}  // namespace gwlb::gateway
