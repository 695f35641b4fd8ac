#include "appliance/flow_part.h"

#include "wire/ipv6_chain.h"

namespace gwlb::appliance {
namespace {

using flow::FragmentTable;

FlowPart::Train train_of(FragmentTable::Found found) {
  switch (found) {
    case FragmentTable::Found::ports:
      return FlowPart::Train::known;
    case FragmentTable::Found::over:
      return FlowPart::Train::over;
    default:
      return FlowPart::Train::unknown;
  }
}

}  // namespace

bool find_flow_part(const uint8_t* packet, const wire::InnerPacket& inner, uint16_t scope,
                    FragmentTable& trains, FragmentTable::Pass pass, uint64_t now_ms,
                    FlowPart* out) {
  wire::InnerPacket& part = out->packet;
  part = inner;
  out->train = FlowPart::Train::none;
  out->quoted = (inner.flags & wire::kIcmpError) != 0;
  if (out->quoted && !wire::parse_icmp_quote(packet, inner, &part).ok()) return false;

  constexpr uint8_t kFirstWithPorts = wire::kFirstFragment | wire::kHasPorts;
  if ((part.flags & wire::kLaterFragment) != 0) {
    if (!wire::may_have_ports(part.version, part.protocol)) return true;
    const flow::FragmentKey key(part, part.fragment_id, scope);
    const auto name = trains.name(key);
    out->train = train_of(out->quoted ? trains.find_quoted(&part, name, now_ms)
                                      : trains.come(&part, name, pass, now_ms));
  } else if (!out->quoted && (part.flags & kFirstWithPorts) == kFirstWithPorts) {
    const flow::FragmentKey key(part, part.fragment_id, scope);
    trains.bind(part, trains.name(key), pass, now_ms);
  }
  return true;
}

}  // namespace gwlb::appliance
