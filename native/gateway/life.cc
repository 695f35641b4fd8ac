#include "gateway/life.h"

#include "gateway/keys.h"
#include "gateway/rules.h"

namespace gwlb::gateway {

using batch::PacketBatch;
using flow::FlowState;
using flow::kNoFlow;

namespace {

// Evictions come one after the other, each of a flow that nobody has seen for long: the memory of
// the one after so many is asked for.
constexpr uint32_t kEvictAhead = 8;

}  // namespace

template <class Key>
bool evict_oldest(Gateway::State& state) {
  Flows<Key>& flows = Family<Key>::of(state);
  const flow::Probation::Place place = flows.probation->pop();
  if (!flows.probation->empty()) flows.table->prefetch(flows.probation->ahead(kEvictAhead));
  if (!flows.table->occupied(place.index)) return false;
  const auto& record = flows.table->at(place.index);
  if ((record.state.flags & kProbation) == 0 || record.state.spare != place.ticket) return false;
  end_flow(state, record.key, place.index, record.state, FlowCause::evicted);
  flows.table->erase(place.index);
  state.counters.add(GatewayCounter::flows_evicted);
  state.scratch.evicted = true;
  return true;
}

namespace {

template <class Key>
void confirm(Gateway::State& state, FlowState& flow) {
  flow.spare = moved_word<Key>(state, flow);
  flow.flags &= kMoved | kRefused;
}

uint8_t idle_of_connection(uint8_t tcp) {
  if ((tcp & kHandshake) == 0) return kIdleTcp;
  return (tcp & kSynAcked) != 0 ? kIdleSynAcked : kIdleSyn;
}

// A connection that began with a SYN is established when the end that sent it acknowledges the
// other's SYN-ACK, whose number only those see that receive it.
template <class Key>
void shake_hands(Gateway::State& state, const PacketBatch& batch, uint32_t i, FlowState& flow,
                 const Seen& seen) {
  constexpr uint8_t kMask = wire::kSyn | wire::kAck | wire::kFin;
  const uint8_t own = seen.low_to_high() ? kSynFromLow : kSynFromHigh;
  const uint8_t other = (kSynFromLow | kSynFromHigh) ^ own;
  const uint8_t flags = seen.tcp_flags & kMask;
  if (flags == wire::kSyn) flow.tcp |= own;
  const bool answers = flags == (wire::kSyn | wire::kAck) && (flow.tcp & other) != 0;
  const bool acknowledges = (flags & (wire::kSyn | wire::kAck)) == wire::kAck &&
                            (flow.tcp & kSynAcked) != 0 && (flow.tcp & own) != 0;
  if (!answers && !acknowledges) return;
  const uint8_t* tcp = batch.packet(i) + inner_of(batch, i).transport_offset;
  uint32_t& syn_ack = Family<Key>::of(state).probation->note(flow.spare);
  if (answers) {
    flow.tcp |= kSynAcked;
    flow.flags &= static_cast<uint8_t>(~kMoved);  // there is one note
    syn_ack = base::load_be32(tcp + 4);
  } else if (base::load_be32(tcp + 8) - syn_ack <= base::kSynAckWindow) {
    flow.tcp &= static_cast<uint8_t>(~(kHandshake | kSynAcked | kSynFromLow | kSynFromHigh));
    confirm<Key>(state, flow);
  }
}

// TCP's life cycle, for keys that are one connection. A RST alone must not unpin a living flow
// (it may be forged): traffic after it takes it back.
template <class Key>
void track_tcp(Gateway::State& state, const PacketBatch& batch, uint32_t i, FlowState& flow,
               const Seen& seen) {
  if ((seen.tcp_flags & wire::kRst) != 0) {
    flow.idle = kIdleReset;
    return;
  }
  if ((seen.tcp_flags & wire::kFin) != 0) {
    flow.tcp |= seen.low_to_high() ? kFinFromLow : kFinFromHigh;
  }
  if ((seen.tcp_flags & wire::kSyn) == 0) flow.tcp |= kHandshakeOver;
  if ((flow.tcp & kHandshake) != 0) shake_hands<Key>(state, batch, i, flow, seen);
  if ((flow.tcp & kFinFromLow) != 0 && (flow.tcp & kFinFromHigh) != 0) {
    flow.idle = kIdleClosing;
  } else if (flow.idle != kIdleReset || seen.role == Role::ingress) {
    flow.idle = idle_of_connection(flow.tcp);
  }
}

// What shows that somebody talks, where no handshake does. An end that speaks, is answered and
// speaks again has heard the other; spoofed packets have one answer each at most. Where the other
// end is silent it takes several packets. Of a handshake only the silence of the other end counts.
GWLB_HOT bool talks(FlowState& flow, const Seen& seen, bool one_sided) {
  const uint8_t own = seen.low_to_high() ? kAskedByLow : kAskedByHigh;
  const uint8_t asked = flow.flags & (kAskedByLow | kAskedByHigh);
  if (asked == 0) {
    flow.flags |= own;
    return false;
  }
  if (asked != own) {
    flow.flags |= kAnswered;
    return false;
  }
  const bool shaking = (flow.tcp & kHandshake) != 0;
  if ((flow.flags & kAnswered) != 0) return !shaking;
  if (!one_sided || (shaking && (flow.tcp & kSynAcked) != 0)) return false;
  if (flow.flags / kAskedAgain == base::kOneSidedPackets - 2) return true;
  flow.flags += kAskedAgain;
  return false;
}

}  // namespace

template <class Key>
uint32_t make_entry(Gateway::State& state, const Key& key, uint64_t hash) {
  Flows<Key>& flows = Family<Key>::of(state);
  state.scratch.opened.add(hash);
  uint32_t index = flows.table->insert(key, hash);
  for (uint32_t n = 0; index == kNoFlow && n < kEvictionTries; ++n) {
    if (flows.probation->empty()) break;
    if (evict_oldest<Key>(state)) index = flows.table->insert(key, hash);
  }
  return index;
}

template <class Key>
void refresh(Gateway::State& state, const PacketBatch& batch, uint32_t i, const Key& key,
             FlowState& flow, const Seen& seen, bool witness) {
  flow.last_seen_ms = static_cast<uint32_t>(state.now_ms);
  const bool tcp = has_tcp_header(seen);
  if (tcp && key.kind == static_cast<uint8_t>(flow::Stickiness::five_tuple)) {
    track_tcp<Key>(state, batch, i, flow, seen);
  } else if (tcp) {
    flow.idle = kIdleTcp;
  }
  if ((flow.flags & kProbation) == 0 || !witness) return;
  // A later fragment is no packet of its own, and a SYN, or an answer to one, no talk.
  if ((seen.flags & wire::kLaterFragment) != 0) return;
  if (tcp && (seen.tcp_flags & (wire::kSyn | wire::kRst)) != 0) return;
  const bool one_sided = !tcp || state.config.promotion == Promotion::ingress;
  if (!talks(flow, seen, one_sided)) return;
  flow.tcp &= static_cast<uint8_t>(~(kHandshake | kSynAcked | kSynFromLow | kSynFromHigh));
  if (tcp && flow.idle >= kIdleSyn) flow.idle = kIdleTcp;
  confirm<Key>(state, flow);
}

template <class Key>
void note_move(Gateway::State& state, FlowState& flow, uint16_t from) {
  const uint32_t moved = moved_from(from, state.now_ms);
  if ((flow.flags & kProbation) == 0) {
    flow.spare = moved;
  } else if ((flow.tcp & kSynAcked) == 0) {
    Family<Key>::of(state).probation->note(flow.spare) = moved;
  } else {
    return;
  }
  flow.flags |= kMoved;
}

#define GWLB_FOR_KEY(Key)                                                               \
  template bool evict_oldest<Key>(Gateway::State&);                                     \
  template uint32_t make_entry<Key>(Gateway::State&, const Key&, uint64_t);             \
  template void refresh<Key>(Gateway::State&, const PacketBatch&, uint32_t, const Key&, \
                             FlowState&, const Seen&, bool);                            \
  template void note_move<Key>(Gateway::State&, FlowState&, uint16_t);
GWLB_FOR_KEY(flow::FlowKey4)
GWLB_FOR_KEY(flow::FlowKey6)
#undef GWLB_FOR_KEY

}  // namespace gwlb::gateway
