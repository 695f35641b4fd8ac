#include "node/appliance_devices_wrap.h"

#include <utility>

#include "node/appliance_engine_wrap.h"
#include "node/configs.h"
#include "node/lent_memory.h"
#include "node/off_thread.h"
#include "node/values.h"

namespace gwlb::node {
namespace {

using engine::ApplianceDevices;
using Names = engine::ApplianceEngine::DeviceNames;

constexpr uint32_t kEndpointsMax = 4096;

bool read_endpoints(const Fields& fields, std::vector<uint64_t>* out) {
  napi_value array;
  uint32_t length;
  if (!fields.array("endpoints", kEndpointsMax, &array, &length)) return false;
  out->resize(length);
  for (uint32_t i = 0; i < length; ++i) {
    napi_value id;
    if (napi_get_element(fields.env(), array, i, &id) != napi_ok ||
        !read_bigint(fields.env(), id, fields.path("endpoints"), &(*out)[i])) {
      return false;
    }
  }
  return true;
}

bool read_devices_config(napi_env env, napi_value value, engine::ApplianceDevicesConfig* out) {
  constexpr uint64_t kIdleMax = (uint64_t{1} << 31) - 1;
  Fields fields;
  appliance::ReturnLimits& limits = out->limits;
  return Fields::open(env, value, "devices", &fields) &&
         fields.number("devices", 1, ApplianceDevices::kDevicesMax, &out->devices) &&
         fields.boolean("perEndpoint", &out->per_endpoint) &&
         fields.boolean("anyEndpoint", &out->any_endpoint) &&
         read_endpoints(fields, &out->endpoints) && fields.boolean("offloads", &out->offload) &&
         fields.number("flowsIpv4", base::kFlowsMin, base::kFlowsMax, &limits.flows_ipv4) &&
         fields.number("flowsIpv6", base::kFlowsMin, base::kFlowsMax, &limits.flows_ipv6) &&
         fields.number("tcpIdleMs", 1, kIdleMax, &limits.tcp_idle_ms) &&
         fields.number("otherIdleMs", 1, kIdleMax, &limits.other_idle_ms);
}

bool read_device_number(const Napi::CallbackInfo& info, uint32_t* out) {
  return read_number(info.Env(), info[0], "number", 0, ApplianceDevices::kDevicesMax - 1, out);
}

// The work has the engine's memory alone: it outlives the object.
template <class Call>
napi_value slowly(const Napi::CallbackInfo& info, const ApplianceEngine& self, Call call,
                  Done done = nullptr) {
  return off_thread(
      info.Env(), info.This(),
      [memory = self.memory, call = std::move(call)] { return call(*memory->engine); },
      std::move(done));
}

napi_value names_value(napi_env env, const Names& names) {
  ObjectBuilder object(env);
  object.text("name", names.in).number("ifindex", names.in_ifindex);
  if (names.out.empty()) {
    object.value("out", null_value(env)).value("outIfindex", null_value(env));
  } else {
    object.text("out", names.out).number("outIfindex", names.out_ifindex);
  }
  return object.finish();
}

napi_value attach_devices(const Napi::CallbackInfo& info, ApplianceEngine& self) {
  engine::ApplianceDevicesConfig config;
  if (!read_devices_config(info.Env(), info[0], &config)) return nullptr;
  return slowly(info, self, [config](engine::ApplianceEngine& native) {
    return native.attach_devices(config);
  });
}

napi_value detach_devices(const Napi::CallbackInfo& info, ApplianceEngine& self) {
  return slowly(info, self, [](engine::ApplianceEngine& native) {
    native.detach_devices();
    return io::OsError{};
  });
}

napi_value add_device(const Napi::CallbackInfo& info, ApplianceEngine& self) {
  uint32_t number;
  io::TunConfig in, out;
  const bool pair = !is_nullish(info.Env(), info[2]);
  if (!read_device_number(info, &number) || !read_tun(info.Env(), info[1], &in) ||
      (pair && !read_tun(info.Env(), info[2], &out))) {
    return nullptr;
  }
  auto names = std::make_shared<Names>();
  return slowly(
      info, self,
      [=](engine::ApplianceEngine& native) {
        return native.add_device(number, in, pair ? &out : nullptr, names.get());
      },
      [names](napi_env env, const io::OsError&) { return names_value(env, *names); });
}

napi_value restore_device(const Napi::CallbackInfo& info, ApplianceEngine& self) {
  uint32_t number;
  if (!read_device_number(info, &number)) return nullptr;
  auto names = std::make_shared<Names>();
  return slowly(
      info, self,
      [=](engine::ApplianceEngine& native) { return native.restore_device(number, names.get()); },
      [names](napi_env env, const io::OsError&) { return names_value(env, *names); });
}

napi_value look_at_devices(const Napi::CallbackInfo& info, ApplianceEngine& self) {
  auto states = std::make_shared<std::vector<engine::DeviceState>>();
  return slowly(
      info, self,
      [states](engine::ApplianceEngine& native) {
        *states = native.look_at_devices();
        return io::OsError{};
      },
      [states](napi_env env, const io::OsError&) { return device_states_value(env, *states); });
}

napi_value endpoints_from(const Napi::CallbackInfo& info, ApplianceEngine& self) {
  uint32_t number;
  if (!read_number(info.Env(), info[0], "number", 0, ApplianceDevices::kDevicesMax, &number)) {
    return nullptr;
  }
  std::vector<napi_value> out;
  for (const uint64_t id : self.memory->engine->endpoints_from(number)) {
    out.push_back(bigint_value(info.Env(), id));
  }
  return array_value(info.Env(), out);
}

// Of one device; without a number, of packets that have none.
napi_value device_counters(const Napi::CallbackInfo& info, ApplianceEngine& self) {
  const napi_env env = info.Env();
  uint32_t number = 0;
  const bool one = !is_nullish(env, info[0]);
  if (one && !read_device_number(info, &number)) return nullptr;
  engine::ApplianceEngine& native = *self.memory->engine;
  const std::shared_ptr<uint64_t[]> words =
      one ? native.device_counters(number) : native.deviceless_counters();
  if (words == nullptr) return null_value(env);
  constexpr size_t kWords = appliance::DeviceCounters::kWords;
  return typed_array(env, napi_biguint64_array, kWords,
                     external_buffer(env, words.get(), kWords * sizeof(uint64_t), words));
}

napi_value device_flows(const Napi::CallbackInfo& info, ApplianceEngine& self) {
  const appliance::ReturnHeaders::Flows flows = self.memory->engine->device_flows();
  ObjectBuilder out(info.Env());
  return out.number("ipv4", flows.ipv4).number("ipv6", flows.ipv6).finish();
}

}  // namespace

std::vector<napi_property_descriptor> appliance_device_methods() {
  return {
      method<ApplianceEngine, attach_devices>("attachDevices"),
      method<ApplianceEngine, detach_devices>("detachDevices"),
      method<ApplianceEngine, add_device>("addDevice"),
      method<ApplianceEngine, restore_device>("restoreDevice"),
      method<ApplianceEngine, look_at_devices>("lookAtDevices"),
      method<ApplianceEngine, endpoints_from>("endpointsFrom"),
      method<ApplianceEngine, device_counters>("deviceCounters"),
      method<ApplianceEngine, device_flows>("deviceFlows"),
  };
}

}  // namespace gwlb::node
