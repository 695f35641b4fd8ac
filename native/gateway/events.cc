// What is told and counted of a flow's life.
#include "gateway/keys.h"

namespace gwlb::gateway {

namespace {

template <class Key>
FlowEvent event_of(uint64_t now_ms, FlowEventType type, FlowCause cause, const Key& key,
                   uint16_t endpoint, uint32_t cookie, uint16_t previous,
                   const FlowCounters* counted) {
  FlowEvent event{};
  event.now_ms = now_ms;
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
    const uint64_t age_ms = (now_ms - counted->opened_ms()) & FlowCounters::kClock;
    event.opened_ms = now_ms - age_ms;
    event.packets_to = counted->packets_to;
    event.bytes_to = counted->bytes_to;
    event.packets_from = counted->packets_from;
    event.bytes_from = counted->bytes_from;
  }
  return event;
}

template <class Key>
void end_family(const Flows<Key>& flows, uint64_t now_ms, uint32_t positions, uint32_t* cursor,
                std::vector<FlowEvent>* out) {
  flows.table->walk(cursor, positions, [&](uint32_t index, const flow::FlowRecord<Key>& record) {
    out->push_back(event_of(now_ms, FlowEventType::ended, FlowCause::stopped, record.key,
                            record.key.scope, record.state.cookie, base::kNoTarget,
                            flows.counters(index)));
  });
}

}  // namespace

void Gateway::end_flows(uint64_t now_ms, uint32_t positions, uint32_t* cursor,
                        std::vector<FlowEvent>* out) const {
  const uint32_t end4 = state_->flows4.table->index_end();
  if (*cursor < end4) {
    end_family(state_->flows4, now_ms, positions, cursor, out);
    if (*cursor == 0) *cursor = end4;
  } else {
    uint32_t at = *cursor - end4;
    end_family(state_->flows6, now_ms, positions, &at, out);
    *cursor = at == 0 ? 0 : end4 + at;
  }
}

bool Gateway::describe(const uint8_t* packet, uint32_t length, uint16_t endpoint, uint64_t now_ms,
                       FlowEvent* out, uint8_t* kind) const {
  const State& state = *state_;
  if (!state.endpoints.exists(endpoint)) return false;
  const uint16_t scope = state.scope_of(endpoint);
  KeyedPacket read;
  if (read_keyed(state, packet, length, scope, now_ms, &read) != base::DropReason::none) {
    return false;
  }
  with_key_of(state, read, scope, [&](const auto& key, bool) {
    *out = event_of(now_ms, FlowEventType::lives, FlowCause::none, key, endpoint, 0,
                    base::kNoTarget, nullptr);
    *kind = key.kind;
  });
  return true;
}

template <class Key>
void emit(Gateway::State& state, FlowEventType type, FlowCause cause, const Key& key,
          uint16_t endpoint, uint32_t cookie, uint16_t previous, const FlowCounters* counted) {
  if (!state.events.enabled()) return;
  const FlowEvent event =
      event_of(state.now_ms, type, cause, key, endpoint, cookie, previous, counted);
  if (!state.events.push(event)) state.counters.add(GatewayCounter::events_lost);
}

template <class Key>
void end_flow(Gateway::State& state, const Key& key, uint32_t index, const flow::FlowState& flow,
              FlowCause cause) {
  const uint16_t slot = cookie_slot(flow.cookie);
  state.counters.add(GatewayCounter::flows_ended);
  state.counters.add(slot, TargetCounter::flows_active, ~uint64_t{0});
  emit(state, FlowEventType::ended, cause, key, key.scope, flow.cookie, base::kNoTarget,
       Family<Key>::of(state).counters(index));
}

void count_active(Gateway::State& state) {
  state.counters.set(GatewayCounter::flows_active_ipv4, state.flows4.table->size());
  state.counters.set(GatewayCounter::flows_active_ipv6, state.flows6.table->size());
}

#define GWLB_FOR_KEY(Key)                                                                    \
  template void emit<Key>(Gateway::State&, FlowEventType, FlowCause, const Key&, uint16_t,   \
                          uint32_t, uint16_t, const FlowCounters*);                          \
  template void end_flow<Key>(Gateway::State&, const Key&, uint32_t, const flow::FlowState&, \
                              FlowCause);
GWLB_FOR_KEY(flow::FlowKey4)
GWLB_FOR_KEY(flow::FlowKey6)
#undef GWLB_FOR_KEY

}  // namespace gwlb::gateway
