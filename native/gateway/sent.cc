// What left, counted: right away where nobody says what became of it, and otherwise when its sender
// does.
#include "gateway/state.h"

namespace gwlb::gateway {

using base::DropReason;
using batch::PacketBatch;
using batch::Verdict;

namespace {

// The inner packet of packet i, which may have headers in front of it by now.
uint32_t inner_length(const PacketBatch& batch, uint32_t i) {
  return batch.length[i] - (batch.inner[i] - batch.offset[i]);
}

uint64_t inner_bytes(const PacketBatch& batch, uint32_t i, uint32_t packets) {
  return inner_length(batch, i) + uint64_t{batch.headers[i]} * (packets - uint32_t{1});
}

// Counts of packets that left by endpoints, added up while the endpoint is the same.
class Left {
 public:
  explicit Left(Counters& counters) : counters_(counters) {}
  ~Left() { close(); }
  void add(uint16_t endpoint, uint64_t packets, uint64_t bytes) {
    if (endpoint != endpoint_) {
      close();
      endpoint_ = endpoint;
    }
    packets_ += packets;
    bytes_ += bytes;
  }

 private:
  void close() {
    if (packets_ == 0) return;
    counters_.add(GatewayCounter::packets_out, packets_);
    counters_.add(GatewayCounter::bytes_out, bytes_);
    counters_.add(endpoint_, EndpointCounter::packets_out, packets_);
    counters_.add(endpoint_, EndpointCounter::bytes_out, bytes_);
    packets_ = bytes_ = 0;
  }

  Counters& counters_;
  uint16_t endpoint_ = base::kNoEndpoint;
  uint64_t packets_ = 0, bytes_ = 0;
};

struct Sent {
  explicit Sent(Counters& counters) : left(counters) {}
  Left left;
  uint64_t to_targets = 0, bypassed = 0;
};

// Nearly all packets of a batch are single ones that go the same way. They are counted in runs that
// may be empty, from packet i on; these return what is behind the run.
uint32_t count_to_targets(Gateway::State& state, const PacketBatch& batch, uint32_t i, Sent* sent) {
  const Seen* const seen = state.scratch.seen;
  const uint8_t* const verdict = batch.verdict;
  const uint32_t *const length = batch.length, *const offset = batch.offset;
  const uint16_t* const target = batch.target;
  const uint64_t count = batch.count, from = i;
  uint64_t at = i;
  for (; at < count; ++at) {
    if (verdict[at] != static_cast<uint8_t>(Verdict::forward)) break;
    if (seen[at].role != Role::ingress || batch.segment[at] != 0) break;
    const uint32_t bytes = length[at] - (batch.inner[at] - offset[at]);
    state.counters.add_packets(target[at], TargetCounter::packets_to, 1, bytes);
  }
  sent->to_targets += at - from;
  return static_cast<uint32_t>(at);
}

uint32_t count_left(const Gateway::State& state, const PacketBatch& batch, uint32_t i, Sent* sent) {
  const Seen* const seen = state.scratch.seen;
  const uint64_t count = batch.count, from = i;
  if (from == count) return i;
  const uint16_t endpoint = batch.endpoint[i];
  uint64_t at = i, bytes = 0;
  for (; at < count && batch.endpoint[at] == endpoint; ++at) {
    if (batch.verdict[at] != static_cast<uint8_t>(Verdict::forward)) break;
    if (seen[at].role != Role::from_target || batch.segment[at] != 0) break;
    bytes += batch.length[at] - (batch.inner[at] - batch.offset[at]);
  }
  if (at != from) sent->left.add(endpoint, at - from, bytes);
  return static_cast<uint32_t>(at);
}

// What is in no run: super-packets, packets that bypass the targets, and what has not left.
GWLB_APART void count_other(Gateway::State& state, const PacketBatch& batch, uint32_t i,
                            Sent* sent) {
  const auto verdict = static_cast<Verdict>(batch.verdict[i]);
  const Role role = state.scratch.seen[i].role;
  if (role == Role::none || (verdict != Verdict::forward && verdict != Verdict::bypass)) return;
  const uint32_t packets = batch.packets[i];
  const uint64_t bytes = inner_bytes(batch, i, packets);
  if (verdict == Verdict::forward && role == Role::ingress) {
    sent->to_targets += packets;
    state.counters.add_packets(batch.target[i], TargetCounter::packets_to, packets, bytes);
    return;
  }
  if (verdict == Verdict::bypass) sent->bypassed += packets;
  sent->left.add(batch.endpoint[i], packets, bytes);
}

// So much of what its flow was counted to have sent has not been.
template <class Key>
void take_back(Gateway::State& state, const PacketBatch& batch, uint32_t i, uint32_t packets,
               uint64_t bytes) {
  if (!Family<Key>::of(state).counted) return;
  const Key& key = Family<Key>::keys(state).key[state.scratch.seen[i].key_at];
  const uint32_t index = Family<Key>::flows(state).find(key, batch.hash[i]);
  if (index == flow::kNoFlow) return;
  FlowCounters& counted = *Family<Key>::of(state).counters(index);
  if (counted.packets_to < packets || counted.bytes_to < bytes) return;  // another flow since
  counted.packets_to = counted.packets_to - packets;
  counted.bytes_to -= bytes;
}

}  // namespace

void Gateway::count_sent(const PacketBatch& batch) {
  State& state = *state_;
  Sent sent(state.counters);
  for (uint32_t i = 0; i < batch.count;) {
    const uint32_t from = i;
    i = count_to_targets(state, batch, i, &sent);
    i = count_left(state, batch, i, &sent);
    if (i == from) count_other(state, batch, i++, &sent);
  }
  state.counters.add(GatewayCounter::packets_to_targets, sent.to_targets);
  state.counters.add(GatewayCounter::packets_bypassed, sent.bypassed);
  if (state.scratch.fitted_count != 0) count_fitted(state, batch);
}

void Gateway::count_unsent(const PacketBatch& batch, uint32_t i, Verdict decided, uint32_t all) {
  State& state = *state_;
  if (decided == Verdict::reply) {
    // The packet that it answers is counted already.
    state.counters.add(GatewayCounter::replies_unsent);
    return;
  }
  const uint32_t lost = batch.packets[i];
  state.counters.drop(static_cast<DropReason>(batch.reason[i]), lost);
  const uint64_t all_bytes = inner_bytes(batch, i, all);
  const uint64_t lost_bytes = lost == all ? all_bytes : batch.lost_bytes[i];
  const bool to_target = decided == Verdict::forward && leaves_to_target(i);
  if (lost != all) {
    if (to_target) {
      state.counters.add(GatewayCounter::packets_to_targets, all - lost);
      state.counters.add_packets(batch.target[i], TargetCounter::packets_to, all - lost,
                                 all_bytes - lost_bytes);
    } else {
      if (decided == Verdict::bypass) {
        state.counters.add(GatewayCounter::packets_bypassed, all - lost);
      }
      Left(state.counters).add(batch.endpoint[i], all - lost, all_bytes - lost_bytes);
    }
  }
  if (!to_target) return;
  if (state.scratch.seen[i].version == 4) {
    take_back<flow::FlowKey4>(state, batch, i, lost, lost_bytes);
  } else {
    take_back<flow::FlowKey6>(state, batch, i, lost, lost_bytes);
  }
}

}  // namespace gwlb::gateway
