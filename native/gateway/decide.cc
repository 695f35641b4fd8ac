// Second half of a batch: for every packet that is still pending, the flow it belongs to, that
// flow's target, and the packet's way.
#include "gateway/state.h"

namespace gwlb::gateway {

using base::DropReason;
using batch::PacketBatch;
using batch::Verdict;
using flow::FlowState;
using flow::kNoFlow;

namespace {

template <class Key>
void emit(Gateway::State& state, FlowEventType type, FlowEnd end, const Key& key, uint16_t endpoint,
          uint32_t cookie, uint16_t previous) {
  if (!state.events.enabled()) return;
  FlowEvent event{};
  event.now_ms = state.now_ms;
  event.type = static_cast<uint8_t>(type);
  event.end = static_cast<uint8_t>(end);
  event.version = Family<Key>::kVersion;
  event.protocol = key.protocol;
  event.endpoint = endpoint;
  event.target = cookie_slot(cookie);
  event.previous = previous;
  event.low_port = base::load_be16(key.low_port);
  event.high_port = base::load_be16(key.high_port);
  event.cookie = cookie;
  std::memcpy(event.low, key.low, sizeof key.low);
  std::memcpy(event.high, key.high, sizeof key.high);
  if (!state.events.push(event)) state.counters.add(GatewayCounter::events_lost);
}

template <class Key>
void end_flow(Gateway::State& state, const Key& key, const FlowState& flow, FlowEnd end) {
  const uint16_t slot = cookie_slot(flow.cookie);
  state.counters.add(GatewayCounter::flows_ended);
  state.counters.add(slot, TargetCounter::flows_active, ~uint64_t{0});
  emit(state, FlowEventType::ended, end, key, key.scope, flow.cookie, base::kNoTarget);
}

void count_pin(Gateway::State& state, uint16_t slot) {
  state.counters.add(slot, TargetCounter::flows_new);
  state.counters.add(slot, TargetCounter::flows_active);
}

// Pins the flow to `slot` with a cookie of the given incarnation. The life of a connection starts
// afresh.
template <class Key>
void pin(Gateway::State& state, PacketBatch& batch, uint32_t i, const Key& key, FlowState& flow,
         uint32_t cookie) {
  const uint16_t slot = cookie_slot(cookie);
  flow.cookie = cookie;
  flow.generation = state.table->target(slot).generation;
  flow.tcp = 0;
  flow.flags = Family<Key>::kVersion == 6 ? kVersion6 : 0;
  flow.idle = key.protocol == wire::kTcp ? kIdleTcp : kIdleOther;
  flow.spare = 0;
  batch.flags[i] |= batch::kFlowIsNew;
  state.counters.add(GatewayCounter::flows_new);
  count_pin(state, slot);
  emit(state, FlowEventType::opened, FlowEnd::none, key, batch.endpoint[i], cookie,
       base::kNoTarget);
}

void bypass(Gateway::State& state, PacketBatch& batch, uint32_t i) {
  state.note_untracked();
  if (!leave_by_endpoint(state, batch, i)) return;
  batch.verdict[i] = static_cast<uint8_t>(Verdict::bypass);
  state.counters.add(GatewayCounter::packets_bypassed);
}

// The row's target for packet i, or kNoTarget with the packet already dealt with.
uint16_t choose(Gateway::State& state, PacketBatch& batch, uint32_t i) {
  const uint16_t zone = state.endpoints.at(batch.endpoint[i]).zone;
  const uint16_t slot = state.table->choose(zone, batch.hash[i]);
  if (slot != base::kNoTarget) return slot;
  if (state.config.fail_open) {
    bypass(state, batch, i);
  } else {
    drop(state, batch, i, DropReason::no_targets);
  }
  return base::kNoTarget;
}

void send_to_target(Gateway::State& state, PacketBatch& batch, uint32_t i, uint32_t cookie) {
  const select::TargetSpec& target = state.table->target(cookie_slot(cookie));
  const uint32_t bytes = batch.length[i];
  if (!encapsulate(state, batch, i, target, cookie)) return;
  batch.verdict[i] = static_cast<uint8_t>(Verdict::forward);
  state.counters.add(GatewayCounter::packets_to_targets);
  state.counters.add(target.slot, TargetCounter::packets_to);
  state.counters.add(target.slot, TargetCounter::bytes_to, bytes);
}

// TCP's life cycle, for keys that are one connection. A RST alone must not unpin a living flow
// (it may be forged): traffic after it takes it back.
void track_tcp(FlowState& flow, uint8_t tcp_flags, bool low_to_high, bool ingress) {
  if ((tcp_flags & wire::kRst) != 0) {
    flow.idle = kIdleReset;
    return;
  }
  if ((tcp_flags & wire::kFin) != 0) flow.tcp |= low_to_high ? kFinFromLow : kFinFromHigh;
  if ((tcp_flags & wire::kSyn) == 0) flow.tcp |= kHandshakeOver;
  if ((flow.tcp & kFinFromLow) != 0 && (flow.tcp & kFinFromHigh) != 0) {
    flow.idle = kIdleClosing;
  } else if (flow.idle == kIdleReset && ingress) {
    flow.idle = kIdleTcp;
  }
}

template <class Key>
void refresh(Gateway::State& state, const Key& key, FlowState& flow, uint32_t i, bool ingress) {
  const wire::InnerPacket& inner = state.scratch.inner[i];
  flow.last_seen_ms = static_cast<uint32_t>(state.now_ms);
  if (!has_tcp_header(inner)) return;
  if (key.kind == static_cast<uint8_t>(flow::Stickiness::five_tuple)) {
    track_tcp(flow, inner.tcp_flags, state.scratch.low_to_high[i], ingress);
  } else {
    flow.idle = kIdleTcp;
  }
}

void count_rejected(Gateway::State& state, const wire::InnerPacket& inner) {
  state.counters.add(GatewayCounter::flows_rejected);
  if (inner.protocol == wire::kTcp) state.counters.add(GatewayCounter::flows_rejected_tcp);
}

// First packet of a flow without an entry.
template <class Key>
void open_flow(Gateway::State& state, PacketBatch& batch, uint32_t i) {
  const wire::InnerPacket& inner = state.scratch.inner[i];
  const Key& key = Family<Key>::key(state, i);
  if (state.fails_open(batch.endpoint[i], batch.hash[i])) return bypass(state, batch, i);
  const bool picked_up = is_of_connection(inner, key) && !opens_tcp(inner);
  if (picked_up && ((inner.tcp_flags & wire::kRst) != 0 || !state.accepts_unknown())) {
    return drop(state, batch, i, DropReason::tcp_not_syn);
  }
  const uint16_t slot = choose(state, batch, i);
  if (slot == base::kNoTarget) return count_rejected(state, inner);
  const uint32_t cookie = state.cookie_for(batch.endpoint[i], batch.hash[i], slot, 0);
  auto& flows = Family<Key>::flows(state);
  const uint32_t index = flows.insert(key, batch.hash[i]);
  if (index == kNoFlow) {
    state.note_untracked();
    state.counters.add(GatewayCounter::flows_untracked);
  } else {
    FlowState& flow = flows.at(index).state;
    pin(state, batch, i, key, flow, cookie);
    refresh(state, key, flow, i, true);
    if (picked_up) state.counters.add(GatewayCounter::flows_picked_up);
  }
  send_to_target(state, batch, i, cookie);
}

// A SYN on an entry of a connection. False: the packet has been dealt with.
template <class Key>
bool reopen_flow(Gateway::State& state, PacketBatch& batch, uint32_t i, const Key& key,
                 FlowState& flow) {
  uint16_t slot = cookie_slot(flow.cookie);
  const bool chooses = syn_chooses_again(flow, state.table->target(slot));
  if (!chooses && (flow.tcp & kHandshakeOver) == 0) return true;  // a retransmission
  if (chooses) {
    slot = choose(state, batch, i);
    if (slot == base::kNoTarget) {
      if (!state.config.fail_open) count_rejected(state, state.scratch.inner[i]);
      return false;
    }
  }
  const auto incarnation =
      static_cast<uint8_t>((cookie_incarnation(flow.cookie) + 1) % kIncarnations);
  end_flow(state, key, flow, FlowEnd::replaced);
  pin(state, batch, i, key, flow,
      state.cookie_for(batch.endpoint[i], batch.hash[i], slot, incarnation));
  return true;
}

// The flow's target is gone for it: the next packet, this one, chooses again. False: no target, and
// the packet has been dealt with.
template <class Key>
bool move_flow(Gateway::State& state, PacketBatch& batch, uint32_t i, const Key& key,
               FlowState& flow) {
  const uint16_t from = cookie_slot(flow.cookie);
  const uint16_t slot = choose(state, batch, i);
  if (slot == base::kNoTarget) return false;
  flow.cookie =
      state.cookie_for(batch.endpoint[i], batch.hash[i], slot, cookie_incarnation(flow.cookie));
  flow.generation = state.table->target(slot).generation;
  flow.flags = static_cast<uint8_t>((flow.flags & ~kPromoted) | kMoved);
  flow.spare = moved_from(from, state.now_ms);
  batch.flags[i] |= batch::kFlowIsMoved;
  state.counters.add(GatewayCounter::flows_moved);
  state.counters.add(from, TargetCounter::flows_active, ~uint64_t{0});
  count_pin(state, slot);
  emit(state, FlowEventType::moved, FlowEnd::none, key, batch.endpoint[i], flow.cookie, from);
  return true;
}

template <class Key>
uint32_t index_of(Gateway::State& state, PacketBatch& batch, uint32_t i) {
  // The bulk lookup ran before this batch opened its first flow.
  const uint32_t found = state.scratch.found[i];
  if (found != kNoFlow) return found;
  return Family<Key>::flows(state).find(Family<Key>::key(state, i), batch.hash[i]);
}

// An ICMP error about no flow, or about one that has to choose again: it neither makes nor moves
// one.
void decide_stray_error(Gateway::State& state, PacketBatch& batch, uint32_t i) {
  if (state.fails_open(batch.endpoint[i], batch.hash[i])) return bypass(state, batch, i);
  drop(state, batch, i, DropReason::icmp_no_flow);
}

template <class Key>
void decide_ingress(Gateway::State& state, PacketBatch& batch, uint32_t i) {
  const uint32_t index = index_of<Key>(state, batch, i);
  const bool quoted = state.scratch.quoted[i];
  if (index == kNoFlow) {
    if (quoted) return decide_stray_error(state, batch, i);
    return open_flow<Key>(state, batch, i);
  }
  const Key& key = Family<Key>::key(state, i);
  FlowState& flow = Family<Key>::flows(state).at(index).state;
  const bool connection = key.kind == static_cast<uint8_t>(flow::Stickiness::five_tuple);
  if (connection && !quoted && opens_tcp(state.scratch.inner[i]) &&
      !reopen_flow(state, batch, i, key, flow)) {
    return;
  }
  const select::TargetSpec& target = state.table->target(cookie_slot(flow.cookie));
  const bool is_void = pin_is_void(flow, target);
  if (quoted) {
    if (is_void) return decide_stray_error(state, batch, i);
  } else {
    refresh(state, key, flow, i, true);
    if (is_void && !move_flow(state, batch, i, key, flow)) return;
    if (!is_void) flow.generation = target.generation;
  }
  send_to_target(state, batch, i, flow.cookie);
}

// Is this the cookie of this flow, from the target that has it? spec 1.4 and 10, rows 6, 10, 11.
DropReason check_cookie(const Gateway::State& state, const PacketBatch& batch, uint32_t i,
                        const FlowState& flow) {
  const uint32_t cookie = state.scratch.options[i].cookie;
  const uint16_t from = state.scratch.source_slot[i];
  const uint16_t pinned = cookie_slot(flow.cookie);
  if (cookie == flow.cookie) {
    return from == pinned ? DropReason::none : DropReason::wrong_target;
  }
  const uint16_t slot = cookie_slot(cookie);
  if (cookie !=
      state.cookie_for(batch.endpoint[i], batch.hash[i], slot, cookie_incarnation(cookie))) {
    return DropReason::wrong_cookie;
  }
  if (slot == pinned) {
    if (from != pinned) return DropReason::wrong_target;
    return state.config.cookie_check == CookieCheck::lenient ? DropReason::none
                                                             : DropReason::wrong_cookie;
  }
  const bool welcome = from == slot && moved_just_now(flow, from, state.now_ms);
  return welcome ? DropReason::none : DropReason::wrong_target;
}

void leave(Gateway::State& state, PacketBatch& batch, uint32_t i, uint32_t cookie) {
  batch.flow[i] = cookie;
  if (!leave_by_endpoint(state, batch, i)) return;
  batch.verdict[i] = static_cast<uint8_t>(Verdict::forward);
}

// A returned packet without a flow entry: the tag decides, while that is allowed, and its flow is
// learnt from it.
template <class Key>
void return_without_flow(Gateway::State& state, PacketBatch& batch, uint32_t i) {
  if (state.scratch.quoted[i]) return drop(state, batch, i, DropReason::icmp_no_flow);
  const uint32_t cookie = state.scratch.options[i].cookie;
  const uint16_t slot = cookie_slot(cookie);
  if (!state.accepts_unknown() || slot != state.scratch.source_slot[i] ||
      cookie !=
          state.cookie_for(batch.endpoint[i], batch.hash[i], slot, cookie_incarnation(cookie))) {
    return drop(state, batch, i, DropReason::no_flow);
  }
  const Key& key = Family<Key>::key(state, i);
  auto& flows = Family<Key>::flows(state);
  const uint32_t index = flows.insert(key, batch.hash[i]);
  if (index != kNoFlow) {
    FlowState& flow = flows.at(index).state;
    pin(state, batch, i, key, flow, cookie);
    flow.flags |= kPromoted;
    refresh(state, key, flow, i, false);
  }
  leave(state, batch, i, cookie);
}

// A later fragment that overtook its first one went out under the 3-tuple; meanwhile its train may
// be known, so that it came back under the 5-tuple's key.
template <class Key>
bool returns_as_three_tuple(Gateway::State& state, PacketBatch& batch, uint32_t i) {
  Scratch& s = state.scratch;
  if ((s.inner[i].flags & wire::kLaterFragment) == 0) return false;
  const wire::InnerPacket& inner = s.inner[i];
  Key key;
  flow::make_key(inner, flow::Stickiness::three_tuple, state.scope_of(batch.endpoint[i]), &key);
  const uint64_t hash = flow::hash_key(state.config.hash_key, key);
  const uint32_t index = Family<Key>::flows(state).find(key, hash);
  if (index == kNoFlow) return false;
  const FlowState& flow = Family<Key>::flows(state).at(index).state;
  if (flow.cookie != s.options[i].cookie || cookie_slot(flow.cookie) != s.source_slot[i]) {
    return false;
  }
  batch.hash[i] = hash;
  leave(state, batch, i, flow.cookie);
  return true;
}

template <class Key>
void decide_return(Gateway::State& state, PacketBatch& batch, uint32_t i) {
  const uint32_t index = index_of<Key>(state, batch, i);
  if (index == kNoFlow) {
    if (returns_as_three_tuple<Key>(state, batch, i)) return;
    return return_without_flow<Key>(state, batch, i);
  }
  FlowState& flow = Family<Key>::flows(state).at(index).state;
  const DropReason reason = check_cookie(state, batch, i, flow);
  if (reason != DropReason::none) {
    if (returns_as_three_tuple<Key>(state, batch, i)) return;
    return drop(state, batch, i, reason);
  }
  if (!state.scratch.quoted[i]) {
    if (state.scratch.source_slot[i] == cookie_slot(flow.cookie)) flow.flags |= kPromoted;
    refresh(state, Family<Key>::key(state, i), flow, i, false);
  }
  leave(state, batch, i, flow.cookie);
}

template <class Key>
void decide_one(Gateway::State& state, PacketBatch& batch, uint32_t i) {
  if (state.scratch.role[i] == Role::ingress) {
    decide_ingress<Key>(state, batch, i);
  } else {
    decide_return<Key>(state, batch, i);
  }
}

void look_up(Gateway::State& state) {
  Scratch& s = state.scratch;
  if (s.n4 != 0) {
    state.flows4->lookup(s.keys4, s.hashes4, s.n4, s.found4);
    for (uint32_t k = 0; k < s.n4; ++k) s.found[s.packet4[k]] = s.found4[k];
  }
  if (s.n6 != 0) {
    state.flows6->lookup(s.keys6, s.hashes6, s.n6, s.found6);
    for (uint32_t k = 0; k < s.n6; ++k) s.found[s.packet6[k]] = s.found6[k];
  }
}

void count_active(Gateway::State& state) {
  state.counters.set(GatewayCounter::flows_active_ipv4, state.flows4->size());
  state.counters.set(GatewayCounter::flows_active_ipv6, state.flows6->size());
}

template <class Key>
uint32_t sweep_family(Gateway::State& state, uint32_t positions) {
  return Family<Key>::flows(state).sweep(static_cast<uint32_t>(state.now_ms), positions,
                                         [&state](uint32_t, const flow::FlowRecord<Key>& record) {
                                           const FlowState& flow = record.state;
                                           const FlowEnd end =
                                               flow.idle == kIdleClosing ? FlowEnd::closed
                                               : flow.idle == kIdleReset ? FlowEnd::reset
                                                                         : FlowEnd::idle;
                                           end_flow(state, record.key, flow, end);
                                         });
}

}  // namespace

void decide(Gateway::State& state, PacketBatch& batch) {
  look_up(state);
  for (uint32_t i = 0; i < batch.count; ++i) {
    if (!batch.pending(i)) continue;
    if (state.scratch.inner[i].version == 4) {
      decide_one<flow::FlowKey4>(state, batch, i);
    } else {
      decide_one<flow::FlowKey6>(state, batch, i);
    }
  }
  count_active(state);
}

uint32_t Gateway::sweep(uint64_t now_ms, uint32_t positions) {
  State& state = *state_;
  state.advance(now_ms);
  const uint32_t ended = sweep_family<flow::FlowKey4>(state, positions) +
                         sweep_family<flow::FlowKey6>(state, positions);
  if (ended != 0) count_active(state);
  return ended;
}

}  // namespace gwlb::gateway
