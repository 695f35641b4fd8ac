// What an embedded gateway and a gateway engine show of themselves in the same way.
#pragma once

#include <napi.h>

#include <functional>

#include "gateway/gateway.h"
#include "node/configs.h"

namespace gwlb::node {

// With the ranked targets of the packet's row.
napi_value explanation_value(napi_env env, const gateway::Explanation& explanation,
                             const Targets& targets);

// At most `max` events, as `drain` (of a gateway or an engine) gives them.
using DrainEvents = std::function<uint32_t(gateway::FlowEvent* out, uint32_t max)>;
// {events, cursor}: what `end(positions, cursor, out)` adds, from the arguments cursor and
// positions.
using EndFlows =
    std::function<void(uint32_t positions, uint32_t* cursor, std::vector<gateway::FlowEvent>* out)>;
napi_value end_flows_value(const Napi::CallbackInfo& info, const EndFlows& end);

napi_value events_value(napi_env env, napi_value max, const DrainEvents& drain);

// A BigUint64Array over a gateway's counters.
napi_value counters_value(napi_env env, const gateway::Counters& counters);

// The arguments of configure: a live configuration, and a table or null.
struct Configuration {
  gateway::LiveConfig live;
  Targets targets;  // none: they stay
};
bool read_configuration(const Napi::CallbackInfo& info, Configuration* out);

struct CookieKey {
  base::HashKey key;
  uint64_t now_ms;
  uint32_t overlap_ms;
};
bool read_cookie_key(const Napi::CallbackInfo& info, CookieKey* out);

// previewFlows: `preview` as Gateway::preview; false where it threw.
using PreviewFlows = std::function<bool(const select::TargetTable& table, uint32_t positions,
                                        uint32_t* cursor, std::vector<gateway::FlowMove>* out)>;
napi_value preview_value(const Napi::CallbackInfo& info, const PreviewFlows& preview);

// null, or what made an engine stop.
napi_value failure_value(napi_env env, bool failed, const io::OsError& error);

}  // namespace gwlb::node
