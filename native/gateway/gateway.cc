// The gateway's construction and control. The packets' ways are in classify.cc, decide.cc and
// encapsulate.cc.
#include "gateway/gateway.h"

#include "base/assert.h"
#include "gateway/state.h"

namespace gwlb::gateway {

Gateway::Gateway(const GatewayConfig& config) : state_(new State(config)) {}
Gateway::~Gateway() = default;

std::unique_ptr<Gateway> Gateway::create(const GatewayConfig& config) {
  std::unique_ptr<Gateway> gateway(new Gateway(config));
  State& state = *gateway->state_;
  state.flows4 = flow::FlowTable<flow::FlowKey4>::create(config.flows_ipv4);
  state.flows6 = flow::FlowTable<flow::FlowKey6>::create(config.flows_ipv6);
  state.fragments =
      flow::FragmentTable::create(kFragmentTrains, kFragmentLifetimeMs, config.hash_key);
  if (!state.flows4 || !state.flows6 || !state.fragments) return nullptr;
  state.table = select::TargetTable::build({}, 1, false, 0);
  gateway->set_idle_timeouts(config.tcp_idle_ms, config.other_idle_ms);
  return gateway;
}

const GatewayConfig& Gateway::config() const { return state_->config; }
Counters& Gateway::counters() { return state_->counters; }

void Gateway::set_targets(std::shared_ptr<const select::TargetTable> table) {
  GWLB_ASSERT(table != nullptr);
  state_->table = std::move(table);
}

const select::TargetTable& Gateway::targets() const { return *state_->table; }

void Gateway::set_endpoint(uint16_t index, const EndpointSpec& endpoint) {
  GWLB_ASSERT(index < base::kEndpointsMax);
  state_->endpoints.set(index, endpoint);
}

void Gateway::remove_endpoint(uint16_t index) {
  GWLB_ASSERT(index < base::kEndpointsMax);
  state_->endpoints.remove(index);
}

const EndpointSpec& Gateway::endpoint(uint16_t index) const { return state_->endpoints.at(index); }

void Gateway::set_idle_timeouts(uint32_t tcp_ms, uint32_t other_ms) {
  State& state = *state_;
  state.config.tcp_idle_ms = tcp_ms;
  state.config.other_idle_ms = other_ms;
  const auto set = [](auto& flows, uint32_t tcp, uint32_t other) {
    flows.set_idle(kIdleTcp, tcp);
    flows.set_idle(kIdleOther, other);
    flows.set_idle(kIdleClosing, kClosingMs);
    flows.set_idle(kIdleReset, kResetMs);
  };
  set(*state.flows4, tcp_ms, other_ms);
  set(*state.flows6, tcp_ms, other_ms);
}

void Gateway::set_fail_open(bool fail_open) { state_->config.fail_open = fail_open; }

void Gateway::to_targets(batch::PacketBatch& batch, uint64_t now_ms) {
  state_->advance(now_ms);
  classify_packets(*state_, batch);
  decide(*state_, batch);
}

void Gateway::from_targets(batch::PacketBatch& batch, uint64_t now_ms) {
  state_->advance(now_ms);
  classify_datagrams(*state_, batch);
  decide(*state_, batch);
}

bool Gateway::leaves_to_target(uint32_t i) const {
  return state_->scratch.role[i] == Role::ingress;
}

uint32_t Gateway::drain_events(FlowEvent* out, uint32_t max) {
  return state_->events.drain(out, max);
}

uint32_t Gateway::flows() const { return state_->flows4->size() + state_->flows6->size(); }

size_t Gateway::memory_bytes() const {
  return state_->flows4->memory_bytes() + state_->flows6->memory_bytes();
}

}  // namespace gwlb::gateway
