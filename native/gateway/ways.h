// Where a packet goes that goes on: to its target, out by its endpoint, past all targets.
#pragma once

#include "gateway/encapsulate.h"

namespace gwlb::gateway {

// Forwards packet i uninspected; its flow has no entry.
GWLB_SELDOM void bypass(Gateway::State& state, batch::PacketBatch& batch, uint32_t i);
// There is no target for packet i.
GWLB_SELDOM void go_without_target(Gateway::State& state, batch::PacketBatch& batch, uint32_t i);

// The row's target for packet i, or kNoTarget with the packet already dealt with.
GWLB_HOT uint16_t choose(Gateway::State& state, batch::PacketBatch& batch, uint32_t i) {
  const uint16_t zone = state.endpoints.at(batch.endpoint[i]).zone;
  const uint16_t slot = state.table->choose(zone, batch.hash[i]);
  if (slot == base::kNoTarget) go_without_target(state, batch, i);
  return slot;
}

// Packet i goes to the target of this cookie. `counted` is null where the flow is not counted.
void send_to_target(Gateway::State& state, batch::PacketBatch& batch, uint32_t i, uint32_t cookie,
                    FlowCounters* counted);
// Packet i, which came back, goes out by its endpoint; likewise.
void leave(Gateway::State& state, batch::PacketBatch& batch, uint32_t i, uint32_t cookie,
           FlowCounters* counted);

}  // namespace gwlb::gateway
