// The end of idle flows, and reports of those that live.
#include <algorithm>

#include "gateway/life.h"
#include "gateway/rules.h"
#include "gateway/state.h"

namespace gwlb::gateway {

using flow::FlowState;

namespace {

// Places whose flows are reported in one go at most. Under load a go is a few dozen; an idle worker
// does a quarter of a second's.
constexpr uint64_t kReportPositionsMax = 65'536;

FlowCause end_of(const FlowState& flow) {
  if ((flow.flags & kRefused) != 0) return FlowCause::refused;
  if (flow.idle == kIdleClosing) return FlowCause::closed;
  return flow.idle == kIdleReset ? FlowCause::reset : FlowCause::idle;
}

template <class Key>
uint32_t sweep_family(Gateway::State& state, uint32_t positions) {
  return Family<Key>::flows(state).sweep(
      static_cast<uint32_t>(state.now_ms), positions,
      [&state](uint32_t index, const flow::FlowRecord<Key>& record) {
        end_flow(state, record.key, index, record.state, end_of(record.state));
      },
      [&state](flow::FlowRecord<Key>& record) {
        // Its clock comes round after 18.6 hours, and would welcome late returns again.
        FlowState& flow = record.state;
        if ((flow.flags & kMoved) == 0) return;
        if (moved_just_now(moved_word<Key>(state, flow), state.now_ms)) return;
        flow.flags &= static_cast<uint8_t>(~kMoved);
      });
}

// Reports the flows in as many places as the time since the last call is worth.
template <class Key>
void report_family(Gateway::State& state, uint64_t elapsed_ms) {
  Flows<Key>& flows = Family<Key>::of(state);
  const uint32_t end = flows.table->index_end();
  flows.report_credit += elapsed_ms * end;
  const uint64_t due = flows.report_credit / state.config.report_interval_ms;
  auto left = static_cast<uint32_t>(std::min<uint64_t>({due, kReportPositionsMax, end}));
  // What cannot be done in time is not made up for.
  flows.report_credit = due > left ? 0 : flows.report_credit % state.config.report_interval_ms;
  while (left > 0) {
    const uint32_t from = flows.report_cursor;
    flows.table->walk(
        &flows.report_cursor, left, [&](uint32_t index, const flow::FlowRecord<Key>& record) {
          emit(state, FlowEventType::lives, FlowCause::none, record.key, record.key.scope,
               record.state.cookie, base::kNoTarget, flows.counters(index));
        });
    left -= (flows.report_cursor == 0 ? end : flows.report_cursor) - from;
  }
}

}  // namespace

uint32_t Gateway::sweep(uint64_t now_ms, uint32_t positions) {
  State& state = *state_;
  state.now_ms = now_ms;
  const uint32_t ended = sweep_family<flow::FlowKey4>(state, positions) +
                         sweep_family<flow::FlowKey6>(state, positions);
  if (ended != 0) count_active(state);
  if (state.config.report_interval_ms != 0) {
    const uint64_t elapsed_ms = now_ms - state.reported_ms;
    state.reported_ms = now_ms;
    report_family<flow::FlowKey4>(state, elapsed_ms);
    report_family<flow::FlowKey6>(state, elapsed_ms);
  }
  return ended;
}

}  // namespace gwlb::gateway
