#include "base/bytes.h"
#include "wire/inner.h"

namespace gwlb::wire {

using base::DropReason;

namespace {

constexpr uint32_t kEthernetHeaderBytes = 14;
constexpr uint32_t kVlanTagBytes = 4;
constexpr uint8_t kVlansMax = 2;

bool is_vlan(uint16_t ether_type) { return ether_type == 0x8100 || ether_type == 0x88a8; }

}  // namespace

ParseError parse_ethernet(const uint8_t* data, size_t length, EthernetFrame* out, Layer layer,
                          uint32_t base_offset) {
  *out = EthernetFrame{};
  const bool inner = layer == Layer::inner_ethernet;
  const DropReason reason = inner ? DropReason::inner_truncated : DropReason::outer_truncated;
  if (length < kEthernetHeaderBytes) {
    return {reason, layer, base_offset, kEthernetHeaderBytes, static_cast<uint32_t>(length)};
  }
  out->destination = data;
  out->source = data + 6;
  out->ether_type = base::load_be16(data + 12);
  while (is_vlan(out->ether_type) && out->vlans < kVlansMax) {
    const uint8_t at = out->header_length;
    if (length < at + kVlanTagBytes) {
      return {reason, inner ? Layer::inner_vlan : Layer::vlan, base_offset + at, kVlanTagBytes,
              static_cast<uint32_t>(length - at)};
    }
    out->vlan[out->vlans++] = base::load_be16(data + at);
    out->ether_type = base::load_be16(data + at + 2);
    out->header_length = static_cast<uint8_t>(at + kVlanTagBytes);
  }
  return {};
}

}  // namespace gwlb::wire
