// Headers in front of a packet, in its headroom: what every packet needs, for the loop in
// decide.cc.
#pragma once

#include "gateway/drops.h"

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
  batch.cookie[i] = cookie;
  batch.target[i] = target.slot;
  batch.address[i] = target.address;
  batch.port[i] = target.port;
  batch.source_port[i] = flow::hash_source_port(batch.hash[i]);
}

// encapsulate() with inner Ethernet or outer headers.
bool encapsulate_all(Gateway::State& state, batch::PacketBatch& batch, uint32_t i,
                     const select::TargetSpec& target, uint32_t cookie);

// Packet i, of a family's EtherType, goes to this target, with nothing but GENEVE in front of it:
// its headroom has been looked at, and the run is that of its endpoint.
GWLB_HOT void encapsulate_bare(Gateway::State& state, batch::PacketBatch& batch, uint32_t i,
                               const select::TargetSpec& target, uint32_t cookie,
                               uint16_t protocol) {
  const uint32_t offset = batch.offset[i] - wire::kGatewayHeaderBytes;
  batch.inner[i] = batch.offset[i];
  batch.offset[i] = offset;
  batch.length[i] += wire::kGatewayHeaderBytes;
  state.run.header.write(batch.block() + offset, protocol, cookie);
  address_to_target(batch, i, target, cookie);
}

// Puts the gateway header (and inner Ethernet, and outer IPv4 + UDP where configured) in front of
// packet i and says where it goes. False: no headroom (dropped).
inline bool encapsulate(Gateway::State& state, batch::PacketBatch& batch, uint32_t i,
                        const select::TargetSpec& target, uint32_t cookie) {
  if (!state.bare_geneve || batch.headroom(i) < wire::kGatewayHeaderBytes) {
    return encapsulate_all(state, batch, i, target, cookie);
  }
  state.run_of(batch.endpoint[i]);
  encapsulate_bare(state, batch, i, target, cookie, ip_ether_type(batch.packet(i)));
  return true;
}

// Packet i is a bare inner packet that leaves by its endpoint: checks the MTU, and wraps it for the
// peer of a `geneve` endpoint. False: dropped.
GWLB_HOT bool leave_by_endpoint(Gateway::State& state, batch::PacketBatch& batch, uint32_t i) {
  state.run_of(batch.endpoint[i]);
  const EndpointRun& run = state.run;
  // One that was cut as it entered leaves so.
  const bool too_long = batch.longest(i) > run.mtu && !batch.is_fragmented(i);
  if (too_long && !cut_leaving(state, batch, i)) {
    return dropped(state, batch, i, base::DropReason::inner_too_big);
  }
  batch.inner[i] = batch.offset[i];
  return !run.wraps || wrap_for_peer(state, batch, i);
}

}  // namespace gwlb::gateway
