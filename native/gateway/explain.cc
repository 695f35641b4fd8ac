// The decision for one packet, without making it.
#include "gateway/state.h"

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
      return kClosingMs;
    case kIdleReset:
      return kResetMs;
    default:
      return state.config.other_idle_ms;
  }
}

// What would become of a packet of this flow, as decide.cc does it.
template <class Key>
void explain_flow(const Gateway::State& state, const wire::InnerPacket& inner, bool quoted,
                  const Key& key, uint64_t now_ms, Explanation& out) {
  const auto& flows = Family<Key>::flows(state);
  const uint32_t index = flows.find(key, out.hash);
  if (index == flow::kNoFlow) {
    if (state.config.fail_open && out.chosen == base::kNoTarget) return;
    if (quoted) {
      out.error = DropReason::icmp_no_flow;
    } else if (is_of_connection(inner, key) && !opens_tcp(inner) &&
               ((inner.tcp_flags & wire::kRst) != 0 || !state.accepts_unknown_at(now_ms))) {
      out.error = DropReason::tcp_not_syn;
    } else {
      out.target = out.chosen;
    }
  } else {
    const flow::FlowState& flow = flows.at(index).state;
    const select::TargetSpec& target = state.table->target(cookie_slot(flow.cookie));
    const bool connection = key.kind == static_cast<uint8_t>(flow::Stickiness::five_tuple);
    const uint32_t idle_ms = static_cast<uint32_t>(now_ms) - flow.last_seen_ms;
    const uint32_t timeout_ms = idle_timeout(state, flow.idle);
    const bool chooses_again =
        pin_is_void(flow, target) ||
        (connection && !quoted && opens_tcp(inner) && syn_chooses_again(flow, target));
    out.pinned = true;
    out.cookie = flow.cookie;
    out.tcp = flow.tcp;
    out.idle_left_ms = idle_ms < timeout_ms ? timeout_ms - idle_ms : 0;
    out.target = chooses_again ? out.chosen : cookie_slot(flow.cookie);
  }
  if (out.error == DropReason::none && out.target == base::kNoTarget && !state.config.fail_open) {
    out.error = DropReason::no_targets;
  }
}

}  // namespace

Explanation Gateway::explain(const uint8_t* packet, uint32_t length, uint16_t endpoint,
                             uint64_t now_ms) const {
  const State& state = *state_;
  Explanation out;
  const auto failed = [&out](DropReason reason) {
    out.error = reason;
    return out;
  };
  if (!state.endpoints.exists(endpoint)) return failed(DropReason::unknown_endpoint);
  wire::InnerPacket inner;
  const wire::ParseError error = wire::parse_inner(packet, length, &inner);
  if (!error.ok()) return failed(error.reason);

  const uint16_t scope = state.scope_of(endpoint);
  const bool quoted = (inner.flags & wire::kIcmpError) != 0;
  wire::InnerPacket keyed = inner;
  if (quoted && !wire::parse_icmp_quote(packet, inner, &keyed).ok()) {
    return failed(DropReason::icmp_bad_quote);
  }
  if (state.config.stickiness == flow::Stickiness::five_tuple &&
      (keyed.flags & wire::kLaterFragment) != 0) {
    state.fragments->find(&keyed, scope, static_cast<uint32_t>(now_ms));
  }
  out.zone = state.endpoints.at(endpoint).zone;
  const auto with_key = [&](auto key) {
    out.forward = flow::make_key(keyed, state.config.stickiness, scope, &key);
    out.hash = flow::hash_key(state.config.hash_key, key);
    out.row = state.table->row(out.hash);
    out.chosen = state.table->choose(out.zone, out.hash);
    describe_key(key, out);
    explain_flow(state, inner, quoted, key, now_ms, out);
  };
  if (keyed.version == 4) {
    with_key(flow::FlowKey4{});
  } else {
    with_key(flow::FlowKey6{});
  }
  return out;
}

}  // namespace gwlb::gateway
