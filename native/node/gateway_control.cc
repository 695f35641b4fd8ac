#include "node/gateway_control.h"

#include <algorithm>

#include "node/addon.h"

namespace gwlb::node {
namespace {

constexpr size_t kRankedMax = 16;
constexpr uint32_t kEventsAtOnce = 128;
constexpr uint64_t kEventsMax = 1u << 20;

size_t address_bytes(uint8_t version) { return version == 4 ? 4 : 16; }

napi_value ranked_value(napi_env env, const gateway::Explanation& explanation,
                        const Targets& targets) {
  std::vector<napi_value> out;
  // Version 0: no row, since the packet has no key.
  if (targets.table != nullptr && explanation.version != 0 && explanation.zone < targets.zones) {
    for (const auto& ranked : targets.table->rank(explanation.zone, explanation.row)) {
      if (out.size() == kRankedMax) break;
      ObjectBuilder entry(env);
      out.push_back(entry.number("slot", ranked.slot).bigint("score", ranked.score).finish());
    }
  }
  return array_value(env, out);
}

napi_value event_value(napi_env env, const gateway::FlowEvent& event) {
  ObjectBuilder out(env);
  return out.number("nowMs", static_cast<double>(event.now_ms))
      .number("type", event.type)
      .number("end", event.end)
      .number("version", event.version)
      .number("protocol", event.protocol)
      .number("endpoint", event.endpoint)
      .number("target", event.target)
      .number("previous", event.previous)
      .number("lowPort", event.low_port)
      .number("highPort", event.high_port)
      .number("cookie", event.cookie)
      .bytes("low", event.low, address_bytes(event.version))
      .bytes("high", event.high, address_bytes(event.version))
      .finish();
}

}  // namespace

napi_value explanation_value(napi_env env, const gateway::Explanation& explanation,
                             const Targets& targets) {
  const auto error = static_cast<uint32_t>(explanation.error);
  const size_t bytes = explanation.version == 0 ? 0 : address_bytes(explanation.version);
  ObjectBuilder out(env);
  return out.text("error", base::kDropReasonTexts[error].name)
      .bigint("hash", explanation.hash)
      .number("row", explanation.row)
      .number("target", explanation.target)
      .number("chosen", explanation.chosen)
      .number("zone", explanation.zone)
      .boolean("pinned", explanation.pinned)
      .boolean("forward", explanation.forward)
      .number("cookie", explanation.cookie)
      .number("tcp", explanation.tcp)
      .number("idleLeftMs", explanation.idle_left_ms)
      .number("kind", explanation.kind)
      .bytes("low", explanation.low, bytes)
      .bytes("high", explanation.high, bytes)
      .number("lowPort", explanation.low_port)
      .number("highPort", explanation.high_port)
      .number("version", explanation.version)
      .number("protocol", explanation.protocol)
      .value("ranked", ranked_value(env, explanation, targets))
      .finish();
}

napi_value events_value(napi_env env, napi_value max, const DrainEvents& drain) {
  uint32_t left;
  if (!read_number(env, max, "max", 0, kEventsMax, &left)) return nullptr;
  napi_value out;
  if (napi_create_array(env, &out) != napi_ok) return nullptr;
  gateway::FlowEvent events[kEventsAtOnce];
  uint32_t total = 0;
  while (left > 0) {
    // A scope of its own, so that many events do not keep as many handles.
    Napi::HandleScope scope(env);
    const uint32_t wanted = std::min(left, kEventsAtOnce);
    const uint32_t got = drain(events, wanted);
    for (uint32_t i = 0; i < got; ++i) {
      const napi_value event = event_value(env, events[i]);
      if (event == nullptr || napi_set_element(env, out, total++, event) != napi_ok) return nullptr;
    }
    if (got < wanted) break;
    left -= got;
  }
  return out;
}

napi_value counters_value(napi_env env, const gateway::Counters& counters) {
  constexpr size_t kWords = gateway::Counters::kWords;
  const std::shared_ptr<uint64_t[]>& words = counters.words();
  return typed_array(env, napi_biguint64_array, kWords,
                     external_buffer(env, words.get(), kWords * sizeof(uint64_t), words));
}

bool read_idle_timeouts(const Napi::CallbackInfo& info, IdleTimeouts* out) {
  // The flow table's own bound.
  constexpr uint64_t kMax = (1u << 31) - 1;
  return read_number(info.Env(), info[0], "tcpMs", 1, kMax, &out->tcp_ms) &&
         read_number(info.Env(), info[1], "otherMs", 1, kMax, &out->other_ms);
}

napi_value failure_value(napi_env env, bool failed, const io::OsError& error) {
  if (!failed) return null_value(env);
  ObjectBuilder out(env);
  return out.text("code", errno_name(error.number))
      .text("syscall", error.syscall)
      .text("detail", error.detail)
      .finish();
}

}  // namespace gwlb::node
