// Second half of a batch: for every packet that is still pending, the flow it belongs to, that
// flow's target, and the packet's way.
#include "gateway/encapsulate.h"
#include "gateway/life.h"
#include "gateway/state.h"

namespace gwlb::gateway {

using base::DropReason;
using batch::PacketBatch;
using batch::Verdict;
using flow::FlowState;
using flow::kNoFlow;

namespace {

GWLB_HOT void count_pin(Gateway::State& state, uint16_t slot) {
  state.counters.add(slot, TargetCounter::flows_new);
  state.counters.add(slot, TargetCounter::flows_active);
}

// Pins the flow to its cookie's slot. The life of a connection starts afresh, with this packet, or
// with the SYN that it answers.
template <class Key>
void pin(Gateway::State& state, PacketBatch& batch, uint32_t i, const Key& key, uint32_t index,
         FlowState& flow, uint32_t cookie, FlowCause cause) {
  const uint16_t slot = cookie_slot(cookie);
  const bool shakes = key.kind == static_cast<uint8_t>(flow::Stickiness::five_tuple) &&
                      (cause == FlowCause::reopened || opens_tcp(state.scratch.seen[i]));
  flow.cookie = cookie;
  flow.generation = state.table->target(slot).generation;
  flow.tcp = shakes ? kHandshake : 0;
  flow.flags = 0;
  flow.idle = key.protocol == wire::kTcp ? kIdleTcp : kIdleOther;
  put_on_probation<Key>(state, index, flow);
  if (FlowCounters* counted = Family<Key>::of(state).counters(index); counted != nullptr) {
    counted->open(state.now_ms);
  }
  batch.flags[i] |= batch::kFlowIsNew;
  state.counters.add(GatewayCounter::flows_new);
  count_pin(state, slot);
  emit(state, FlowEventType::opened, cause, key, batch.endpoint[i], cookie, base::kNoTarget);
}

GWLB_SELDOM void bypass(Gateway::State& state, PacketBatch& batch, uint32_t i) {
  state.note_untracked();
  if (!leave_by_endpoint(state, batch, i)) return;
  batch.verdict[i] = static_cast<uint8_t>(Verdict::bypass);
}

GWLB_SELDOM void go_without_target(Gateway::State& state, PacketBatch& batch, uint32_t i) {
  if (state.config.fail_open) return bypass(state, batch, i);
  drop(state, batch, i, DropReason::no_targets);
}

// The row's target for packet i, or kNoTarget with the packet already dealt with.
GWLB_HOT uint16_t choose(Gateway::State& state, PacketBatch& batch, uint32_t i) {
  const uint16_t zone = state.endpoints.at(batch.endpoint[i]).zone;
  const uint16_t slot = state.table->choose(zone, batch.hash[i]);
  if (slot == base::kNoTarget) go_without_target(state, batch, i);
  return slot;
}

// `counted` is null where the flow is not counted.
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

// Whether a packet speaks for its flow's life when it enters, or when its target returns it.
bool speaks_on_entering(const Gateway::State& state) {
  return state.config.promotion == Promotion::ingress;
}
bool speaks_on_return(const Gateway::State& state) { return !speaks_on_entering(state); }

void count_rejected(Gateway::State& state, const Seen& seen) {
  state.counters.add(GatewayCounter::flows_rejected);
  if (seen.protocol == wire::kTcp) state.counters.add(GatewayCounter::flows_rejected_tcp);
}

template <class Key>
const Key& key_of(Gateway::State& state, const Seen& seen) {
  return Family<Key>::keys(state).key[seen.key_at];
}

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

// A SYN on an entry of a connection. Only its other end knows whether a connection that may be
// alive is over: until it says so with a SYN-ACK the packet may be a stray, or forged. False: the
// packet has been dealt with.
template <class Key>
GWLB_SELDOM bool take_syn(Gateway::State& state, PacketBatch& batch, uint32_t i, const Key& key,
                          uint32_t index, FlowState& flow) {
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
GWLB_SELDOM bool take_syn_ack(Gateway::State& state, PacketBatch& batch, uint32_t i, const Key& key,
                              uint32_t index, FlowState& flow) {
  const select::TargetSpec& target = state.table->target(cookie_slot(flow.cookie));
  const bool chooses = (target.flags & select::kEligible) == 0;
  const uint8_t asked = flow.tcp & (kSynFromLow | kSynFromHigh);
  if (!replace_flow(state, batch, i, key, index, flow, chooses)) return false;
  flow.tcp |= asked;
  return true;
}

// The flow's target is gone for it: the next packet, this one, chooses again. False: no target, and
// the packet has been dealt with.
template <class Key>
GWLB_SELDOM bool move_flow(Gateway::State& state, PacketBatch& batch, uint32_t i, const Key& key,
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

// `counted` is null where the flow is not counted.
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

// Whether a packet as in the middle of a flow (kUsual) finds its flow as it was: then nothing has
// to be decided about it. What decide_ingress() and decide_return() would do then is below.
GWLB_HOT bool is_usual(const FlowState& flow, uint8_t unusual_flags) {
  return flow.idle < kIdleClosing && (flow.flags & unusual_flags) == 0;
}

GWLB_HOT void refresh_usual(const Gateway::State& state, FlowState& flow, const Seen& seen) {
  flow.last_seen_ms = static_cast<uint32_t>(state.now_ms);
  if (seen.protocol == wire::kTcp) flow.tcp |= kHandshakeOver;
}

// False: not that usual, and nothing done.
template <class Key>
GWLB_HOT bool go_on_to_target(Gateway::State& state, PacketBatch& batch, uint32_t i,
                              const Seen& seen, FlowState& flow) {
  const uint32_t cookie = flow.cookie;
  const select::TargetSpec& target = state.table->target(cookie_slot(cookie));
  constexpr uint8_t kMask = select::kRegistered | select::kResetFlows;
  if (!is_usual(flow, state.unusual_flags) || (target.flags & kMask) != select::kRegistered ||
      flow.generation != target.generation || !state.bare_geneve ||
      batch.headroom(i) < wire::kGatewayHeaderBytes) {
    return false;
  }
  refresh_usual(state, flow, seen);
  state.run_of(batch.endpoint[i]);
  encapsulate_bare(state, batch, i, target, cookie, Family<Key>::kEtherType);
  batch.verdict[i] = static_cast<uint8_t>(Verdict::forward);
  return true;
}

template <class Key>
GWLB_HOT bool go_back(Gateway::State& state, PacketBatch& batch, uint32_t i, const Seen& seen,
                      FlowState& flow) {
  if (!is_usual(flow, kProbation | kRefused) || seen.cookie != flow.cookie ||
      seen.source_slot != cookie_slot(seen.cookie)) {
    return false;
  }
  refresh_usual(state, flow, seen);
  batch.cookie[i] = seen.cookie;
  if (leave_by_endpoint(state, batch, i)) {
    batch.verdict[i] = static_cast<uint8_t>(Verdict::forward);
  }
  return true;
}

template <class Key>
GWLB_APART void decide_other(Gateway::State& state, PacketBatch& batch, uint32_t i,
                             const Seen& seen) {
  if (state.config.clamp_mss != 0 && (seen.tcp_flags & wire::kSyn) != 0 && has_tcp_header(seen)) {
    clamp_syn(state, batch, i);
  }
  if (seen.role == Role::ingress) {
    decide_ingress<Key>(state, batch, i, seen);
  } else {
    decide_return<Key>(state, batch, i, seen);
  }
}

template <class Key>
GWLB_HOT void decide_one(Gateway::State& state, PacketBatch& batch, uint32_t i, const Seen& seen) {
  if (state.usual_way && (seen.way & kUsual) != 0) {
    const uint32_t found = Family<Key>::keys(state).found[seen.key_at];
    auto& flows = Family<Key>::flows(state);
    if (found != kNoFlow &&
        (!state.scratch.evicted || flows.holds(found, key_of<Key>(state, seen)))) {
      FlowState& flow = flows.at(found).state;
      if (seen.role == Role::ingress ? go_on_to_target<Key>(state, batch, i, seen, flow)
                                     : go_back<Key>(state, batch, i, seen, flow)) {
        return;
      }
    }
  }
  decide_other<Key>(state, batch, i, seen);
}

template <class Key>
void look_up(Gateway::State& state, const PacketBatch& batch) {
  Keys<Key>& keys = Family<Key>::keys(state);
  if (keys.count == 0) return;
  Family<Key>::flows(state).lookup(keys.key, keys.hash, keys.count, keys.found);
  for (uint32_t k = 0; k < keys.count; ++k) {
    if (keys.found[k] != kNoFlow) continue;
    const EndpointSpec& endpoint = state.endpoints.at(batch.endpoint[keys.packet[k]]);
    state.table->prefetch(endpoint.zone, keys.hash[k]);
  }
}

}  // namespace

void decide(Gateway::State& state, PacketBatch& batch) {
  Scratch& s = state.scratch;
  s.opened.clear();
  s.evicted = false;
  look_up<flow::FlowKey4>(state, batch);
  look_up<flow::FlowKey6>(state, batch);
  for (uint32_t i = 0; i < batch.count; ++i) {
    if (!batch.pending(i)) continue;
    const Seen& seen = s.seen[i];
    if (seen.version == 4) {
      decide_one<flow::FlowKey4>(state, batch, i, seen);
    } else {
      decide_one<flow::FlowKey6>(state, batch, i, seen);
    }
  }
  if (s.cut_count != 0) count_cut(state, batch);
  count_active(state);
}

}  // namespace gwlb::gateway
