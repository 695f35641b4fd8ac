// Headers in front of a packet, in its headroom.
#include "gateway/encapsulate.h"

namespace gwlb::gateway {

using base::DropReason;
using batch::PacketBatch;

namespace {

void write_ethernet(uint8_t* to, const uint8_t* destination, const uint8_t* source,
                    uint16_t ether_type) {
  std::memcpy(to, destination, 6);
  std::memcpy(to + 6, source, 6);
  base::store_be16(to + 12, ether_type);
}

bool is_zero(const uint8_t (&mac)[6]) {
  return (mac[0] | mac[1] | mac[2] | mac[3] | mac[4] | mac[5]) == 0;
}

void write_outer(Gateway::State& state, PacketBatch& batch, uint32_t i) {
  const GatewayConfig& config = state.config;
  const uint32_t payload = batch.length[i];
  wire::OuterHeader outer;
  outer.source = config.address;
  outer.destination = batch.address[i];
  outer.source_port = static_cast<uint16_t>(config.source_port_base +
                                            batch.source_port[i] % config.source_port_count);
  outer.destination_port = batch.port[i];
  outer.checksum = true;
  wire::write_outer_header(grow(batch, i, wire::kOuterHeaderBytes), outer, payload);
}

constexpr uint32_t kEthernetBytes = 14;

}  // namespace

bool encapsulate_all(Gateway::State& state, PacketBatch& batch, uint32_t i,
                     const select::TargetSpec& target, uint32_t cookie) {
  const GatewayConfig& config = state.config;
  const bool ethernet = config.inner == InnerMode::ethernet;
  const uint32_t needed = wire::kGatewayHeaderBytes + (ethernet ? kEthernetBytes : 0) +
                          (config.outer_headers ? wire::kOuterHeaderBytes : 0);
  if (batch.headroom(i) < needed) return dropped(state, batch, i, DropReason::no_headroom);

  batch.inner[i] = batch.offset[i];
  uint16_t protocol = ip_ether_type(batch.packet(i));
  if (ethernet) {
    write_ethernet(grow(batch, i, kEthernetBytes), config.destination_mac, config.source_mac,
                   protocol);
    protocol = wire::kEtherTypeEthernet;
  }
  const wire::GatewayOptions options{state.endpoints.at(batch.endpoint[i]).id, config.attachment_id,
                                     cookie};
  wire::write_gateway_header(grow(batch, i, wire::kGatewayHeaderBytes), protocol,
                             config.option_class, options);
  address_to_target(batch, i, target, cookie);
  if (config.outer_headers) write_outer(state, batch, i);
  return true;
}

bool wrap_for_peer(Gateway::State& state, PacketBatch& batch, uint32_t i) {
  const uint16_t index = batch.endpoint[i];
  const EndpointSpec& endpoint = state.endpoints.at(index);
  if (endpoint.kind != EndpointKind::geneve) return true;
  const bool ethernet = endpoint.inner == InnerMode::ethernet;
  const uint32_t needed = wire::kGeneveBaseBytes + (ethernet ? kEthernetBytes : 0) +
                          (state.config.outer_headers ? wire::kOuterHeaderBytes : 0);
  if (batch.headroom(i) < needed) return dropped(state, batch, i, DropReason::no_headroom);
  wire::GeneveHeader header;
  header.vni = endpoint.vni;
  header.protocol_type = ip_ether_type(batch.packet(i));
  if (ethernet) {
    const Endpoints::Macs& learnt = state.endpoints.macs(index);
    if (is_zero(endpoint.destination_mac) && is_zero(learnt.destination)) {
      return dropped(state, batch, i, DropReason::endpoint_has_no_device);
    }
    write_ethernet(
        grow(batch, i, kEthernetBytes),
        is_zero(endpoint.destination_mac) ? learnt.destination : endpoint.destination_mac,
        is_zero(endpoint.source_mac) ? learnt.source : endpoint.source_mac, header.protocol_type);
    header.protocol_type = wire::kEtherTypeEthernet;
  }
  wire::write_geneve(grow(batch, i, wire::kGeneveBaseBytes), header);
  batch.address[i] = endpoint.peer;
  batch.port[i] = endpoint.peer_port;
  batch.source_port[i] = flow::hash_source_port(batch.hash[i]);
  if (state.config.outer_headers) write_outer(state, batch, i);
  return true;
}

}  // namespace gwlb::gateway
