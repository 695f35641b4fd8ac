// What the gateway says itself to the sender of a packet that does not go on.
#include "wire/answer.h"

#include <algorithm>

#include "gateway/drops.h"
#include "gateway/keys.h"
#include "wire/segment.h"

namespace gwlb::gateway {

using base::DropReason;
using batch::PacketBatch;

namespace {

// The packet, now an answer, leaves by the endpoint that it came in by. One answer is enough for
// all the packets of a super-packet.
void send_answer(Gateway::State& state, PacketBatch& batch, uint32_t i, DropReason reason) {
  if (!wrap_for_peer(state, batch, i)) return;
  drop(state, batch, i, reason);
  batch.make_ordinary(i);
  batch.verdict[i] = static_cast<uint8_t>(batch::Verdict::reply);
  state.counters.add(GatewayCounter::packets_replied);
}

bool take_error_token(Gateway::State& state) {
  const uint64_t earned = state.now_ms - state.error_tokens_ms;
  state.error_tokens_ms = state.now_ms;
  state.error_tokens =
      static_cast<uint32_t>(std::min<uint64_t>(kErrorBurst, state.error_tokens + earned));
  if (state.error_tokens == 0) return false;
  --state.error_tokens;
  return true;
}

// An ICMP error quotes a packet, not many as one.
void keep_first_segment(PacketBatch& batch, uint32_t i, wire::InnerPacket* inner) {
  wire::SuperPacket super;
  uint8_t headers[wire::kSegmentHeadersMax];
  uint8_t* packet = batch.packet(i);
  if (!wire::parse_super_packet(packet, batch.length[i], batch.segment[i], &super)) return;
  wire::write_segment_headers(super, 0, headers);
  std::memcpy(packet, headers, super.headers);
  batch.length[i] = inner->total_length = batch.longest(i);
}

}  // namespace

void answer_with_reset(Gateway::State& state, PacketBatch& batch, uint32_t i, DropReason reason) {
  const wire::InnerPacket inner = inner_of(batch, i);
  if (!wire::can_answer(batch.packet(i), inner)) return drop(state, batch, i, reason);
  batch.length[i] = wire::write_reset(batch.packet(i), inner);
  state.counters.add(GatewayCounter::resets_sent);
  send_answer(state, batch, i, reason);
}

void answer_too_big(Gateway::State& state, PacketBatch& batch, uint32_t i) {
  wire::InnerPacket inner = inner_of(batch, i);
  const uint32_t headers = wire::too_big_header_bytes(inner.version);
  constexpr uint8_t kUnanswered = wire::kIcmpError | wire::kLaterFragment;
  if (!state.config.path_mtu_discovery || (inner.flags & kUnanswered) != 0 ||
      batch.headroom(i) < headers || !wire::can_answer(batch.packet(i), inner) ||
      !take_error_token(state)) {
    return drop(state, batch, i, DropReason::inner_too_big);
  }
  if (batch.is_super(i)) keep_first_segment(batch, i, &inner);
  batch.offset[i] -= headers;
  batch.length[i] = wire::write_too_big(batch.packet(i), inner, state.mtu_of(batch.endpoint[i]));
  send_answer(state, batch, i, DropReason::inner_too_big);
}

}  // namespace gwlb::gateway
