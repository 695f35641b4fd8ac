// What the files of this folder give to each other: the parts of the module, and its state. There
// is one AddonData for each environment (main thread, worker thread); nothing here is static and
// mutable.
#pragma once

#include <napi.h>

#include <memory>

#include "engine/gateway_engine.h"
#include "node/appliance_batch_wrap.h"
#include "node/appliance_engine_wrap.h"
#include "node/args.h"
#include "node/batch_wrap.h"
#include "node/configs.h"
#include "node/lent_memory.h"
#include "node/system_error.h"
#include "node/values.h"

namespace gwlb::node {

struct AddonData {
  // Class of the appliance's batches, which only native code constructs: it leaves what is to be
  // wrapped here.
  Napi::FunctionReference appliance_batch;
  std::unique_ptr<ApplianceBatch> constructing;
  // The same of the engines and target tables that are made off the thread.
  Napi::FunctionReference gateway_engine;
  std::shared_ptr<engine::GatewayEngine> opened_gateway;
  Napi::FunctionReference target_table;
  Targets built_targets;
  Napi::FunctionReference appliance_engine;
  std::unique_ptr<ApplianceEngine> opened_appliance;
  std::shared_ptr<uint32_t[]> geneve_words;   // what decodeGeneve answers
  std::shared_ptr<uint32_t[]> located_words;  // what locatePacket answers
  std::shared_ptr<LentMemory> lent = std::make_shared<LentMemory>();
  std::shared_ptr<BatchRegistry> batches = std::make_shared<BatchRegistry>();
};

napi_value packet_batch_class(napi_env env);
napi_value gateway_class(napi_env env);
napi_value gateway_engine_class(napi_env env);
napi_value appliance_batch_class(napi_env env);
napi_value appliance_engine_class(napi_env env);
napi_value flow_table_class(napi_env env);
napi_value target_table_class(napi_env env);
napi_value capture_reader_class(napi_env env);

void add_gateway_engine_function(napi_env env, ObjectBuilder& exports);
void add_appliance_engine_function(napi_env env, ObjectBuilder& exports);
void add_capture_functions(napi_env env, ObjectBuilder& exports);
void add_captured_packet_functions(napi_env env, ObjectBuilder& exports);
void add_codec_functions(napi_env env, ObjectBuilder& exports);
void add_target_functions(napi_env env, ObjectBuilder& exports);
void add_socket_functions(napi_env env, ObjectBuilder& exports);
void add_privilege_functions(napi_env env, ObjectBuilder& exports);
void add_network_functions(napi_env env, ObjectBuilder& exports);
void add_filter_functions(napi_env env, ObjectBuilder& exports);

// A function that is no method. Null result: an exception is pending, or undefined.
using PlainFunction = napi_value (*)(const Napi::CallbackInfo& info);

template <PlainFunction kFunction>
napi_value plain_function(napi_env env, const char* name) {
  const auto call = [](napi_env env, napi_callback_info raw) -> napi_value {
    Napi::CallbackInfo info(env, raw);
    return kFunction(info);
  };
  napi_value out = nullptr;
  napi_create_function(env, name, NAPI_AUTO_LENGTH, call, nullptr, &out);
  return out;
}

}  // namespace gwlb::node
