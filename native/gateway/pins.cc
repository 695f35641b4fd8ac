#include "gateway/pins.h"

#include "gateway/life.h"
#include "gateway/rules.h"
#include "gateway/ways.h"

namespace gwlb::gateway {

using batch::PacketBatch;
using flow::FlowState;

namespace {

GWLB_HOT void count_pin(Gateway::State& state, uint16_t slot) {
  state.counters.add(slot, TargetCounter::flows_new);
  state.counters.add(slot, TargetCounter::flows_active);
}

// A new connection takes the place of an old one, at another target if it `chooses` one. False: no
// target, and the packet has been dealt with.
template <class Key>
GWLB_SELDOM bool replace_flow(Gateway::State& state, PacketBatch& batch, uint32_t i, const Key& key,
                              uint32_t index, FlowState& flow, bool chooses) {
  uint16_t slot = cookie_slot(flow.cookie);
  if (chooses) {
    slot = choose(state, batch, i);
    if (slot == base::kNoTarget) {
      if (!state.config.fail_open) count_rejected(state, state.scratch.seen[i]);
      return false;
    }
  }
  const auto incarnation =
      static_cast<uint8_t>((cookie_incarnation(flow.cookie) + 1) % kIncarnations);
  end_flow(state, key, index, flow, FlowCause::replaced);
  pin(state, batch, i, key, index, flow,
      state.cookie_for(batch.endpoint[i], batch.hash[i], slot, incarnation), FlowCause::reopened);
  return true;
}

}  // namespace

void count_rejected(Gateway::State& state, const Seen& seen) {
  state.counters.add(GatewayCounter::flows_rejected);
  if (seen.protocol == wire::kTcp) state.counters.add(GatewayCounter::flows_rejected_tcp);
}

template <class Key>
void pin(Gateway::State& state, PacketBatch& batch, uint32_t i, const Key& key, uint32_t index,
         FlowState& flow, uint32_t cookie, FlowCause cause) {
  const uint16_t slot = cookie_slot(cookie);
  const bool shakes = key.kind == static_cast<uint8_t>(flow::Stickiness::five_tuple) &&
                      (cause == FlowCause::reopened || opens_tcp(state.scratch.seen[i]));
  flow.cookie = cookie;
  flow.idle = key.protocol == wire::kTcp ? kIdleTcp : kIdleOther;
  flow.generation = state.table->target(slot).generation;
  flow.tcp = shakes ? kHandshake : 0;
  flow.flags = 0;
  put_on_probation<Key>(state, index, flow);
  if (FlowCounters* counted = Family<Key>::of(state).counters(index); counted != nullptr) {
    counted->open(state.now_ms);
  }
  batch.flags[i] |= batch::kFlowIsNew;
  state.counters.add(GatewayCounter::flows_new);
  count_pin(state, slot);
  emit(state, FlowEventType::opened, cause, key, batch.endpoint[i], cookie, base::kNoTarget);
}

template <class Key>
bool take_syn(Gateway::State& state, PacketBatch& batch, uint32_t i, const Key& key, uint32_t index,
              FlowState& flow) {
  if (syn_chooses_again(flow, state.table->target(cookie_slot(flow.cookie)))) {
    return replace_flow(state, batch, i, key, index, flow, true);
  }
  if ((flow.tcp & kHandshake) == 0) {
    note_syn(flow, state.scratch.seen[i]);
    return true;
  }
  if ((flow.tcp & kHandshakeOver) == 0) return true;  // a retransmission
  return replace_flow(state, batch, i, key, index, flow, false);
}

template <class Key>
bool take_syn_ack(Gateway::State& state, PacketBatch& batch, uint32_t i, const Key& key,
                  uint32_t index, FlowState& flow) {
  const select::TargetSpec& target = state.table->target(cookie_slot(flow.cookie));
  const bool chooses = (target.flags & select::kEligible) == 0;
  const uint8_t asked = flow.tcp & (kSynFromLow | kSynFromHigh);
  if (!replace_flow(state, batch, i, key, index, flow, chooses)) return false;
  flow.tcp |= asked;
  return true;
}

template <class Key>
bool move_flow(Gateway::State& state, PacketBatch& batch, uint32_t i, const Key& key,
               FlowState& flow) {
  const uint16_t from = cookie_slot(flow.cookie);
  const uint16_t slot = choose(state, batch, i);
  if (slot == base::kNoTarget) return false;
  constexpr uint8_t kGone = select::kRegistered | select::kGone;
  const bool gone = (state.table->target(from).flags & kGone) != select::kRegistered;
  flow.cookie =
      state.cookie_for(batch.endpoint[i], batch.hash[i], slot, cookie_incarnation(flow.cookie));
  flow.generation = state.table->target(slot).generation;
  note_move<Key>(state, flow, from);
  batch.flags[i] |= batch::kFlowIsMoved;
  state.counters.add(GatewayCounter::flows_moved);
  state.counters.add(from, TargetCounter::flows_active, ~uint64_t{0});
  count_pin(state, slot);
  emit(state, FlowEventType::moved, gone ? FlowCause::target_gone : FlowCause::target_failed, key,
       batch.endpoint[i], flow.cookie, from);
  return true;
}

#define GWLB_FOR_KEY(Key)                                                                        \
  template void pin<Key>(Gateway::State&, PacketBatch&, uint32_t, const Key&, uint32_t,          \
                         FlowState&, uint32_t, FlowCause);                                       \
  template bool take_syn<Key>(Gateway::State&, PacketBatch&, uint32_t, const Key&, uint32_t,     \
                              FlowState&);                                                       \
  template bool take_syn_ack<Key>(Gateway::State&, PacketBatch&, uint32_t, const Key&, uint32_t, \
                                  FlowState&);                                                   \
  template bool move_flow<Key>(Gateway::State&, PacketBatch&, uint32_t, const Key&, FlowState&);
GWLB_FOR_KEY(flow::FlowKey4)
GWLB_FOR_KEY(flow::FlowKey6)
#undef GWLB_FOR_KEY

}  // namespace gwlb::gateway
