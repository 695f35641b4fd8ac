// What ReturnHeaders keeps of a flow in its table: flow::FlowState, whose cookie and generation are
// not used.
#pragma once

#include "appliance/return_headers.h"

namespace gwlb::appliance {

// This part of a table's capacity is for flows on probation.
inline constexpr uint32_t kReturnProbationShare = 4;

// FlowState.tcp
enum ReturnTcp : uint8_t {
  kReturnFinLow = 1,  // from the low end
  kReturnFinHigh = 2,
  kReturnSynLow = 4,
  kReturnSynHigh = 8,
  kReturnHandshake = 16,  // began with a SYN, and is not established
  kReturnSynAcked = 32,   // with it: the SYN-ACK was seen, Probation::note is its number
};

// FlowState.flags. FlowState.spare is the ticket of a flow on probation.
enum ReturnFlags : uint8_t {
  kReturnProbation = 1,
  // On probation: who spoke first, whether the other end did then, and how often the first one has
  // spoken without an answer.
  kReturnAskedLow = 2,
  kReturnAskedHigh = 4,
  kReturnAnswered = 8,
  kReturnAskedAgain = 16,  // counts, with the bit above it
  // There is a header of this direction.
  kReturnHeaderUp = 64,  // low to high
  kReturnHeaderDown = 128,
  kReturnHeaders = kReturnHeaderUp | kReturnHeaderDown,
};

// FlowState.idle
enum ReturnIdle : uint8_t {
  kReturnTcp,
  kReturnOther,
  kReturnSyn,
  kReturnSynAck,
  kReturnClosing,
  kReturnReset
};

inline bool has_header(const flow::FlowState& state, bool low_to_high) {
  return (state.flags & (low_to_high ? kReturnHeaderUp : kReturnHeaderDown)) != 0;
}
inline void set_header(flow::FlowState* state, bool low_to_high) {
  state->flags |= low_to_high ? kReturnHeaderUp : kReturnHeaderDown;
}
inline bool has_headers(const flow::FlowState& state) {
  return (state.flags & kReturnHeaders) != 0;
}
inline void clear_headers(flow::FlowState* state) {
  state->flags &= static_cast<uint8_t>(~kReturnHeaders);
}
inline bool has_ended(const flow::FlowState& state) {
  return state.idle == kReturnClosing || state.idle == kReturnReset;
}
inline bool is_on_probation(const flow::FlowState& state) {
  return (state.flags & kReturnProbation) != 0;
}

template <class Key>
void set_return_timeouts(const ReturnLimits& limits, flow::FlowTable<Key>* table);

}  // namespace gwlb::appliance
