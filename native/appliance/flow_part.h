// What of a packet names its flow: itself, the packet that it quotes, or the first fragment of its
// train.
#pragma once

#include <cstdint>

#include "flow/fragments.h"
#include "wire/inner.h"

namespace gwlb::appliance {

inline constexpr uint32_t kTrainLifetimeMs = 30'000;

struct FlowPart {
  enum class Train : uint8_t {
    none,     // no later fragment of a protocol with ports
    known,    // one that has its ports
    over,     // one of a train that is complete, with the ports that had: a copy, or another's
    unknown,  // one without ports
  };

  wire::InnerPacket packet;  // has the flow's addresses, ports and protocol
  Train train = Train::none;
  bool quoted = false;  // by an ICMP error
  uint8_t tcp_flags() const { return quoted ? 0 : packet.tcp_flags; }
};

// False for an ICMP error whose quote says nothing. `scope` tells apart fragments of networks with
// the same addresses. What comes is noted as part of its train, but for what is quoted.
bool find_flow_part(const uint8_t* packet, const wire::InnerPacket& inner, uint16_t scope,
                    flow::FragmentTable& trains, flow::FragmentTable::Pass pass, uint64_t now_ms,
                    FlowPart* out);

}  // namespace gwlb::appliance
