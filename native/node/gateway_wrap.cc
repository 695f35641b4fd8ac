// The gateway core without sockets, for embedders.
#include <algorithm>
#include <cstring>

#include "node/addon.h"
#include "node/batch_wrap.h"
#include "node/gateway_control.h"

namespace gwlb::node {
namespace {

struct Gateway {
  static constexpr ClassId kClass = {"Gateway", 0x1d7f42a9c6e05b83};

  Gateway(napi_env env, std::unique_ptr<gateway::Gateway> core) : env(env), core(std::move(core)) {
    // So that the collector knows what letting go of this object frees.
    bytes = static_cast<int64_t>(this->core->memory_bytes());
    int64_t total;
    napi_adjust_external_memory(env, bytes, &total);
  }
  ~Gateway() { release(); }

  // Frees the core: its memory shall not wait for the collector.
  void release() {
    if (core == nullptr) return;
    core.reset();
    targets = {};
    int64_t total;
    napi_adjust_external_memory(env, -bytes, &total);
  }

  bool bind(napi_env env, napi_value object);

  napi_env env;
  int64_t bytes;
  std::unique_ptr<gateway::Gateway> core;
  Targets targets;
  bool cuts = false;  // some endpoint's packets are to be cut
};

// After the arguments have been read: a getter among them may have released it.
bool alive(const Napi::CallbackInfo& info, const Gateway& self) {
  if (self.core != nullptr) return true;
  napi_throw_error(info.Env(), "ERR_STOPPED", "the gateway was released");
  return false;
}

std::unique_ptr<Gateway> construct(const Napi::CallbackInfo& info) {
  const napi_env env = info.Env();
  Fields fields;
  gateway::GatewayConfig config;
  if (!Fields::open(env, info[0], "config", &fields) || !read_gateway_config(fields, &config)) {
    return nullptr;
  }
  auto core = gateway::Gateway::create(config);
  if (core == nullptr) {
    throw_out_of_memory(env, "flow tables of " + std::to_string(config.flows_ipv4) + " and " +
                                 std::to_string(config.flows_ipv6) + " flows");
    return nullptr;
  }
  const napi_value counters = counters_value(env, core->counters());
  if (counters == nullptr) return nullptr;
  ObjectBuilder properties(env);
  if (!properties.value("counters", counters).define_on(info.This())) return nullptr;
  return std::make_unique<Gateway>(env, std::move(core));
}

napi_value configure(const Napi::CallbackInfo& info, Gateway& self) {
  Configuration wanted;
  if (!read_configuration(info, &wanted) || !alive(info, self)) return nullptr;
  self.core->configure(wanted.live);
  if (wanted.targets.table != nullptr) {
    self.core->set_targets(wanted.targets.table);
    self.targets = std::move(wanted.targets);
  }
  return nullptr;
}

napi_value set_endpoint(const Napi::CallbackInfo& info, Gateway& self) {
  uint16_t index;
  gateway::EndpointSpec endpoint;
  Fields fields;
  if (read_endpoint_index(info.Env(), info[0], &index) &&
      read_endpoint(info.Env(), info[1], gateway::EndpointKind::batch, &endpoint) &&
      Fields::open(info.Env(), info[1], "endpoint", &fields) &&
      fields.boolean("cuts", &endpoint.cuts) && alive(info, self)) {
    self.cuts |= endpoint.cuts;
    self.core->set_endpoint(index, endpoint);
  }
  return nullptr;
}

napi_value remove_endpoint(const Napi::CallbackInfo& info, Gateway& self) {
  uint16_t index;
  if (read_endpoint_index(info.Env(), info[0], &index) && alive(info, self)) {
    self.core->remove_endpoint(index);
  }
  return nullptr;
}

napi_value set_cookie_key(const Napi::CallbackInfo& info, Gateway& self) {
  CookieKey key;
  if (read_cookie_key(info, &key) && alive(info, self)) {
    self.core->set_cookie_key(key.key, key.now_ms, key.overlap_ms);
  }
  return nullptr;
}

napi_value preview_flows(const Napi::CallbackInfo& info, Gateway& self) {
  return preview_value(info, [&](const select::TargetTable& table, uint32_t positions,
                                 uint32_t* cursor, std::vector<gateway::FlowMove>* out) {
    if (!alive(info, self)) return false;
    self.core->preview(table, positions, cursor, out);
    return true;
  });
}

// Endpoint of all packets of a batch, or kNoEndpoint where the descriptors say it.
bool read_endpoint_of_all(const Napi::CallbackInfo& info, size_t at, uint16_t* out) {
  uint32_t index;
  if (!read_number(info.Env(), info[at], "endpoint", 0, base::kNoEndpoint, &index)) return false;
  if (index >= base::kEndpointsMax && index != base::kNoEndpoint) {
    throw_range_error(info.Env(), "endpoint: expected an index below " +
                                      std::to_string(base::kEndpointsMax) + " or " +
                                      std::to_string(base::kNoEndpoint) + ", received " +
                                      std::to_string(index));
    return false;
  }
  *out = static_cast<uint16_t>(index);
  return true;
}

bool read_time(const Napi::CallbackInfo& info, size_t at, uint64_t* out) {
  return read_integer(info.Env(), info[at], "nowMs", 0, kIntegerMax, out);
}

// JavaScript has packets as a whole: it does not cut them.
void make_whole(const Gateway& self, batch::PacketBatch& batch) {
  if (!self.cuts) return;
  for (uint32_t i = 0; i < batch.count; ++i) batch.make_ordinary(i);
}

napi_value to_targets(const Napi::CallbackInfo& info, Gateway& self) {
  batch::PacketBatch* batch;
  uint16_t endpoint;
  uint64_t now_ms;
  if (!read_endpoint_of_all(info, 2, &endpoint) || !read_time(info, 3, &now_ms) ||
      !read_batch(info, 0, &batch) || !alive(info, self)) {
    return nullptr;
  }
  if (endpoint != base::kNoEndpoint) std::fill_n(batch->endpoint, batch->count, endpoint);
  self.core->to_targets(*batch, now_ms);
  make_whole(self, *batch);
  return nullptr;
}

napi_value from_targets(const Napi::CallbackInfo& info, Gateway& self) {
  batch::PacketBatch* batch;
  uint64_t now_ms;
  if (read_time(info, 2, &now_ms) && read_batch(info, 0, &batch) && alive(info, self)) {
    self.core->from_targets(*batch, now_ms);
    make_whole(self, *batch);
  }
  return nullptr;
}

napi_value take_held(const Napi::CallbackInfo& info, Gateway& self) {
  batch::PacketBatch* batch;
  uint64_t now_ms;
  if (!read_time(info, 1, &now_ms) || !read_batch_number(info, 0, &batch) || !alive(info, self)) {
    return nullptr;
  }
  batch->count = 0;
  return number_value(info.Env(), self.core->take_held(*batch, now_ms));
}

napi_value sweep(const Napi::CallbackInfo& info, Gateway& self) {
  uint64_t now_ms;
  uint32_t positions;
  if (!read_integer(info.Env(), info[0], "nowMs", 0, kIntegerMax, &now_ms) ||
      !read_number(info.Env(), info[1], "positions", 0, 0xffffffff, &positions) ||
      !alive(info, self)) {
    return nullptr;
  }
  return number_value(info.Env(), self.core->sweep(now_ms, positions));
}

napi_value explain(const Napi::CallbackInfo& info, Gateway& self) {
  Bytes packet;
  uint16_t endpoint;
  uint64_t now_ms;
  if (!read_endpoint_index(info.Env(), info[1], &endpoint) ||
      !read_integer(info.Env(), info[2], "nowMs", 0, kIntegerMax, &now_ms) ||
      !read_packet(info.Env(), info[0], "packet", &packet) || !alive(info, self)) {
    return nullptr;
  }
  const auto length = static_cast<uint32_t>(packet.size);
  return explanation_value(info.Env(), self.core->explain(packet.data, length, endpoint, now_ms),
                           self.targets);
}

// Nothing is left of one that was released.
napi_value drain_events(const Napi::CallbackInfo& info, Gateway& self) {
  return events_value(info.Env(), info[0], [&self](gateway::FlowEvent* out, uint32_t max) {
    return self.core == nullptr ? 0 : self.core->drain_events(out, max);
  });
}

napi_value discard_events(const Napi::CallbackInfo&, Gateway& self) {
  if (self.core != nullptr) self.core->discard_events();
  return nullptr;
}

napi_value end_flows(const Napi::CallbackInfo& info, Gateway& self) {
  return end_flows_value(
      info, [&](uint32_t positions, uint32_t* cursor, std::vector<gateway::FlowEvent>* out) {
        if (self.core == nullptr) {
          *cursor = 0;
        } else {
          self.core->end_flows(self.core->now_ms(), positions, cursor, out);
        }
      });
}

// Events as they lie in memory: objects cost ten times as much.
napi_value read_events(const Napi::CallbackInfo& info, Gateway& self) {
  Bytes out;
  if (!read_bytes(info.Env(), info[0], "out", &out) || !alive(info, self)) return nullptr;
  constexpr uint32_t kAtOnce = 64;
  gateway::FlowEvent events[kAtOnce];
  const auto room = static_cast<uint32_t>(std::min<size_t>(out.size / sizeof events[0], kAtOnce));
  const uint32_t count = self.core->drain_events(events, room);
  if (count != 0) std::memcpy(out.data, events, count * sizeof events[0]);
  return number_value(info.Env(), count);
}

// The key of a packet's flow, as an event lies in memory. What it is a tuple of, or 0.
napi_value describe(const Napi::CallbackInfo& info, Gateway& self) {
  const napi_env env = info.Env();
  Bytes packet, out;
  uint16_t endpoint;
  uint64_t now_ms;
  if (!read_endpoint_index(env, info[1], &endpoint) ||
      !read_integer(env, info[2], "nowMs", 0, kIntegerMax, &now_ms) ||
      !read_packet(env, info[0], "packet", &packet) || !read_bytes(env, info[3], "out", &out) ||
      !alive(info, self)) {
    return nullptr;
  }
  gateway::FlowEvent event;
  if (out.size < sizeof event) {
    throw_range_error(env, "out: expected at least " + std::to_string(sizeof event) +
                               " bytes, received " + std::to_string(out.size));
    return nullptr;
  }
  uint8_t kind = 0;
  const auto length = static_cast<uint32_t>(packet.size);
  if (self.core->describe(packet.data, length, endpoint, now_ms, &event, &kind)) {
    std::memcpy(out.data, &event, sizeof event);
  }
  return number_value(env, kind);
}

napi_value flows(const Napi::CallbackInfo& info, Gateway& self) {
  return number_value(info.Env(), self.core == nullptr ? 0 : self.core->flows());
}

napi_value memory_bytes(const Napi::CallbackInfo& info, Gateway& self) {
  const size_t bytes = self.core == nullptr ? 0 : self.core->memory_bytes();
  return number_value(info.Env(), static_cast<double>(bytes));
}

napi_value release(const Napi::CallbackInfo&, Gateway& self) {
  self.release();
  return nullptr;
}

bool Gateway::bind(napi_env env, napi_value object) {
  return bound<Gateway, to_targets>(env, object, "toTargets", this) &&
         bound<Gateway, from_targets>(env, object, "fromTargets", this) &&
         bound<Gateway, take_held>(env, object, "takeHeld", this);
}

}  // namespace

napi_value gateway_class(napi_env env) {
  return define_class<Gateway, construct>(env,
                                          {
                                              method<Gateway, configure>("configure"),
                                              method<Gateway, set_endpoint>("setEndpoint"),
                                              method<Gateway, remove_endpoint>("removeEndpoint"),
                                              method<Gateway, set_cookie_key>("setCookieKey"),
                                              method<Gateway, preview_flows>("previewFlows"),
                                              method<Gateway, sweep>("sweep"),
                                              method<Gateway, explain>("explain"),
                                              method<Gateway, drain_events>("drainEvents"),
                                              method<Gateway, discard_events>("discardEvents"),
                                              method<Gateway, end_flows>("endFlows"),
                                              method<Gateway, read_events>("readEvents"),
                                              method<Gateway, describe>("describe"),
                                              method<Gateway, release>("release"),
                                              method<Gateway, flows>("flows"),
                                              method<Gateway, memory_bytes>("memoryBytes"),
                                          });
}

}  // namespace gwlb::node
