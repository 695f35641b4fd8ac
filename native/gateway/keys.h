// The keys of a batch's packets.
#pragma once

#include "gateway/state.h"

namespace gwlb::gateway {

// The slot for the key of packet i among the batch's keys of its family.
template <class Key>
Key* next_key(Gateway::State& state, uint32_t i) {
  Keys<Key>& keys = Family<Key>::keys(state);
  const uint32_t at = keys.count++;
  keys.packet[at] = static_cast<uint16_t>(i);
  Seen& seen = state.scratch.seen[i];
  seen.version = Family<Key>::kVersion;
  seen.key_at = at;
  return &keys.key[at];
}

// Of TCP: what says more of a connection than that it goes on.
inline constexpr uint8_t kTurns = wire::kSyn | wire::kFin | wire::kRst;

// The key of packet i: `keyed` is the packet itself or what it quotes.
inline void set_key(Gateway::State& state, const batch::PacketBatch& batch, uint32_t i,
                    const wire::InnerPacket& keyed, uint16_t scope) {
  Seen& seen = state.scratch.seen[i];
  const bool forward =
      keyed.version == 4
          ? flow::make_key(keyed, state.key_rule, scope, next_key<flow::FlowKey4>(state, i))
          : flow::make_key(keyed, state.key_rule, scope, next_key<flow::FlowKey6>(state, i));
  seen.way = forward ? kLowToHigh : 0;
  if (seen.quoted()) return;
  // A later fragment has its train's, which behind IPv6 extension headers is another one.
  seen.protocol = keyed.protocol;
  const bool tcp_shown = (seen.flags & wire::kLaterFragment) == 0 && (seen.tcp_flags & kTurns) == 0;
  const bool usual = (keyed.protocol != wire::kTcp || tcp_shown) && !batch.is_super(i);
  if (usual) seen.way |= kUsual;
}

}  // namespace gwlb::gateway
