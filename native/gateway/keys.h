// The keys of packets, and what they are made of.
#pragma once

#include "gateway/state.h"

namespace gwlb::gateway {

// What the key of a packet is made of.
struct KeyedPacket {
  wire::InnerPacket inner;
  bool quoted;              // it is an ICMP error
  wire::InnerPacket keyed;  // itself, or what it quotes, with the ports that its train has
};
// Reads a packet that enters now as classify.cc and trains.cc do, and changes nothing. What is
// wrong with it, or `none`.
base::DropReason read_keyed(const Gateway::State& state, const uint8_t* packet, uint32_t length,
                            uint16_t scope, uint64_t now_ms, KeyedPacket* out);
// Calls `use(key, forward)` with its key.
template <class Use>
void with_key_of(const Gateway::State& state, const KeyedPacket& packet, uint16_t scope, Use use) {
  const auto make = [&](auto key) {
    const bool forward = flow::make_key(packet.keyed, state.key_rule, scope, &key);
    use(key, forward);
  };
  if (packet.keyed.version == 4) {
    make(flow::FlowKey4{});
  } else {
    make(flow::FlowKey6{});
  }
}

// A packet that has been classified, once more as a whole: for what is seldom needed.
inline wire::InnerPacket inner_of(const batch::PacketBatch& batch, uint32_t i) {
  wire::InnerPacket inner;
  const bool parsed = wire::parse_inner(batch.packet(i), batch.length[i], &inner).ok();
  GWLB_ASSERT(parsed);
  return inner;
}

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
