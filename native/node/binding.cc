// The module: src/native/binding.ts says what it exports.
#include <cstddef>

#include "appliance/counters.h"
#include "base/drop_reason.h"
#include "base/limits.h"
#include "gateway/counters.h"
#include "node/addon.h"

#ifndef GWLB_VERSION
#error "GWLB_VERSION: the version of the package, from binding.gyp"
#endif

namespace gwlb::node {
namespace {

napi_value limits_value(napi_env env) {
  ObjectBuilder out(env);
  return out.number("batchPackets", base::kBatchPacketsMax)
      .number("headroom", base::kHeadroom)
      .number("slotStrideStandard", base::kSlotStrideStandard)
      .number("slotStrideJumbo", base::kSlotStrideJumbo)
      .number("innerBytesMin", base::kInnerBytesMin)
      .number("innerBytesMax", base::kInnerBytesMax)
      .number("targets", base::kTargetsMax)
      .number("endpoints", base::kEndpointsMax)
      .number("zones", base::kZonesMax)
      .number("weight", base::kUserWeightMax)
      .number("weightUnit", base::kWeightUnit)
      .number("workers", base::kWorkersMax)
      .number("sourcePorts", base::kSourcePortsMax)
      .number("returnPorts", base::kReturnPortsMax)
      .number("generations", base::kGenerations)
      .number("flowsMin", base::kFlowsMin)
      .number("flowsMax", base::kFlowsMax)
      .finish();
}

napi_value named_text(napi_env env, const char* name, const char* sentence) {
  ObjectBuilder out(env);
  return out.text("name", name).text("sentence", sentence).finish();
}

napi_value drop_reasons_value(napi_env env) {
  std::vector<napi_value> out;
  for (const auto& text : base::kDropReasonTexts) {
    out.push_back(named_text(env, text.name, text.sentence));
  }
  return array_value(env, out);
}

template <size_t kCount>
napi_value names_value(napi_env env, const char* const (&names)[kCount]) {
  std::vector<napi_value> out;
  for (const char* name : names) out.push_back(text_value(env, name));
  return array_value(env, out);
}

// By number.
napi_value all_names_value(napi_env env) {
  ObjectBuilder out(env);
  return out.value("verdicts", names_value(env, batch::kVerdictNames))
      .value("flowEventTypes", names_value(env, gateway::kFlowEventTypeNames))
      .value("flowCauses", names_value(env, gateway::kFlowCauseNames))
      .value("rules", names_value(env, gateway::kRuleNames))
      .value("fates", names_value(env, gateway::kFateNames))
      .value("idleClasses", names_value(env, gateway::kIdleClassNames))
      .value("midStream", names_value(env, gateway::kMidStreamNames))
      .value("tunLifetimes", names_value(env, io::kTunLifetimeNames))
      .finish();
}

// Where the parts of a flow event are that JavaScript reads in memory.
napi_value flow_event_layout_value(napi_env env) {
  using gateway::FlowEvent;
  ObjectBuilder out(env);
  return out.number("bytes", sizeof(FlowEvent))
      .number("type", offsetof(FlowEvent, type))
      .number("version", offsetof(FlowEvent, version))
      .number("protocol", offsetof(FlowEvent, protocol))
      .number("endpoint", offsetof(FlowEvent, endpoint))
      .number("ports", offsetof(FlowEvent, low_port))
      .number("cookie", offsetof(FlowEvent, cookie))
      .number("low", offsetof(FlowEvent, low))
      .number("high", offsetof(FlowEvent, high))
      .finish();
}

// The same of a packet that was recorded.
napi_value recorded_layout_value(napi_env env) {
  using engine::RecordedPacket;
  ObjectBuilder out(env);
  return out.number("bytes", sizeof(RecordedPacket))
      .number("nowMs", offsetof(RecordedPacket, time_ms))
      .number("length", offsetof(RecordedPacket, length))
      .number("endpoint", offsetof(RecordedPacket, endpoint))
      .number("captured", offsetof(RecordedPacket, captured))
      .number("packet", offsetof(RecordedPacket, bytes))
      .finish();
}

napi_value counter_layout_value(napi_env env) {
#define GWLB_X(name, sentence) named_text(env, #name, sentence),
  const napi_value gateway = array_value(env, {GWLB_GATEWAY_COUNTERS(GWLB_X)});
  const napi_value target = array_value(env, {GWLB_TARGET_COUNTERS(GWLB_X)});
  const napi_value endpoint = array_value(env, {GWLB_ENDPOINT_COUNTERS(GWLB_X)});
  const napi_value appliance = array_value(env, {GWLB_APPLIANCE_COUNTERS(GWLB_X)});
  const napi_value device = array_value(env, {GWLB_DEVICE_COUNTERS(GWLB_X)});
#undef GWLB_X
  ObjectBuilder out(env);
  return out.value("gateway", gateway)
      .value("target", target)
      .value("endpoint", endpoint)
      .value("appliance", appliance)
      .value("device", device)
      .number("dropsAt", gateway::Counters::kDropsAt)
      .number("targetsAt", gateway::Counters::kTargetsAt)
      .number("endpointsAt", gateway::Counters::kEndpointsAt)
      .number("probesAt", gateway::Counters::kProbesAt)
      .number("applianceDropsAt", appliance::Counters::kDropsAt)
      .number("deviceDropsAt", appliance::DeviceCounters::kDropsAt)
      .finish();
}

napi_value init(napi_env env, napi_value exports) {
  auto* data = new AddonData();
  Napi::Env(env).SetInstanceData(data);
  const napi_value batches = appliance_batch_class(env);
  if (batches == nullptr) return nullptr;
  data->appliance_batch = Napi::Persistent(Napi::Function(env, batches));
  const napi_value gateways = gateway_engine_class(env);
  const napi_value appliances = appliance_engine_class(env);
  const napi_value tables = target_table_class(env);
  if (gateways == nullptr || appliances == nullptr || tables == nullptr) return nullptr;
  data->gateway_engine = Napi::Persistent(Napi::Function(env, gateways));
  data->appliance_engine = Napi::Persistent(Napi::Function(env, appliances));
  data->target_table = Napi::Persistent(Napi::Function(env, tables));

  ObjectBuilder properties(env);
  properties.text("version", GWLB_VERSION)
      .value("limits", limits_value(env))
      .value("dropReasons", drop_reasons_value(env))
      .value("counterLayout", counter_layout_value(env))
      .value("names", all_names_value(env))
      .value("flowEventLayout", flow_event_layout_value(env))
      .value("recordedLayout", recorded_layout_value(env))
      .value("PacketBatch", packet_batch_class(env))
      .value("Gateway", gateway_class(env))
      .value("GatewayEngine", gateways)
      .value("ApplianceEngine", appliances)
      .value("FlowTable", flow_table_class(env))
      .value("TargetTable", tables)
      .value("CaptureReader", capture_reader_class(env));
  add_gateway_engine_function(env, properties);
  add_appliance_engine_function(env, properties);
  add_capture_functions(env, properties);
  add_captured_packet_functions(env, properties);
  add_codec_functions(env, properties);
  add_target_functions(env, properties);
  add_socket_functions(env, properties);
  add_network_functions(env, properties);
  add_privilege_functions(env, properties);
  add_filter_functions(env, properties);
  return properties.define_on(exports) ? exports : nullptr;
}

}  // namespace
}  // namespace gwlb::node

NAPI_MODULE_INIT() { return gwlb::node::init(env, exports); }
