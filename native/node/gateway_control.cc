#include "node/gateway_control.h"

#include <algorithm>
#include <cstring>

#include "node/addon.h"
#include "node/target_table_wrap.h"

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
      .text("type", gateway::kFlowEventTypeNames[event.type])
      .text("cause", gateway::kFlowCauseNames[event.cause])
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
      .number("openedMs", static_cast<double>(event.opened_ms))
      .number("packetsTo", static_cast<double>(event.packets_to))
      .number("bytesTo", static_cast<double>(event.bytes_to))
      .number("packetsFrom", static_cast<double>(event.packets_from))
      .number("bytesFrom", static_cast<double>(event.bytes_from))
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
      .number("rows", explanation.rows)
      .number("target", explanation.target)
      .number("chosen", explanation.chosen)
      .number("zone", explanation.zone)
      .boolean("pinned", explanation.pinned)
      .boolean("quoted", explanation.quoted)
      .boolean("stray", explanation.stray)
      .boolean("forward", explanation.forward)
      .number("cookie", explanation.cookie)
      .boolean("cookieSigned", explanation.cookie_signed)
      .boolean("finFromLow", explanation.fin_from_low)
      .boolean("finFromHigh", explanation.fin_from_high)
      .boolean("opening", explanation.opening)
      .text("rule", gateway::kRuleNames[static_cast<uint8_t>(explanation.rule)])
      .boolean("probation", explanation.probation)
      .text("idle", gateway::kIdleClassNames[explanation.idle])
      .number("idleTimeoutMs", explanation.idle_timeout_ms)
      .number("movedFrom", explanation.moved_from)
      .number("movedAgoMs", explanation.moved_ago_ms)
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

napi_value end_flows_value(const Napi::CallbackInfo& info, const EndFlows& end) {
  constexpr uint32_t kPositionsMax = 1u << 16;
  const napi_env env = info.Env();
  uint32_t cursor;
  uint32_t positions;
  if (!read_number(env, info[0], "cursor", 0, 0xffffffff, &cursor) ||
      !read_number(env, info[1], "positions", 1, kPositionsMax, &positions)) {
    return nullptr;
  }
  std::vector<gateway::FlowEvent> events;
  end(positions, &cursor, &events);
  napi_value out;
  if (napi_create_array_with_length(env, events.size(), &out) != napi_ok) return nullptr;
  for (uint32_t i = 0; i < events.size(); ++i) {
    Napi::HandleScope scope(env);
    const napi_value event = event_value(env, events[i]);
    if (event == nullptr || napi_set_element(env, out, i, event) != napi_ok) return nullptr;
  }
  ObjectBuilder both(env);
  return both.value("events", out).number("cursor", cursor).finish();
}

napi_value counters_value(napi_env env, const gateway::Counters& counters) {
  constexpr size_t kWords = gateway::Counters::kWords;
  const std::shared_ptr<uint64_t[]>& words = counters.words();
  return typed_array(env, napi_biguint64_array, kWords,
                     external_buffer(env, words.get(), kWords * sizeof(uint64_t), words));
}

bool read_configuration(const Napi::CallbackInfo& info, Configuration* out) {
  TargetTable* table = nullptr;
  if (!read_live_config(info.Env(), info[0], &out->live)) return false;
  if (info[1].IsNull()) return true;
  if (!read_wrapped(info.Env(), info[1], "table", &table) || !built(info.Env(), *table)) {
    return false;
  }
  out->targets = table->targets;
  return true;
}

bool read_cookie_key(const Napi::CallbackInfo& info, CookieKey* out) {
  uint8_t key[16];
  Bytes bytes;
  if (!read_bytes(info.Env(), info[0], "key", &bytes)) return false;
  if (bytes.size != sizeof key) {
    throw_range_error(info.Env(), "key: expected 16 bytes, received " + std::to_string(bytes.size));
    return false;
  }
  std::memcpy(key, bytes.data, sizeof key);
  out->key = hash_key_from(key);
  return read_integer(info.Env(), info[1], "nowMs", 0, kIntegerMax, &out->now_ms) &&
         read_number(info.Env(), info[2], "overlapMs", 0, 0x7fffffff, &out->overlap_ms);
}

napi_value preview_value(const Napi::CallbackInfo& info, const PreviewFlows& preview) {
  const napi_env env = info.Env();
  TargetTable* table;
  uint32_t cursor;
  uint32_t positions;
  if (!read_wrapped(env, info[0], "table", &table) ||
      !read_number(env, info[1], "cursor", 0, 0xffffffff, &cursor) ||
      !read_number(env, info[2], "positions", 1, 0xffffffff, &positions)) {
    return nullptr;
  }
  if (!built(env, *table)) return nullptr;
  std::vector<gateway::FlowMove> moves;
  if (!preview(*table->targets.table, positions, &cursor, &moves)) return nullptr;
  std::vector<napi_value> values;
  for (const gateway::FlowMove& move : moves) {
    ObjectBuilder entry(env);
    values.push_back(entry.number("from", move.from)
                         .number("to", move.to)
                         .text("fate", gateway::kFateNames[static_cast<uint8_t>(move.fate)])
                         .number("count", move.count)
                         .finish());
  }
  ObjectBuilder out(env);
  return out.value("moves", array_value(env, values)).number("cursor", cursor).finish();
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
