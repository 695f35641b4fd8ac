#include "engine/steer.h"

#include "flow/flow_key.h"
#include "wire/geneve.h"
#include "wire/inner.h"

namespace gwlb::engine {

uint32_t owner_of_packet(const base::HashKey& key, const uint8_t* packet, uint32_t length,
                         uint32_t workers, uint32_t self) {
  wire::InnerPacket inner;
  if (!wire::parse_inner(packet, length, &inner).ok()) return self;
  if ((inner.flags & wire::kIcmpError) == 0) return flow::owner_of(key, inner, workers);
  wire::InnerPacket quote;
  if (!wire::parse_icmp_quote(packet, inner, &quote).ok()) return self;
  return flow::owner_of(key, quote, workers);
}

uint32_t owner_of_datagram(const base::HashKey& key, const uint8_t* payload, uint32_t length,
                           uint32_t workers, uint32_t self) {
  wire::GeneveHeader header;
  if (!wire::parse_geneve(payload, length, &header).ok()) return self;
  uint32_t skip = header.header_length();
  if (header.protocol_type == wire::kEtherTypeEthernet) {
    wire::EthernetFrame frame;
    if (!wire::parse_ethernet(payload + skip, length - skip, &frame).ok()) return self;
    skip += frame.header_length;
  }
  return owner_of_packet(key, payload + skip, length - skip, workers, self);
}

}  // namespace gwlb::engine
