// Second half of a batch: for every packet that is still pending, the flow it belongs to, that
// flow's target, and the packet's way.
#include "gateway/encapsulate.h"
#include "gateway/rules.h"

namespace gwlb::gateway {

using batch::PacketBatch;
using batch::Verdict;
using flow::FlowState;
using flow::kNoFlow;

namespace {

// Whether a packet as in the middle of a flow (kUsual) finds its flow as it was: then nothing has
// to be decided about it. What decide_by_rules() would do then is below.
GWLB_HOT bool is_usual(const FlowState& flow, uint8_t unusual_flags) {
  return flow.idle < kIdleClosing && (flow.flags & unusual_flags) == 0;
}

GWLB_HOT void refresh_usual(const Gateway::State& state, FlowState& flow, const Seen& seen) {
  flow.last_seen_ms = static_cast<uint32_t>(state.now_ms);
  if (seen.protocol == wire::kTcp) flow.tcp |= kHandshakeOver;
}

// False: not that usual, and nothing done.
template <class Key>
GWLB_HOT bool go_on_to_target(Gateway::State& state, PacketBatch& batch, uint32_t i,
                              const Seen& seen, FlowState& flow) {
  const uint32_t cookie = flow.cookie;
  const select::TargetSpec& target = state.table->target(cookie_slot(cookie));
  constexpr uint8_t kMask = select::kRegistered | select::kResetFlows;
  if (!is_usual(flow, state.unusual_flags) || (target.flags & kMask) != select::kRegistered ||
      flow.generation != target.generation || !state.bare_geneve ||
      batch.headroom(i) < wire::kGatewayHeaderBytes) {
    return false;
  }
  refresh_usual(state, flow, seen);
  state.run_of(batch.endpoint[i]);
  encapsulate_bare(state, batch, i, target, cookie, Family<Key>::kEtherType);
  batch.verdict[i] = static_cast<uint8_t>(Verdict::forward);
  return true;
}

template <class Key>
GWLB_HOT bool go_back(Gateway::State& state, PacketBatch& batch, uint32_t i, const Seen& seen,
                      FlowState& flow) {
  if (!is_usual(flow, kProbation | kRefused) || seen.cookie != flow.cookie ||
      seen.source_slot != cookie_slot(seen.cookie)) {
    return false;
  }
  refresh_usual(state, flow, seen);
  batch.cookie[i] = seen.cookie;
  if (leave_by_endpoint(state, batch, i)) {
    batch.verdict[i] = static_cast<uint8_t>(Verdict::forward);
  }
  return true;
}

template <class Key>
GWLB_HOT void decide_one(Gateway::State& state, PacketBatch& batch, uint32_t i, const Seen& seen) {
  if (state.usual_way && (seen.way & kUsual) != 0) {
    const uint32_t found = Family<Key>::keys(state).found[seen.key_at];
    auto& flows = Family<Key>::flows(state);
    if (found != kNoFlow &&
        (!state.scratch.evicted || flows.holds(found, key_of<Key>(state, seen)))) {
      FlowState& flow = flows.at(found).state;
      if (seen.role == Role::ingress ? go_on_to_target<Key>(state, batch, i, seen, flow)
                                     : go_back<Key>(state, batch, i, seen, flow)) {
        return;
      }
    }
  }
  decide_by_rules<Key>(state, batch, i, seen);
}

template <class Key>
void look_up(Gateway::State& state, const PacketBatch& batch) {
  Keys<Key>& keys = Family<Key>::keys(state);
  if (keys.count == 0) return;
  Family<Key>::flows(state).lookup(keys.key, keys.hash, keys.count, keys.found);
  for (uint32_t k = 0; k < keys.count; ++k) {
    if (keys.found[k] != kNoFlow) continue;
    const EndpointSpec& endpoint = state.endpoints.at(batch.endpoint[keys.packet[k]]);
    state.table->prefetch(endpoint.zone, keys.hash[k]);
  }
}

}  // namespace

void decide(Gateway::State& state, PacketBatch& batch) {
  Scratch& s = state.scratch;
  s.opened.clear();
  s.evicted = false;
  look_up<flow::FlowKey4>(state, batch);
  look_up<flow::FlowKey6>(state, batch);
  for (uint32_t i = 0; i < batch.count; ++i) {
    if (!batch.pending(i)) continue;
    const Seen& seen = s.seen[i];
    if (seen.version == 4) {
      decide_one<flow::FlowKey4>(state, batch, i, seen);
    } else {
      decide_one<flow::FlowKey6>(state, batch, i, seen);
    }
  }
  count_active(state);
}

}  // namespace gwlb::gateway
