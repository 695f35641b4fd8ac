// What is told and counted of a flow's life.
#include "gateway/state.h"

namespace gwlb::gateway {

template <class Key>
void emit(Gateway::State& state, FlowEventType type, FlowCause cause, const Key& key,
          uint16_t endpoint, uint32_t cookie, uint16_t previous, const FlowCounters* counted) {
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
    const uint64_t age_ms = (state.now_ms - counted->opened_ms()) & FlowCounters::kClock;
    event.opened_ms = state.now_ms - age_ms;
    event.packets_to = counted->packets_to;
    event.bytes_to = counted->bytes_to;
    event.packets_from = counted->packets_from;
    event.bytes_from = counted->bytes_from;
  }
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
