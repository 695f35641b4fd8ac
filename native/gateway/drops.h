// The end of packets that do not go on.
#pragma once

#include "gateway/state.h"

namespace gwlb::gateway {

inline void drop(Gateway::State& state, batch::PacketBatch& batch, uint32_t i,
                 base::DropReason reason) {
  batch.drop(i, reason);
  state.counters.drop(reason, batch.packets[i]);
}

// For functions that return whether the packet goes on.
inline bool dropped(Gateway::State& state, batch::PacketBatch& batch, uint32_t i,
                    base::DropReason reason) {
  drop(state, batch, i, reason);
  return false;
}

}  // namespace gwlb::gateway
