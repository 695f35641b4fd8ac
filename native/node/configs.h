// Reads the objects of src/native/binding.ts into what the core takes. Every number is checked
// against the range in which the core is safe; each reader returns false with an exception pending.
#pragma once

#include <napi.h>

#include <memory>
#include <vector>

#include "appliance/appliance.h"
#include "engine/appliance_engine.h"
#include "engine/device_state.h"
#include "engine/gateway_engine.h"
#include "gateway/gateway.h"
#include "io/tun.h"
#include "io/udp.h"
#include "node/args.h"
#include "select/target_table.h"

namespace gwlb::node {

// 16 bytes, little-endian words.
base::HashKey hash_key_from(const uint8_t (&bytes)[16]);

bool read_live_config(napi_env env, napi_value value, gateway::LiveConfig* out);
bool read_gateway_config(const Fields& fields, gateway::GatewayConfig* out);
bool read_udp_config(const Fields& fields, io::UdpConfig* out);
bool read_gateway_engine_config(napi_env env, napi_value value, engine::GatewayEngineConfig* out);
bool read_appliance_config(napi_env env, napi_value value, engine::ApplianceEngineConfig* out);
// A Uint32Array as appliance/filter.h says.
bool read_filter(napi_env env, napi_value value, appliance::Filter* out);

// `kind` is what an endpoint without `geneve` is.
bool read_endpoint(napi_env env, napi_value value, gateway::EndpointKind kind,
                   gateway::EndpointSpec* out);
bool read_endpoint_index(napi_env env, napi_value value, uint16_t* out);
bool read_tun(napi_env env, napi_value value, io::TunConfig* out);
// [{ index, state }]
napi_value device_states_value(napi_env env, const std::vector<engine::DeviceState>& states);
bool read_stickiness(napi_env env, napi_value value, const Path& path, flow::Stickiness* out);

// What a table is built of.
struct TargetSpecs {
  std::vector<select::TargetSpec> targets;
  uint32_t zones = 0;
  bool cross_zone = false;
  uint64_t seed = 0;

  // Null where there is none of these; any thread may ask.
  std::shared_ptr<const select::TargetTable> build(const select::TargetTable* previous) const {
    return select::TargetTable::build(targets, zones, cross_zone, seed, previous);
  }
};
bool read_target_specs(napi_env env, napi_value value, TargetSpecs* out);

// A table, and what JavaScript said of it.
struct Targets {
  std::shared_ptr<const select::TargetTable> table;
  uint32_t zones = 0;
};

}  // namespace gwlb::node
