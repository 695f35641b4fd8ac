// What a parser says when it refuses: which layer, where it began, how much it needed and how much
// there was, so that a drop can be explained without a packet dump.
#pragma once

#include <cstdint>

#include "base/drop_reason.h"

namespace gwlb::wire {

enum class Layer : uint8_t {
  frame,
  ethernet,
  vlan,
  outer_ipv4,
  outer_ipv6,
  outer_udp,
  geneve,
  geneve_option,
  inner_ethernet,
  inner_vlan,
  inner_ipv4,
  inner_ipv6,
  inner_ipv6_extension,
  inner_tcp,
  inner_udp,
  inner_sctp,
  inner_icmp,
  inner_icmp_quote,
  count
};
const char* layer_name(Layer layer);  // "outer-ipv4", "geneve-option", ...

struct ParseError {
  base::DropReason reason = base::DropReason::none;
  Layer layer = Layer::frame;
  uint32_t offset = 0;  // of the layer's first byte, from the start of what was parsed
  uint32_t needed = 0;  // bytes (or the value) the layer needed
  uint32_t had = 0;     // bytes (or the value) that were there

  bool ok() const { return reason == base::DropReason::none; }
};

}  // namespace gwlb::wire
