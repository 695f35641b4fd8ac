// The life of a flow in ReturnHeaders: what takes it off probation, what ends it.
#include "appliance/return_flows.h"

#include <algorithm>

#include "base/bytes.h"

namespace gwlb::appliance {

using flow::FlowState;
using flow::kNoFlow;

namespace {

// Places of the probation queue that are looked at to make room for one flow in a full table.
constexpr uint32_t kEvictionTries = 64;
// The walk over a table takes so long, and a piece of it is so many places at most.
constexpr uint64_t kSweepMs = 2000;
constexpr uint64_t kSweepPlacesMax = 2048;

uint8_t idle_of(const FlowState& state) {
  if ((state.tcp & kReturnFinLow) != 0 && (state.tcp & kReturnFinHigh) != 0) return kReturnClosing;
  if ((state.tcp & kReturnHandshake) == 0) return kReturnTcp;
  return (state.tcp & kReturnSynAcked) != 0 ? kReturnSynAck : kReturnSyn;
}

void confirm(FlowState* state) {
  state->flags &= kReturnHeaders;
  state->tcp &= kReturnFinLow | kReturnFinHigh;
}

// What shows that somebody talks, where no handshake does. An end that speaks, is answered and
// speaks again has heard the other; spoofed packets have one answer each at most. Where the other
// end is silent, or its packets go another way, it takes several packets.
bool talks(FlowState* state, bool low_to_high) {
  const uint8_t own = low_to_high ? kReturnAskedLow : kReturnAskedHigh;
  const uint8_t asked = state->flags & (kReturnAskedLow | kReturnAskedHigh);
  if (asked == 0) {
    state->flags |= own;
    return false;
  }
  if (asked != own) {
    state->flags |= kReturnAnswered;
    return false;
  }
  const bool shaking = (state->tcp & kReturnHandshake) != 0;
  if ((state->flags & kReturnAnswered) != 0) return !shaking;
  if (shaking && (state->tcp & kReturnSynAcked) != 0) return false;
  if ((state->flags / kReturnAskedAgain & 3) == base::kOneSidedPackets - 2) return true;
  state->flags = static_cast<uint8_t>(state->flags + kReturnAskedAgain);
  return false;
}

}  // namespace

template <class Key>
void set_return_timeouts(const ReturnLimits& limits, flow::FlowTable<Key>* table) {
  const auto set = [&](ReturnIdle idle, uint32_t ms) { table->set_idle(idle, ms); };
  set(kReturnTcp, limits.tcp_idle_ms);
  set(kReturnOther, limits.other_idle_ms);
  set(kReturnSyn, std::min(limits.tcp_idle_ms, base::kSynSeenMs));
  set(kReturnSynAck, std::min(limits.tcp_idle_ms, base::kSynAckSeenMs));
  set(kReturnClosing, std::min(limits.tcp_idle_ms, base::kFinBothWaysMs));
  set(kReturnReset, std::min(limits.tcp_idle_ms, base::kResetMs));
}

template <class Key>
void ReturnHeaders::evict_oldest(Family<Key>& family) {
  const flow::Probation::Place place = family.probation->pop();
  if (!family.table->occupied(place.index)) return;
  const FlowState& state = family.table->at(place.index).state;
  if (!is_on_probation(state) || state.spare != place.ticket) return;
  family.table->erase(place.index);
  ++evicted_;
  evicts_ = true;
}

template <class Key>
void ReturnHeaders::put_on_probation(Family<Key>& family, uint32_t index) {
  if (family.probation->full()) evict_oldest(family);
  FlowState& state = family.table->at(index).state;
  state.flags = (state.flags & kReturnHeaders) | kReturnProbation;
  state.spare = family.probation->push(index);
}

// kNoFlow where all flows that there is room for are established.
template <class Key>
uint32_t ReturnHeaders::find_or_make(Family<Key>& family, const Keyed& keyed) {
  const Key& key = family.keys[keyed.at];
  const uint64_t hash = family.hashes[keyed.at];
  // An earlier packet of the batch may have made it.
  uint32_t index = family.table->find(key, hash);
  if (index != kNoFlow) return index;
  index = family.table->insert(key, hash);
  for (uint32_t n = 0; index == kNoFlow && n < kEvictionTries; ++n) {
    if (family.probation->empty()) break;
    evict_oldest(family);
    index = family.table->insert(key, hash);
  }
  if (index == kNoFlow) return kNoFlow;
  FlowState& state = family.table->at(index).state;
  state.idle = keyed.tcp ? kReturnTcp : kReturnOther;
  put_on_probation(family, index);
  return index;
}

// A connection that began with a SYN is established when the end that sent it acknowledges the
// other's SYN-ACK, whose number only those see that receive it. A RST alone must not end a flow
// that lives (it may be forged): traffic after it takes it back.
template <class Key>
void ReturnHeaders::track_tcp(Family<Key>& family, uint32_t index, const Keyed& keyed,
                              const uint8_t* tcp) {
  FlowState& state = family.table->at(index).state;
  const uint8_t flags = keyed.tcp_flags;
  if ((flags & wire::kRst) != 0) {
    state.idle = kReturnReset;
    return;
  }
  const uint8_t own = keyed.low_to_high ? kReturnSynLow : kReturnSynHigh;
  const uint8_t other = (kReturnSynLow | kReturnSynHigh) ^ own;
  if (keyed.opens()) {
    // The first packet of all, or of a new connection after one that ended.
    if (!has_headers(state)) {
      state.tcp = kReturnHandshake;
      if (!is_on_probation(state)) put_on_probation(family, index);
    }
    state.tcp |= own;
  }
  if ((flags & wire::kFin) != 0) state.tcp |= keyed.low_to_high ? kReturnFinLow : kReturnFinHigh;
  if ((state.tcp & kReturnHandshake) != 0 && is_on_probation(state)) {
    uint32_t& syn_ack = family.probation->note(state.spare);
    const bool answers = (flags & (wire::kSyn | wire::kAck)) == (wire::kSyn | wire::kAck) &&
                         (state.tcp & other) != 0;
    const bool acknowledges = (flags & (wire::kSyn | wire::kAck)) == wire::kAck &&
                              (state.tcp & kReturnSynAcked) != 0 && (state.tcp & own) != 0;
    if (answers) {
      state.tcp |= kReturnSynAcked;
      syn_ack = base::load_be32(tcp + 4);
    } else if (acknowledges && base::load_be32(tcp + 8) - syn_ack <= base::kSynAckWindow) {
      confirm(&state);
    }
  }
  state.idle = idle_of(state);
}

// A packet of the flow was seen for the first time; `tcp` is its TCP header where it has one.
template <class Key>
void ReturnHeaders::observe(Family<Key>& family, uint32_t index, const Keyed& keyed,
                            const uint8_t* tcp) {
  FlowState& state = family.table->at(index).state;
  state.last_seen_ms = static_cast<uint32_t>(now_ms_);
  if (keyed.later) return;  // no packet of its own
  if (keyed.tcp) track_tcp(family, index, keyed, tcp);
  if (!is_on_probation(state)) return;
  if (keyed.tcp && (keyed.tcp_flags & (wire::kSyn | wire::kRst)) != 0) return;
  if (!talks(&state, keyed.low_to_high)) return;
  confirm(&state);
  if (keyed.tcp) state.idle = idle_of(state);
}

template <class Key>
void ReturnHeaders::sweep_in(Family<Key>& family, uint64_t elapsed_ms) {
  if (family.table->size() == 0) {
    family.sweep_due = 0;
    return;
  }
  const uint64_t end = family.table->index_end();
  // What is due beyond a whole walk is not.
  family.sweep_due = std::min(family.sweep_due + elapsed_ms * (end / kSweepMs + 1), end);
  const auto places = static_cast<uint32_t>(std::min(family.sweep_due, kSweepPlacesMax));
  family.sweep_due -= places;
  family.table->sweep(static_cast<uint32_t>(now_ms_), places, [](uint32_t, auto&) {});
  family.tell_size();
}

#define GWLB_FOR_KEY(Key)                                                                          \
  template void set_return_timeouts<Key>(const ReturnLimits&, flow::FlowTable<Key>*);              \
  template void ReturnHeaders::observe<Key>(Family<Key>&, uint32_t, const Keyed&, const uint8_t*); \
  template uint32_t ReturnHeaders::find_or_make<Key>(Family<Key>&, const Keyed&);                  \
  template void ReturnHeaders::sweep_in<Key>(Family<Key>&, uint64_t);
GWLB_FOR_KEY(flow::FlowKey4)
GWLB_FOR_KEY(flow::FlowKey6)
#undef GWLB_FOR_KEY

}  // namespace gwlb::appliance
