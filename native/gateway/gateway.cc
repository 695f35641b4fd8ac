// The gateway's construction and control. The packets' ways are in classify.cc, decide.cc and
// encapsulate.cc.
#include "gateway/gateway.h"

#include <algorithm>
#include <cstring>
#include <map>
#include <tuple>

#include "base/assert.h"
#include "gateway/rules.h"
#include "gateway/state.h"

namespace gwlb::gateway {

namespace {

using MoveCounts = std::map<std::tuple<uint16_t, uint16_t, Fate>, uint32_t>;

// The first fragment has come, or it has been waited for long enough: then the train is given up,
// or the fragment is taken for a copy, of the datagram that is complete.
bool may_go(Gateway::State& state, const FragmentHold::Packet& packet) {
  using Found = flow::FragmentTable::Found;
  wire::InnerPacket inner;
  const bool parsed = wire::parse_inner(packet.bytes, packet.length, &inner).ok();
  GWLB_ASSERT(parsed);
  const flow::FragmentKey train(inner, inner.fragment_id, state.scope_of(packet.endpoint));
  const auto name = state.fragments->name(train);
  const Found found =
      state.fragments->find(&inner, name, flow::FragmentTable::Pass::entering, state.now_ms);
  if (found != Found::unknown && found != Found::over) return true;
  if (state.now_ms - packet.held_ms < kHoldMs) return false;
  // It comes again at once, and is noted once more: that changes nothing.
  if (found == Found::unknown) state.fragments->give_up(inner, name, state.now_ms);
  return true;
}

// As rules.cc would.
template <class Key>
Fate fate_of(const Gateway::State& state, const flow::FlowRecord<Key>& record,
             const select::TargetTable& table, uint16_t* to) {
  const select::TargetSpec& target = table.target(cookie_slot(record.state.cookie));
  *to = target.slot;
  if (is_refused(record.key, record.state, target)) return Fate::refused;
  if (!pin_is_void(record.state, target)) return Fate::stays;
  // With one scope for all endpoints the next packet's endpoint is not known.
  const uint16_t zone = state.endpoints.exists(record.key.scope)
                            ? state.endpoints.at(record.key.scope).zone
                            : target.zone;
  *to = table.choose(zone, flow::hash_key(state.config.hash_key, record.key));
  return *to == base::kNoTarget ? Fate::no_target : Fate::moves;
}

template <class Key>
void preview_family(const Gateway::State& state, const flow::FlowTable<Key>& flows,
                    const select::TargetTable& table, uint32_t positions, uint32_t* cursor,
                    MoveCounts* counts) {
  flows.walk(cursor, positions, [&](uint32_t, const flow::FlowRecord<Key>& record) {
    uint16_t to;
    const Fate fate = fate_of(state, record, table, &to);
    ++(*counts)[{cookie_slot(record.state.cookie), to, fate}];
  });
}

}  // namespace

Gateway::Gateway(const GatewayConfig& config) : state_(new State(config)) {}
Gateway::~Gateway() = default;

std::unique_ptr<Gateway> Gateway::create(const GatewayConfig& config) {
  std::unique_ptr<Gateway> gateway(new Gateway(config));
  State& state = *gateway->state_;
  if (!state.flows4.create(config.flows_ipv4, config.flow_counters) ||
      !state.flows6.create(config.flows_ipv6, config.flow_counters)) {
    return nullptr;
  }
  state.fragments =
      flow::FragmentTable::create(kFragmentTrains, kFragmentLifetimeMs, config.hash_key);
  state.hold = FragmentHold::create();
  if (!state.fragments || !state.hold) return nullptr;
  state.table = select::TargetTable::build({}, 1, false, 0);
  state.set_idle_timeouts();
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

void Gateway::configure(const LiveConfig& live) {
  State& state = *state_;
  const LiveConfig before = state.config;
  static_cast<LiveConfig&>(state.config) = live;
  state.set_idle_timeouts();
  if (live.stickiness != before.stickiness) {
    state.key_rule = flow::KeyRule(live.stickiness);
    state.usual_way = state.takes_usual_way();
    state.note_untracked();
  }
  if (live.report_interval_ms != before.report_interval_ms) state.reported_ms = state.now_ms;
}

void Gateway::set_cookie_key(const base::HashKey& key, uint64_t now_ms, uint32_t overlap_ms) {
  state_->previous_cookie_key = state_->config.cookie_key;
  state_->previous_cookie_key_until_ms = now_ms + overlap_ms;
  state_->config.cookie_key = key;
}

void Gateway::to_targets(batch::PacketBatch& batch, uint64_t now_ms) {
  state_->now_ms = now_ms;
  if (batch.count == 0) return;
  state_->begin_packets();
  classify_packets(*state_, batch);
  decide(*state_, batch);
  state_->end_batch();
  if (!state_->config.counted_by_sender) count_sent(batch);
}

void Gateway::from_targets(batch::PacketBatch& batch, uint64_t now_ms) {
  state_->now_ms = now_ms;
  if (batch.count == 0) return;
  state_->begin_packets();
  classify_datagrams(*state_, batch);
  decide(*state_, batch);
  state_->end_batch();
  if (!state_->config.counted_by_sender) count_sent(batch);
}

uint16_t Gateway::endpoint_of_peer(const uint8_t* datagram, uint32_t length, uint32_t address,
                                   uint32_t* inner) const {
  const Endpoints& endpoints = state_->endpoints;
  wire::GeneveHeader header;
  if (!endpoints.is_peer(address) || !wire::parse_plain_header(datagram, length, &header).ok()) {
    return base::kNoEndpoint;
  }
  const uint16_t endpoint = endpoints.by_peer(address, header.vni);
  if (endpoint == base::kNoEndpoint) return endpoint;
  *inner = header.header_length();
  if (endpoints.at(endpoint).inner == InnerMode::ip) return endpoint;
  wire::EthernetFrame frame;
  if (!wire::parse_ethernet(datagram + *inner, length - *inner, &frame).ok()) {
    return base::kNoEndpoint;
  }
  *inner += frame.header_length;
  return endpoint;
}

bool Gateway::is_peer(uint32_t address) const { return state_->endpoints.is_peer(address); }

bool Gateway::holding() const { return state_->hold->size() != 0; }

uint32_t Gateway::take_held(batch::PacketBatch& batch, uint64_t now_ms) {
  State& state = *state_;
  state.now_ms = now_ms;
  batch.count = 0;
  for (uint32_t k = 0; k < state.hold->size() && batch.count < batch.capacity();) {
    const FragmentHold::Packet& packet = state.hold->at(k);
    if (!may_go(state, packet)) {
      ++k;
      continue;
    }
    if (packet.length > batch.slot_bytes()) {
      state.counters.drop(base::DropReason::receive_truncated);
      state.hold->remove(k);
      continue;
    }
    const uint32_t i = batch.count++;
    batch.reset(i, packet.length);
    std::memcpy(batch.packet(i), packet.bytes, packet.length);
    batch.endpoint[i] = packet.endpoint;
    batch.flags[i] = batch::kWasHeld;
    state.hold->remove(k);
  }
  state.counters.set(GatewayCounter::packets_waiting, state.hold->size());
  return batch.count;
}

void Gateway::preview(const select::TargetTable& table, uint32_t positions, uint32_t* cursor,
                      std::vector<FlowMove>* out) const {
  const State& state = *state_;
  MoveCounts counts;
  const uint32_t end4 = state.flows4.table->index_end();
  if (*cursor < end4) {
    preview_family(state, *state.flows4.table, table, positions, cursor, &counts);
    if (*cursor == 0) *cursor = end4;
  } else {
    uint32_t at = *cursor - end4;
    preview_family(state, *state.flows6.table, table, positions, &at, &counts);
    *cursor = at == 0 ? 0 : end4 + at;
  }
  for (const auto& [move, count] : counts) {
    out->push_back({std::get<0>(move), std::get<1>(move), std::get<2>(move), count});
  }
}

bool Gateway::leaves_to_target(uint32_t i) const {
  return state_->scratch.seen[i].role == Role::ingress;
}

uint32_t Gateway::drain_events(FlowEvent* out, uint32_t max) {
  return state_->events.drain(out, max);
}

void Gateway::discard_events() { state_->events.discard(); }

uint64_t Gateway::now_ms() const { return state_->now_ms; }

uint32_t Gateway::flows() const {
  return state_->flows4.table->size() + state_->flows6.table->size();
}

size_t Gateway::memory_bytes() const {
  return state_->flows4.memory_bytes() + state_->flows6.memory_bytes();
}

}  // namespace gwlb::gateway
