#include "wire/parse_error.h"

#include "base/assert.h"

namespace gwlb::wire {

const char* layer_name(Layer layer) {
  static constexpr const char* kNames[] = {
      "frame",
      "ethernet",
      "vlan",
      "outer-ipv4",
      "outer-ipv6",
      "outer-udp",
      "geneve",
      "geneve-option",
      "inner-ethernet",
      "inner-vlan",
      "inner-ipv4",
      "inner-ipv6",
      "inner-ipv6-extension",
      "inner-tcp",
      "inner-udp",
      "inner-sctp",
      "inner-icmp",
      "inner-icmp-quote",
  };
  static_assert(sizeof kNames / sizeof kNames[0] == static_cast<size_t>(Layer::count));
  GWLB_ASSERT(layer < Layer::count);
  return kNames[static_cast<size_t>(layer)];
}

}  // namespace gwlb::wire
