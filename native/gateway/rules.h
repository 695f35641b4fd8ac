// What a packet, or the entry of its flow, is in the words of the rules (docs/rules.md): for those
// that decide, and those that say what would be decided.
#pragma once

#include "gateway/state.h"

namespace gwlb::gateway {

// Packets are wire::InnerPacket or Seen.

// A packet that opens a TCP connection: SYN and nothing that answers or ends one.
template <class Packet>
bool opens_tcp(const Packet& packet) {
  constexpr uint8_t kMask = wire::kSyn | wire::kAck | wire::kRst | wire::kFin;
  return packet.protocol == wire::kTcp && (packet.tcp_flags & kMask) == wire::kSyn;
}
// A packet that has to fit a TCP connection that is there, or open one. A later fragment does not
// show its header, but belongs to the connection whose ports its train has.
template <class Packet, class Key>
bool is_of_connection(const Packet& packet, const Key& key) {
  return packet.protocol == wire::kTcp &&
         ((packet.flags & wire::kLaterFragment) == 0 ||
          key.kind == static_cast<uint8_t>(flow::Stickiness::five_tuple));
}
template <class Packet>
bool has_tcp_header(const Packet& packet) {
  return packet.protocol == wire::kTcp && (packet.flags & wire::kLaterFragment) == 0;
}

// Whether a flow has to choose again: its target left, or its slot has another generation than when
// the flow was pinned. (The control plane takes a generation back while it may.)
inline bool pin_is_void(const flow::FlowState& flow, const select::TargetSpec& target) {
  return (target.flags & select::kRegistered) == 0 || flow.generation != target.generation;
}

// Whether TCP packets of this flow are answered with a RST. (A SYN chooses again before that.)
template <class Key>
bool is_refused(const Key& key, const flow::FlowState& flow, const select::TargetSpec& target) {
  if (key.kind != static_cast<uint8_t>(flow::Stickiness::five_tuple) ||
      key.protocol != wire::kTcp) {
    return false;
  }
  return (flow.flags & kRefused) != 0 || (target.flags & select::kResetFlows) != 0;
}
// A packet that a RST may answer.
template <class Packet>
bool takes_reset(const Packet& packet) {
  return has_tcp_header(packet) && (packet.tcp_flags & wire::kRst) == 0;
}

// FlowState.spare of a flow that moved: the slot it left, and when, in units of 64 ms.
inline uint32_t moved_from(uint16_t slot, uint64_t now_ms) {
  return uint32_t{slot} << 20 | (static_cast<uint32_t>(now_ms >> 6) & 0xfffff);
}
inline uint32_t moved_ago_ms(uint32_t moved, uint64_t now_ms) {
  return ((static_cast<uint32_t>(now_ms >> 6) - moved) & 0xfffff) << 6;
}
inline bool moved_just_now(uint32_t moved, uint64_t now_ms) {
  return moved_ago_ms(moved, now_ms) < (kMovedGraceMs & ~63u);
}

// Whether a SYN on an existing entry is a new connection that must choose a target of its own: the
// entry's is over, or was never answered, or its target is lost. A target that takes no new flows
// but is well keeps those it has.
inline bool syn_chooses_again(const flow::FlowState& flow, const select::TargetSpec& target) {
  if ((flow.flags & kRefused) != 0 || flow.idle == kIdleClosing || flow.idle == kIdleReset) {
    return true;
  }
  if ((target.flags & select::kEligible) != 0) return false;
  constexpr uint8_t kProgress = kHandshake | kSynAcked | kHandshakeOver;
  return (target.flags & select::kKeepsFlows) == 0 || (flow.tcp & kProgress) == kHandshake;
}

// The key of a packet that has been looked up.
template <class Key>
const Key& key_of(Gateway::State& state, const Seen& seen) {
  return Family<Key>::keys(state).key[seen.key_at];
}

// Decides about packet i; what decide.cc does the usual way comes to the same.
template <class Key>
GWLB_APART void decide_by_rules(Gateway::State& state, batch::PacketBatch& batch, uint32_t i,
                                const Seen& seen);

}  // namespace gwlb::gateway
