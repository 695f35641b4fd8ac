#include "gateway/ways.h"

#include "gateway/drops.h"

namespace gwlb::gateway {

using base::DropReason;
using batch::PacketBatch;
using batch::Verdict;

void bypass(Gateway::State& state, PacketBatch& batch, uint32_t i) {
  state.note_untracked();
  if (!leave_by_endpoint(state, batch, i)) return;
  batch.verdict[i] = static_cast<uint8_t>(Verdict::bypass);
}

void go_without_target(Gateway::State& state, PacketBatch& batch, uint32_t i) {
  if (state.config.fail_open) return bypass(state, batch, i);
  drop(state, batch, i, DropReason::no_targets);
}

void send_to_target(Gateway::State& state, PacketBatch& batch, uint32_t i, uint32_t cookie,
                    FlowCounters* counted) {
  const select::TargetSpec& target = state.table->target(cookie_slot(cookie));
  const uint64_t bytes = batch.bytes(i);
  const uint32_t packets = batch.packets[i];
  if (!encapsulate(state, batch, i, target, cookie)) return;
  if (counted != nullptr) {
    counted->packets_to = counted->packets_to + packets;
    counted->bytes_to += bytes;
  }
  batch.verdict[i] = static_cast<uint8_t>(Verdict::forward);
}

void leave(Gateway::State& state, PacketBatch& batch, uint32_t i, uint32_t cookie,
           FlowCounters* counted) {
  batch.cookie[i] = cookie;
  const uint32_t bytes = batch.length[i];
  if (!leave_by_endpoint(state, batch, i)) return;
  if (counted != nullptr) {
    counted->packets_from = counted->packets_from + 1;
    counted->bytes_from += bytes;
  }
  batch.verdict[i] = static_cast<uint8_t>(Verdict::forward);
}

}  // namespace gwlb::gateway
