// A flow's life between its pin and its end: probation, the TCP states, what keeps it.
#pragma once

#include "gateway/state.h"

namespace gwlb::gateway {

// An entry for a new flow, if need be that of the oldest flow in probation; kNoFlow where all of
// them are confirmed.
template <class Key>
uint32_t make_entry(Gateway::State& state, const Key& key, uint64_t hash);

// The flow whose turn it is in the probation queue gives way. False: it had left the queue already.
template <class Key>
bool evict_oldest(Gateway::State& state);

// The flow has just been pinned: newer flows may push it out until it is confirmed.
template <class Key>
GWLB_HOT void put_on_probation(Gateway::State& state, uint32_t index, flow::FlowState& flow) {
  flow::Probation& probation = *Family<Key>::of(state).probation;
  // It may have a place in the queue from its life before.
  flow.flags &= static_cast<uint8_t>(~kProbation);
  if (probation.full()) evict_oldest<Key>(state);
  flow.flags |= kProbation;
  flow.spare = probation.push(index);
}

// What packet i, of this flow and no ICMP error, does to it: it lives on, and may be confirmed.
// `witness`: whether the packet speaks for the flow outside of a handshake (Promotion).
template <class Key>
void refresh(Gateway::State& state, const batch::PacketBatch& batch, uint32_t i, const Key& key,
             flow::FlowState& flow, const Seen& seen, bool witness);

// The flow has moved from this slot.
template <class Key>
void note_move(Gateway::State& state, flow::FlowState& flow, uint16_t from);

// FlowState.spare of a flow that moved, wherever it is kept; of others 0.
template <class Key>
uint32_t moved_word(const Gateway::State& state, const flow::FlowState& flow) {
  if ((flow.flags & kMoved) == 0) return 0;
  return (flow.flags & kProbation) == 0 ? flow.spare
                                        : Family<Key>::of(state).probation->note(flow.spare);
}

// A SYN on an entry that says nothing yet: its connection may be alive, and it is not known whose
// packet it is.
inline void note_syn(flow::FlowState& flow, const Seen& seen) {
  flow.tcp |= seen.low_to_high() ? kSynFromLow : kSynFromHigh;
}

// A SYN-ACK that answers such a SYN: there is a new connection.
inline bool answers_syn(const flow::FlowState& flow, uint8_t tcp_flags, bool low_to_high) {
  constexpr uint8_t kMask = wire::kSyn | wire::kAck | wire::kRst | wire::kFin;
  const uint8_t asked = low_to_high ? kSynFromHigh : kSynFromLow;
  return (tcp_flags & kMask) == (wire::kSyn | wire::kAck) &&
         (flow.tcp & (kHandshake | asked)) == asked;
}

}  // namespace gwlb::gateway
