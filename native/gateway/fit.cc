// What a path has no room for: packets that are cut, and connections that are told to send less.
#include "gateway/keys.h"
#include "wire/fragment.h"
#include "wire/mss.h"

namespace gwlb::gateway {

using batch::PacketBatch;
using batch::Verdict;

bool cut_to_mtu(Gateway::State& state, PacketBatch& batch, uint32_t i) {
  if (!state.run.cuts || batch.is_super(i)) return false;
  const uint8_t* packet = batch.packet(i);
  const uint32_t payload = wire::fragment_payload(packet, state.run.mtu);
  wire::Ipv4Fragments cut;
  if (!wire::parse_fragments(packet, batch.length[i], payload, &cut)) return false;
  batch.make_fragmented(i, cut.headers, cut.segment);
  return true;
}

bool cut_entering(Gateway::State& state, PacketBatch& batch, uint32_t i) {
  if (!cut_to_mtu(state, batch, i)) return false;
  Scratch& s = state.scratch;
  s.cut[s.cut_count++] = static_cast<uint16_t>(i);
  constexpr uint8_t kFragment = wire::kFirstFragment | wire::kLaterFragment;
  const bool whole = (s.seen[i].flags & kFragment) == 0;
  if (whole && state.config.stickiness == flow::Stickiness::five_tuple) {
    const uint16_t id = base::load_be16(batch.packet(i) + 4);
    s.fragments.next().keyed = inner_of(batch, i);
    s.fragments.add(i, Fragment::Part::whole, id, state.run.scope);
  }
  return true;
}

void count_cut(Gateway::State& state, const PacketBatch& batch) {
  const Scratch& s = state.scratch;
  for (uint32_t k = 0; k < s.cut_count; ++k) {
    const auto verdict = static_cast<Verdict>(batch.verdict[s.cut[k]]);
    if (verdict != Verdict::forward && verdict != Verdict::bypass) continue;
    state.counters.add(GatewayCounter::packets_fragmented);
  }
}

void clamp_syn(Gateway::State& state, PacketBatch& batch, uint32_t i) {
  const wire::InnerPacket inner = inner_of(batch, i);
  const uint16_t mss = state.mss_of(batch.endpoint[i], inner.version);
  if (wire::clamp_mss(batch.packet(i), inner, mss)) {
    state.counters.add(GatewayCounter::mss_clamped);
  }
}

}  // namespace gwlb::gateway
