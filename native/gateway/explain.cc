// The decision for one packet, without making it.
#include <algorithm>

#include "gateway/keys.h"
#include "gateway/life.h"
#include "gateway/rules.h"
#include "gateway/state.h"
#include "wire/fragment.h"
#include "wire/scope.h"

namespace gwlb::gateway {

using base::DropReason;

namespace {

template <class Key>
void describe_key(const Key& key, Explanation& out) {
  out.kind = key.kind;
  out.protocol = key.protocol;
  out.version = Family<Key>::kVersion;
  out.low_port = base::load_be16(key.low_port);
  out.high_port = base::load_be16(key.high_port);
  std::memcpy(out.low, key.low, sizeof key.low);
  std::memcpy(out.high, key.high, sizeof key.high);
}

uint32_t idle_timeout(const Gateway::State& state, uint8_t idle_class) {
  switch (idle_class) {
    case kIdleTcp:
      return state.config.tcp_idle_ms;
    case kIdleClosing:
      return base::kFinBothWaysMs;
    case kIdleReset:
      return base::kResetMs;
    case kIdleSyn:
      return std::min(state.config.tcp_idle_ms, base::kSynSeenMs);
    case kIdleSynAcked:
      return std::min(state.config.tcp_idle_ms, base::kSynAckSeenMs);
    default:
      return state.config.other_idle_ms;
  }
}

void explain_unknown(const Gateway::State& state, const wire::InnerPacket& inner, bool quoted,
                     bool connection, uint64_t now_ms, Explanation& out) {
  if (state.config.fail_open && out.chosen == base::kNoTarget) {
    out.rule = Rule::bypass;
    return;
  }
  if (quoted) {
    if (state.accepts_unknown_at(now_ms)) {
      out.target = out.chosen;
      out.rule = Rule::row;
    } else {
      out.error = DropReason::icmp_no_flow;
    }
    return;
  }
  const bool picked_up = connection && !opens_tcp(inner);
  if (picked_up && ((inner.tcp_flags & wire::kRst) != 0 || !state.accepts_unknown_at(now_ms))) {
    out.error = DropReason::tcp_not_syn;
    if (state.config.reset_on_idle && takes_reset(inner)) out.rule = Rule::refused;
    return;
  }
  out.target = out.chosen;
  out.rule = picked_up ? Rule::picked_up : Rule::row;
}

// The entry as it is.
template <class Key>
void describe_flow(const Gateway::State& state, const flow::FlowState& flow, uint16_t endpoint,
                   uint64_t now_ms, Explanation& out) {
  const uint32_t idle_ms = static_cast<uint32_t>(now_ms) - flow.last_seen_ms;
  out.pinned = true;
  out.cookie = flow.cookie;
  out.cookie_signed = state.is_signed_at(endpoint, out.hash, flow.cookie, now_ms);
  out.fin_from_low = (flow.tcp & kFinFromLow) != 0;
  out.fin_from_high = (flow.tcp & kFinFromHigh) != 0;
  out.opening = (flow.tcp & kHandshake) != 0;
  out.probation = (flow.flags & kProbation) != 0;
  out.idle = static_cast<IdleClass>(flow.idle);
  out.idle_timeout_ms = idle_timeout(state, flow.idle);
  out.idle_left_ms = idle_ms < out.idle_timeout_ms ? out.idle_timeout_ms - idle_ms : 0;
  const uint32_t moved = moved_word<Key>(state, flow);
  if ((flow.flags & kMoved) == 0 || !moved_just_now(moved, now_ms)) return;
  out.moved_from = static_cast<uint16_t>(moved >> 20);
  out.moved_ago_ms = moved_ago_ms(moved, now_ms);
}

// What would become of a packet of this flow, as rules.cc does it.
template <class Key>
void explain_flow(const Gateway::State& state, const wire::InnerPacket& inner, bool quoted,
                  const Key& key, uint16_t endpoint, uint64_t now_ms, Explanation& out) {
  const auto& flows = Family<Key>::flows(state);
  const uint32_t index = flows.find(key, out.hash);
  if (index == flow::kNoFlow) {
    explain_unknown(state, inner, quoted, is_of_connection(inner, key), now_ms, out);
  } else {
    const flow::FlowState& flow = flows.at(index).state;
    const select::TargetSpec& target = state.table->target(cookie_slot(flow.cookie));
    const bool connection = key.kind == static_cast<uint8_t>(flow::Stickiness::five_tuple);
    const bool is_void = pin_is_void(flow, target);
    const bool syn = connection && !quoted && opens_tcp(inner);
    constexpr uint8_t kOver = kHandshake | kHandshakeOver;
    const bool again = syn && (flow.tcp & kOver) == kOver;
    describe_flow<Key>(state, flow, endpoint, now_ms, out);
    const bool answers = connection && !quoted && answers_syn(flow, inner.tcp_flags, out.forward);
    if (answers || (syn && syn_chooses_again(flow, target))) {
      const bool keeps = answers && (target.flags & select::kEligible) != 0;
      out.target = keeps ? target.slot : out.chosen;
      out.rule = Rule::reopened;
    } else if (!quoted && takes_reset(inner) && is_refused(key, flow, target)) {
      out.error = DropReason::flow_refused;
      out.rule = Rule::refused;
    } else if (quoted && is_void) {
      out.error = DropReason::icmp_no_flow;
    } else {
      out.target = is_void ? out.chosen : target.slot;
      out.rule = is_void ? Rule::moved : again ? Rule::reopened : Rule::pinned;
      out.stray = syn && !is_void && (flow.tcp & kHandshake) == 0;
    }
  }
  if (out.error != DropReason::none || out.target != base::kNoTarget) return;
  if (state.config.fail_open) {
    out.rule = Rule::bypass;
  } else {
    out.error = DropReason::no_targets;
    out.rule = Rule::none;
  }
}

}  // namespace

DropReason read_keyed(const Gateway::State& state, const uint8_t* packet, uint32_t length,
                      uint16_t scope, uint64_t now_ms, KeyedPacket* out) {
  const wire::ParseError error = wire::parse_inner(packet, length, &out->inner);
  if (!error.ok()) return error.reason;
  out->keyed = out->inner;
  out->quoted = (out->inner.flags & wire::kIcmpError) != 0;
  if (out->quoted && !wire::parse_icmp_quote(packet, out->inner, &out->keyed).ok()) {
    return DropReason::icmp_bad_quote;
  }
  if (state.config.stickiness != flow::Stickiness::five_tuple ||
      (out->keyed.flags & wire::kLaterFragment) == 0) {
    return DropReason::none;
  }
  const flow::FragmentKey train(out->keyed, out->keyed.fragment_id, scope);
  const auto name = state.fragments->name(train);
  if (out->quoted) {
    state.fragments->find_quoted(&out->keyed, name, now_ms);
  } else {
    state.fragments->find(&out->keyed, name, flow::FragmentTable::Pass::entering, now_ms);
  }
  return DropReason::none;
}

Explanation Gateway::explain(const uint8_t* packet, uint32_t length, uint16_t endpoint,
                             uint64_t now_ms) const {
  const State& state = *state_;
  Explanation out;
  const auto failed = [&out](DropReason reason) {
    out.error = reason;
    return out;
  };
  if (!state.endpoints.exists(endpoint)) return failed(DropReason::unknown_endpoint);
  const uint16_t scope = state.scope_of(endpoint);
  KeyedPacket read;
  const DropReason reason = read_keyed(state, packet, length, scope, now_ms, &read);
  if (reason != DropReason::none) return failed(reason);
  if (wire::stays_on_link(packet)) return failed(DropReason::never_forwarded);
  const uint32_t mtu = state.mtu_of(endpoint);
  const bool cuts = state.endpoints.at(endpoint).cuts && wire::fragment_payload(packet, mtu) != 0;
  if (read.inner.total_length > mtu && !cuts) return failed(DropReason::inner_too_big);
  out.quoted = read.quoted;
  out.zone = state.endpoints.at(endpoint).zone;
  with_key_of(state, read, scope, [&](const auto& key, bool forward) {
    out.forward = forward;
    out.hash = flow::hash_key(state.config.hash_key, key);
    out.row = state.table->row(out.hash);
    out.rows = state.table->rows();
    out.chosen = state.table->choose(out.zone, out.hash);
    describe_key(key, out);
    explain_flow(state, read.inner, read.quoted, key, endpoint, now_ms, out);
  });
  return out;
}

}  // namespace gwlb::gateway
