// Second half of a batch: for every packet that is still pending, the flow it belongs to, that
// flow's target, and the packet's way.
#include <algorithm>

#include "gateway/state.h"

namespace gwlb::gateway {

using base::DropReason;
using batch::PacketBatch;
using batch::Verdict;
using flow::FlowState;
using flow::kNoFlow;

namespace {

// Places whose flows are reported in one go at most. Under load a go is a few dozen; an idle worker
// does a quarter of a second's.
constexpr uint64_t kReportPositionsMax = 65'536;

template <class Key>
void emit(Gateway::State& state, FlowEventType type, FlowCause cause, const Key& key,
          uint16_t endpoint, uint32_t cookie, uint16_t previous,
          const FlowCounters* counted = nullptr) {
  if (!state.events.enabled()) return;
  FlowEvent event{};
  event.now_ms = state.now_ms;
  event.type = static_cast<uint8_t>(type);
  event.cause = static_cast<uint8_t>(cause);
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
  if (counted != nullptr) {
    const auto age_ms = static_cast<uint32_t>(state.now_ms) - counted->opened_ms();
    event.opened_ms = state.now_ms - age_ms;
    event.packets_to = counted->packets_to;
    event.bytes_to = counted->bytes_to;
    event.packets_from = counted->packets_from;
    event.bytes_from = counted->bytes_from;
  }
  if (!state.events.push(event)) state.counters.add(GatewayCounter::events_lost);
}

template <class Key>
void end_flow(Gateway::State& state, const Key& key, uint32_t index, const FlowState& flow,
              FlowCause cause) {
  const uint16_t slot = cookie_slot(flow.cookie);
  state.counters.add(GatewayCounter::flows_ended);
  state.counters.add(slot, TargetCounter::flows_active, ~uint64_t{0});
  emit(state, FlowEventType::ended, cause, key, key.scope, flow.cookie, base::kNoTarget,
       Family<Key>::of(state).counters(index));
}

void count_pin(Gateway::State& state, uint16_t slot) {
  state.counters.add(slot, TargetCounter::flows_new);
  state.counters.add(slot, TargetCounter::flows_active);
}

// The flow whose turn it is in the probation queue gives way, unless it has left the queue already.
template <class Key>
bool evict_oldest(Gateway::State& state) {
  Flows<Key>& flows = Family<Key>::of(state);
  const flow::Probation::Place place = flows.probation->pop();
  if (!flows.table->occupied(place.index)) return false;
  const auto& record = flows.table->at(place.index);
  if ((record.state.flags & kProbation) == 0 || record.state.spare != place.ticket) return false;
  end_flow(state, record.key, place.index, record.state, FlowCause::evicted);
  flows.table->erase(place.index);
  state.counters.add(GatewayCounter::flows_evicted);
  state.scratch.evicted = true;
  return true;
}

template <class Key>
void put_on_probation(Gateway::State& state, uint32_t index, FlowState& flow) {
  Flows<Key>& flows = Family<Key>::of(state);
  flow.flags &= static_cast<uint8_t>(~kProbation);
  if (flows.probation->full()) evict_oldest<Key>(state);
  flow.flags |= kProbation;
  flow.spare = flows.probation->push(index);
}

void confirm(FlowState& flow) {
  if ((flow.flags & kProbation) == 0) return;
  flow.flags &= static_cast<uint8_t>(~kProbation);
  flow.spare = 0;
}

// An entry for a new flow, if need be that of the oldest flow in probation; kNoFlow where all of
// them are confirmed.
template <class Key>
uint32_t make_entry(Gateway::State& state, const Key& key, uint64_t hash) {
  Flows<Key>& flows = Family<Key>::of(state);
  uint32_t index = flows.table->insert(key, hash);
  for (uint32_t n = 0; index == kNoFlow && n < kEvictionTries; ++n) {
    if (flows.probation->empty()) break;
    if (evict_oldest<Key>(state)) index = flows.table->insert(key, hash);
  }
  return index;
}

// Pins the flow to its cookie's slot. The life of a connection starts afresh.
template <class Key>
void pin(Gateway::State& state, PacketBatch& batch, uint32_t i, const Key& key, uint32_t index,
         FlowState& flow, uint32_t cookie, FlowCause cause) {
  const uint16_t slot = cookie_slot(cookie);
  flow.cookie = cookie;
  flow.generation = state.table->target(slot).generation;
  flow.tcp = 0;
  flow.flags = 0;
  flow.idle = key.protocol == wire::kTcp ? kIdleTcp : kIdleOther;
  flow.spare = 0;
  if (cause != FlowCause::learnt) put_on_probation<Key>(state, index, flow);
  if (FlowCounters* counted = Family<Key>::of(state).counters(index); counted != nullptr) {
    *counted = FlowCounters{};
    counted->opened_low = state.now_ms & 0xffff;
    counted->opened_high = state.now_ms >> 16 & 0xffff;
  }
  batch.flags[i] |= batch::kFlowIsNew;
  state.counters.add(GatewayCounter::flows_new);
  count_pin(state, slot);
  emit(state, FlowEventType::opened, cause, key, batch.endpoint[i], cookie, base::kNoTarget);
}

void bypass(Gateway::State& state, PacketBatch& batch, uint32_t i) {
  state.note_untracked();
  if (!leave_by_endpoint(state, batch, i)) return;
  batch.verdict[i] = static_cast<uint8_t>(Verdict::bypass);
  state.counters.add(GatewayCounter::packets_bypassed, batch.packets[i]);
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
  state.counters.add(GatewayCounter::packets_to_targets, packets);
  state.counters.add(target.slot, TargetCounter::packets_to, packets);
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
    if (state.config.reset_on_idle && takes_reset(inner)) {
      return answer_with_reset(state, batch, i, DropReason::tcp_not_syn);
    }
    return drop(state, batch, i, DropReason::tcp_not_syn);
  }
  const uint16_t slot = choose(state, batch, i);
  if (slot == base::kNoTarget) return count_rejected(state, inner);
  const uint32_t cookie = state.cookie_for(batch.endpoint[i], batch.hash[i], slot, 0);
  const uint32_t index = make_entry(state, key, batch.hash[i]);
  if (index == kNoFlow) {
    state.note_untracked();
    state.counters.add(GatewayCounter::flows_untracked, batch.packets[i]);
    return send_to_target(state, batch, i, cookie, nullptr);
  }
  FlowState& flow = Family<Key>::flows(state).at(index).state;
  const FlowCause cause = picked_up ? FlowCause::picked_up : FlowCause::opened_new;
  pin(state, batch, i, key, index, flow, cookie, cause);
  refresh(state, key, flow, i, true);
  if (picked_up) state.counters.add(GatewayCounter::flows_picked_up);
  send_to_target(state, batch, i, cookie, Family<Key>::of(state).counters(index));
}

// A SYN on an entry of a connection. False: the packet has been dealt with.
template <class Key>
bool reopen_flow(Gateway::State& state, PacketBatch& batch, uint32_t i, const Key& key,
                 uint32_t index, FlowState& flow) {
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
  end_flow(state, key, index, flow, FlowCause::replaced);
  pin(state, batch, i, key, index, flow,
      state.cookie_for(batch.endpoint[i], batch.hash[i], slot, incarnation), FlowCause::reopened);
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
  constexpr uint8_t kGone = select::kRegistered | select::kGone;
  const bool gone = (state.table->target(from).flags & kGone) != select::kRegistered;
  flow.cookie =
      state.cookie_for(batch.endpoint[i], batch.hash[i], slot, cookie_incarnation(flow.cookie));
  flow.generation = state.table->target(slot).generation;
  flow.flags = static_cast<uint8_t>((flow.flags & ~kProbation) | kMoved);
  flow.spare = moved_from(from, state.now_ms);
  batch.flags[i] |= batch::kFlowIsMoved;
  state.counters.add(GatewayCounter::flows_moved);
  state.counters.add(from, TargetCounter::flows_active, ~uint64_t{0});
  count_pin(state, slot);
  emit(state, FlowEventType::moved, gone ? FlowCause::target_gone : FlowCause::target_failed, key,
       batch.endpoint[i], flow.cookie, from);
  return true;
}

template <class Key>
uint32_t index_of(Gateway::State& state, PacketBatch& batch, uint32_t i) {
  // The bulk lookup ran before this batch opened or evicted its first flow.
  const uint32_t found = state.scratch.found[i];
  if (found != kNoFlow && !state.scratch.evicted) return found;
  return Family<Key>::flows(state).find(Family<Key>::key(state, i), batch.hash[i]);
}

// An ICMP error about no flow, or about one that has to choose again: it neither makes nor moves
// one.
void decide_stray_error(Gateway::State& state, PacketBatch& batch, uint32_t i) {
  if (state.fails_open(batch.endpoint[i], batch.hash[i])) return bypass(state, batch, i);
  drop(state, batch, i, DropReason::icmp_no_flow);
}

// A TCP packet of a connection whose target is lost: its sender is told, and the entry stays for a
// while to tell the other end too.
void refuse_packet(Gateway::State& state, PacketBatch& batch, uint32_t i, FlowState& flow) {
  if ((flow.flags & kRefused) == 0) {
    flow.flags |= kRefused;
    state.counters.add(GatewayCounter::flows_refused);
  }
  flow.idle = kIdleReset;
  flow.last_seen_ms = static_cast<uint32_t>(state.now_ms);
  answer_with_reset(state, batch, i, DropReason::flow_refused);
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
  const wire::InnerPacket& inner = state.scratch.inner[i];
  FlowState& flow = Family<Key>::flows(state).at(index).state;
  const bool connection = key.kind == static_cast<uint8_t>(flow::Stickiness::five_tuple);
  const bool syn = !quoted && opens_tcp(inner);
  if (connection && syn && !reopen_flow(state, batch, i, key, index, flow)) return;

  const select::TargetSpec& target = state.table->target(cookie_slot(flow.cookie));
  if (!quoted && takes_reset(inner) && is_refused(key, flow, target)) {
    return refuse_packet(state, batch, i, flow);
  }
  const bool is_void = pin_is_void(flow, target);
  if (quoted) {
    if (is_void) return decide_stray_error(state, batch, i);
  } else {
    refresh(state, key, flow, i, true);
    if (is_void && !move_flow(state, batch, i, key, flow)) return;
    if (state.config.promotion == Promotion::ingress && !syn) confirm(flow);
  }
  send_to_target(state, batch, i, flow.cookie, Family<Key>::of(state).counters(index));
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
  if (!state.is_signed(batch.endpoint[i], batch.hash[i], cookie)) return DropReason::wrong_cookie;
  if (slot == pinned) {
    if (from != pinned) return DropReason::wrong_target;
    return state.config.cookie_check == CookieCheck::lenient ? DropReason::none
                                                             : DropReason::wrong_cookie;
  }
  const bool welcome = from == slot && moved_just_now(flow, from, state.now_ms);
  return welcome ? DropReason::none : DropReason::wrong_target;
}

// `counted` is null where the flow is not counted.
void leave(Gateway::State& state, PacketBatch& batch, uint32_t i, uint32_t cookie,
           FlowCounters* counted) {
  batch.flow[i] = cookie;
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
void return_without_flow(Gateway::State& state, PacketBatch& batch, uint32_t i) {
  if (state.scratch.quoted[i]) return drop(state, batch, i, DropReason::icmp_no_flow);
  const uint32_t cookie = state.scratch.options[i].cookie;
  if (!state.accepts_unknown() || cookie_slot(cookie) != state.scratch.source_slot[i] ||
      !state.is_signed(batch.endpoint[i], batch.hash[i], cookie)) {
    return drop(state, batch, i, DropReason::no_flow);
  }
  const Key& key = Family<Key>::key(state, i);
  const uint32_t index = make_entry(state, key, batch.hash[i]);
  if (index == kNoFlow) return leave(state, batch, i, cookie, nullptr);
  FlowState& flow = Family<Key>::flows(state).at(index).state;
  pin(state, batch, i, key, index, flow, cookie, FlowCause::learnt);
  refresh(state, key, flow, i, false);
  leave(state, batch, i, cookie, Family<Key>::of(state).counters(index));
}

template <class Key>
void decide_return(Gateway::State& state, PacketBatch& batch, uint32_t i) {
  const uint32_t index = index_of<Key>(state, batch, i);
  if (index == kNoFlow) return return_without_flow<Key>(state, batch, i);
  FlowState& flow = Family<Key>::flows(state).at(index).state;
  const DropReason reason = check_cookie(state, batch, i, flow);
  if (reason != DropReason::none) return drop(state, batch, i, reason);
  if (!state.scratch.quoted[i]) {
    if (state.scratch.source_slot[i] == cookie_slot(flow.cookie)) confirm(flow);
    refresh(state, Family<Key>::key(state, i), flow, i, false);
  }
  leave(state, batch, i, flow.cookie, Family<Key>::of(state).counters(index));
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
    state.flows4.table->lookup(s.keys4, s.hashes4, s.n4, s.found4);
    for (uint32_t k = 0; k < s.n4; ++k) s.found[s.packet4[k]] = s.found4[k];
  }
  if (s.n6 != 0) {
    state.flows6.table->lookup(s.keys6, s.hashes6, s.n6, s.found6);
    for (uint32_t k = 0; k < s.n6; ++k) s.found[s.packet6[k]] = s.found6[k];
  }
}

void count_active(Gateway::State& state) {
  state.counters.set(GatewayCounter::flows_active_ipv4, state.flows4.table->size());
  state.counters.set(GatewayCounter::flows_active_ipv6, state.flows6.table->size());
}

FlowCause end_of(const FlowState& flow) {
  if ((flow.flags & kRefused) != 0) return FlowCause::refused;
  if (flow.idle == kIdleClosing) return FlowCause::closed;
  return flow.idle == kIdleReset ? FlowCause::reset : FlowCause::idle;
}

template <class Key>
uint32_t sweep_family(Gateway::State& state, uint32_t positions) {
  return Family<Key>::flows(state).sweep(
      static_cast<uint32_t>(state.now_ms), positions,
      [&state](uint32_t index, const flow::FlowRecord<Key>& record) {
        end_flow(state, record.key, index, record.state, end_of(record.state));
      });
}

// Reports the flows in as many places as the time since the last call is worth.
template <class Key>
void report_family(Gateway::State& state, uint64_t elapsed_ms) {
  Flows<Key>& flows = Family<Key>::of(state);
  const uint32_t end = flows.table->index_end();
  flows.report_credit += elapsed_ms * end;
  const uint64_t due = flows.report_credit / state.report_interval_ms;
  auto left = static_cast<uint32_t>(std::min<uint64_t>({due, kReportPositionsMax, end}));
  // What cannot be done in time is not made up for.
  flows.report_credit = due > left ? 0 : flows.report_credit % state.report_interval_ms;
  while (left > 0) {
    const uint32_t from = flows.report_cursor;
    flows.table->walk(
        &flows.report_cursor, left, [&](uint32_t index, const flow::FlowRecord<Key>& record) {
          emit(state, FlowEventType::lives, FlowCause::none, record.key, record.key.scope,
               record.state.cookie, base::kNoTarget, flows.counters(index));
        });
    left -= (flows.report_cursor == 0 ? end : flows.report_cursor) - from;
  }
}

}  // namespace

void decide(Gateway::State& state, PacketBatch& batch) {
  state.scratch.evicted = false;
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
  state.now_ms = now_ms;
  const uint32_t ended = sweep_family<flow::FlowKey4>(state, positions) +
                         sweep_family<flow::FlowKey6>(state, positions);
  if (ended != 0) count_active(state);
  if (state.report_interval_ms != 0) {
    const uint64_t elapsed_ms = now_ms - state.reported_ms;
    state.reported_ms = now_ms;
    report_family<flow::FlowKey4>(state, elapsed_ms);
    report_family<flow::FlowKey6>(state, elapsed_ms);
  }
  return ended;
}

}  // namespace gwlb::gateway
