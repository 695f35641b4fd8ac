// Which target a flow has: pinned when it opens, kept or chosen again when a new connection takes
// its entry, another one when it moves.
#pragma once

#include "gateway/state.h"

namespace gwlb::gateway {

// Pins the flow to its cookie's slot. The life of a connection starts afresh, with this packet, or
// with the SYN that it answers.
template <class Key>
void pin(Gateway::State& state, batch::PacketBatch& batch, uint32_t i, const Key& key,
         uint32_t index, flow::FlowState& flow, uint32_t cookie, FlowCause cause);

// Of the three: false where there is no target, and the packet has been dealt with.

// A SYN on an entry of a connection. Only its other end knows whether a connection that may be
// alive is over: until it says so with a SYN-ACK the packet may be a stray, or forged.
template <class Key>
GWLB_SELDOM bool take_syn(Gateway::State& state, batch::PacketBatch& batch, uint32_t i,
                          const Key& key, uint32_t index, flow::FlowState& flow);
// A SYN-ACK that answers a SYN of that kind.
template <class Key>
GWLB_SELDOM bool take_syn_ack(Gateway::State& state, batch::PacketBatch& batch, uint32_t i,
                              const Key& key, uint32_t index, flow::FlowState& flow);
// The flow's target is gone for it: the next packet, this one, chooses again.
template <class Key>
GWLB_SELDOM bool move_flow(Gateway::State& state, batch::PacketBatch& batch, uint32_t i,
                           const Key& key, flow::FlowState& flow);

// A packet's flow gets no target.
void count_rejected(Gateway::State& state, const Seen& seen);

}  // namespace gwlb::gateway
