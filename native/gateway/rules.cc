// What becomes of a packet that is not as usual, or whose flow is not (docs/rules.md).
#include "gateway/rules.h"

#include "gateway/drops.h"
#include "gateway/life.h"
#include "gateway/pins.h"
#include "gateway/ways.h"

namespace gwlb::gateway {

using base::DropReason;
using batch::PacketBatch;
using flow::FlowState;
using flow::kNoFlow;

namespace {

// Whether a packet speaks for its flow's life when it enters, or when its target returns it.
bool speaks_on_entering(const Gateway::State& state) {
  return state.config.promotion == Promotion::ingress;
}
bool speaks_on_return(const Gateway::State& state) { return !speaks_on_entering(state); }

// First packet of a flow without an entry.
template <class Key>
GWLB_APART void open_flow(Gateway::State& state, PacketBatch& batch, uint32_t i) {
  const Seen& seen = state.scratch.seen[i];
  const Key& key = key_of<Key>(state, seen);
  if (state.fails_open(batch.endpoint[i], batch.hash[i])) return bypass(state, batch, i);
  const bool picked_up = is_of_connection(seen, key) && !opens_tcp(seen);
  if (picked_up && ((seen.tcp_flags & wire::kRst) != 0 || !state.accepts_unknown())) {
    if (state.config.reset_on_idle && takes_reset(seen)) {
      return answer_with_reset(state, batch, i, DropReason::tcp_not_syn);
    }
    return drop(state, batch, i, DropReason::tcp_not_syn);
  }
  const uint16_t slot = choose(state, batch, i);
  if (slot == base::kNoTarget) return count_rejected(state, seen);
  const uint32_t cookie = state.cookie_for(batch.endpoint[i], batch.hash[i], slot, 0);
  const uint32_t index = make_entry(state, key, batch.hash[i]);
  if (index == kNoFlow) {
    state.note_untracked();
    state.counters.add(GatewayCounter::packets_untracked, batch.packets[i]);
    return send_to_target(state, batch, i, cookie, nullptr);
  }
  FlowState& flow = Family<Key>::flows(state).at(index).state;
  const FlowCause cause = picked_up ? FlowCause::picked_up : FlowCause::opened_new;
  pin(state, batch, i, key, index, flow, cookie, cause);
  refresh(state, batch, i, key, flow, seen, speaks_on_entering(state));
  if (picked_up) state.counters.add(GatewayCounter::flows_picked_up);
  send_to_target(state, batch, i, cookie, Family<Key>::of(state).counters(index));
}

// The record of the packet's flow, or kNoFlow.
template <class Key>
GWLB_HOT uint32_t index_of(Gateway::State& state, const PacketBatch& batch, uint32_t i,
                           const Seen& seen) {
  const Scratch& s = state.scratch;
  const Keys<Key>& keys = Family<Key>::keys(state);
  const uint32_t found = keys.found[seen.key_at];
  // The bulk lookup ran before this batch opened or evicted its first flow.
  if (found != kNoFlow ? !s.evicted : !s.opened.may_have(batch.hash[i])) return found;
  const auto& flows = Family<Key>::flows(state);
  const Key& key = keys.key[seen.key_at];
  if (found != kNoFlow && flows.holds(found, key)) return found;
  return flows.find(key, batch.hash[i]);
}

// An ICMP error about a flow that has to choose again, or about none: it neither makes nor moves
// one. Where flows without an entry may be alive it goes as packets of such a flow do, by the row.
GWLB_SELDOM void decide_stray_error(Gateway::State& state, PacketBatch& batch, uint32_t i,
                                    bool has_entry) {
  if (state.fails_open(batch.endpoint[i], batch.hash[i])) return bypass(state, batch, i);
  if (has_entry || !state.accepts_unknown()) {
    return drop(state, batch, i, DropReason::icmp_no_flow);
  }
  const uint16_t slot = choose(state, batch, i);
  if (slot == base::kNoTarget) return;
  const uint32_t cookie = state.cookie_for(batch.endpoint[i], batch.hash[i], slot, 0);
  send_to_target(state, batch, i, cookie, nullptr);
}

// A TCP packet of a connection whose target is lost: its sender is told, and the entry stays for a
// while to tell the other end too.
GWLB_SELDOM void refuse_packet(Gateway::State& state, PacketBatch& batch, uint32_t i,
                               FlowState& flow) {
  if ((flow.flags & kRefused) == 0) {
    flow.flags |= kRefused;
    state.counters.add(GatewayCounter::flows_refused);
  }
  flow.idle = kIdleReset;
  flow.last_seen_ms = static_cast<uint32_t>(state.now_ms);
  answer_with_reset(state, batch, i, DropReason::flow_refused);
}

template <class Key>
void decide_ingress(Gateway::State& state, PacketBatch& batch, uint32_t i, const Seen& seen) {
  const uint32_t index = index_of<Key>(state, batch, i, seen);
  const bool quoted = seen.quoted();
  if (index == kNoFlow) {
    if (quoted) return decide_stray_error(state, batch, i, false);
    return open_flow<Key>(state, batch, i);
  }
  const Key& key = key_of<Key>(state, seen);
  FlowState& flow = Family<Key>::flows(state).at(index).state;
  const bool connection = key.kind == static_cast<uint8_t>(flow::Stickiness::five_tuple);
  if (connection && !quoted) {
    if (opens_tcp(seen)) {
      if (!take_syn(state, batch, i, key, index, flow)) return;
    } else if (answers_syn(flow, seen.tcp_flags, seen.low_to_high())) {
      if (!take_syn_ack(state, batch, i, key, index, flow)) return;
    }
  }

  const select::TargetSpec& target = state.table->target(cookie_slot(flow.cookie));
  if (!quoted && takes_reset(seen) && is_refused(key, flow, target)) {
    return refuse_packet(state, batch, i, flow);
  }
  const bool is_void = pin_is_void(flow, target);
  if (quoted) {
    if (is_void) return decide_stray_error(state, batch, i, true);
  } else {
    refresh(state, batch, i, key, flow, seen, speaks_on_entering(state));
    if (is_void && !move_flow(state, batch, i, key, flow)) return;
  }
  send_to_target(state, batch, i, flow.cookie, Family<Key>::of(state).counters(index));
}

// Is this the cookie of this flow, from the target that has it? spec 1.4 and 10, rows 6, 10, 11.
template <class Key>
DropReason check_cookie(const Gateway::State& state, const PacketBatch& batch, uint32_t i,
                        const Seen& seen, const FlowState& flow) {
  const uint32_t cookie = seen.cookie;
  const uint16_t from = seen.source_slot;
  const uint16_t pinned = cookie_slot(flow.cookie);
  if (cookie == flow.cookie) {
    return from == pinned ? DropReason::none : DropReason::wrong_target;
  }
  const uint16_t slot = cookie_slot(cookie);
  if (!state.is_signed(batch.endpoint[i], batch.hash[i], cookie)) return DropReason::wrong_cookie;
  if (slot == pinned) {
    if (from != pinned) return DropReason::wrong_target;
    return state.config.cookie_check == CookieCheck::lenient ? DropReason::none
                                                             : DropReason::wrong_cookie;
  }
  const uint32_t moved = moved_word<Key>(state, flow);
  const bool welcome = from == slot && (flow.flags & kMoved) != 0 && moved >> 20 == from &&
                       moved_just_now(moved, state.now_ms);
  return welcome ? DropReason::none : DropReason::wrong_target;
}

// A returned packet without a flow entry: the tag decides, while that is allowed, and its flow is
// learnt from it.
template <class Key>
GWLB_SELDOM void return_without_flow(Gateway::State& state, PacketBatch& batch, uint32_t i) {
  const Seen& seen = state.scratch.seen[i];
  const uint32_t cookie = seen.cookie;
  if (!state.accepts_unknown() || cookie_slot(cookie) != seen.source_slot ||
      !state.is_signed(batch.endpoint[i], batch.hash[i], cookie)) {
    return drop(state, batch, i, seen.quoted() ? DropReason::icmp_no_flow : DropReason::no_flow);
  }
  if (seen.quoted()) return leave(state, batch, i, cookie, nullptr);  // it makes no entry
  const Key& key = key_of<Key>(state, seen);
  const uint32_t index = make_entry(state, key, batch.hash[i]);
  if (index == kNoFlow) return leave(state, batch, i, cookie, nullptr);
  FlowState& flow = Family<Key>::flows(state).at(index).state;
  pin(state, batch, i, key, index, flow, cookie, FlowCause::learnt);
  refresh(state, batch, i, key, flow, seen, speaks_on_return(state));
  leave(state, batch, i, cookie, Family<Key>::of(state).counters(index));
}

template <class Key>
void decide_return(Gateway::State& state, PacketBatch& batch, uint32_t i, const Seen& seen) {
  const uint32_t index = index_of<Key>(state, batch, i, seen);
  if (index == kNoFlow) return return_without_flow<Key>(state, batch, i);
  FlowState& flow = Family<Key>::flows(state).at(index).state;
  const DropReason reason = check_cookie<Key>(state, batch, i, seen, flow);
  if (reason != DropReason::none) return drop(state, batch, i, reason);
  if (!seen.quoted()) {
    const bool witness = speaks_on_return(state) && seen.source_slot == cookie_slot(flow.cookie);
    refresh(state, batch, i, key_of<Key>(state, seen), flow, seen, witness);
  }
  leave(state, batch, i, flow.cookie, Family<Key>::of(state).counters(index));
}

}  // namespace

template <class Key>
void decide_by_rules(Gateway::State& state, PacketBatch& batch, uint32_t i, const Seen& seen) {
  if (state.config.clamp_mss != 0 && (seen.tcp_flags & wire::kSyn) != 0 && has_tcp_header(seen)) {
    clamp_syn(state, batch, i);
  }
  if (seen.role == Role::ingress) {
    decide_ingress<Key>(state, batch, i, seen);
  } else {
    decide_return<Key>(state, batch, i, seen);
  }
}

#define GWLB_FOR_KEY(Key) \
  template void decide_by_rules<Key>(Gateway::State&, PacketBatch&, uint32_t, const Seen&);
GWLB_FOR_KEY(flow::FlowKey4)
GWLB_FOR_KEY(flow::FlowKey6)
#undef GWLB_FOR_KEY

}  // namespace gwlb::gateway
