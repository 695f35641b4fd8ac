// What a path has no room for: packets that are cut, and connections that are told to send less.
#include "gateway/keys.h"
#include "wire/fragment.h"
#include "wire/mss.h"

namespace gwlb::gateway {

using batch::PacketBatch;
using batch::Verdict;

namespace {

void note_fitted(Gateway::State& state, uint32_t i, Fitted::How how, uint16_t packets) {
  Scratch& s = state.scratch;
  s.fitted[s.fitted_count++] = {static_cast<uint16_t>(i), packets, how};
}

// False: packet i must not be cut.
bool cut_to_mtu(Gateway::State& state, PacketBatch& batch, uint32_t i) {
  if (!state.run.cuts) return false;
  const uint8_t* packet = batch.packet(i);
  const uint32_t payload = wire::fragment_payload(packet, state.run.mtu);
  wire::Ipv4Fragments cut;
  if (!wire::parse_fragments(packet, batch.length[i], payload, &cut)) return false;
  batch.make_fragmented(i, cut.segment);
  return true;
}

}  // namespace

bool cut_entering(Gateway::State& state, PacketBatch& batch, uint32_t i) {
  if (!cut_to_mtu(state, batch, i)) return false;
  Scratch& s = state.scratch;
  const uint32_t packets = batch.packets[i];
  const bool all = batch.inner_bytes(i, packets - 1) > state.run.mtu;  // the last may be shorter
  const auto longer = static_cast<uint16_t>(packets - !all);
  note_fitted(state, i, Fitted::How::cut, longer);
  constexpr uint8_t kFragment = wire::kFirstFragment | wire::kLaterFragment;
  const bool whole = (s.seen[i].flags & kFragment) == 0;
  if (whole && state.config.stickiness == flow::Stickiness::five_tuple) {
    const uint16_t id = base::load_be16(batch.packet(i) + 4);
    s.fragments.next().keyed = inner_of(batch, i);
    s.fragments.add(i, Fragment::Part::whole, id, state.run.scope, longer);
  }
  return true;
}

bool cut_leaving(Gateway::State& state, PacketBatch& batch, uint32_t i) {
  if (!cut_to_mtu(state, batch, i)) return false;
  note_fitted(state, i, Fitted::How::cut, 1);
  return true;
}

void count_fitted(Gateway::State& state, const PacketBatch& batch) {
  const Scratch& s = state.scratch;
  for (uint32_t k = 0; k < s.fitted_count; ++k) {
    const Fitted& fitted = s.fitted[k];
    const auto verdict = static_cast<Verdict>(batch.verdict[fitted.packet]);
    if (verdict != Verdict::forward && verdict != Verdict::bypass) continue;
    const bool cut = fitted.how == Fitted::How::cut;
    state.counters.add(cut ? GatewayCounter::packets_fragmented : GatewayCounter::mss_clamped,
                       fitted.packets);
  }
}

void clamp_syn(Gateway::State& state, PacketBatch& batch, uint32_t i) {
  const wire::InnerPacket inner = inner_of(batch, i);
  const uint16_t mss = state.mss_of(batch.endpoint[i], inner.version);
  if (wire::clamp_mss(batch.packet(i), inner, mss)) note_fitted(state, i, Fitted::How::clamped, 1);
}

}  // namespace gwlb::gateway
