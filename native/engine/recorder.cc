#include "engine/recorder.h"

#include "wire/segment.h"

namespace gwlb::engine {

using batch::PacketBatch;

void Recorder::keep_segments(const PacketBatch& batch, uint32_t i) {
  wire::SuperPacket super;
  uint8_t headers[wire::kSegmentHeadersMax];
  if (!wire::parse_super_packet(batch.packet(i), batch.length[i], batch.segment[i], &super)) return;
  for (uint32_t k = 0; k < super.count; ++k) {
    wire::write_segment_headers(super, k, headers);
    const uint32_t length = super.headers + wire::segment_payload(super, k);
    ring_.put(headers, super.headers, length, batch.endpoint[i], now_ms_);
  }
}

void Recorder::keep_inner(const PacketBatch& batch, uint32_t i) {
  const uint8_t* datagram = batch.packet(i);
  uint32_t inner = 0;
  const uint16_t endpoint =
      core_.endpoint_of_peer(datagram, batch.length[i], batch.address[i], &inner);
  if (endpoint == base::kNoEndpoint) return;
  const uint32_t length = batch.length[i] - inner;
  ring_.put(datagram + inner, length, length, endpoint, now_ms_);
}

uint32_t Recorder::receive(PacketBatch& batch, uint16_t endpoint, io::Rest* rest,
                           io::OsError* error) {
  const uint32_t got = of_->receive(batch, endpoint, rest, error);
  for (uint32_t i = 0; i < got; ++i) {
    if (!batch.pending(i)) continue;
    if (batch.is_super(i)) {
      keep_segments(batch, i);
    } else if (endpoint == base::kNoEndpoint) {
      keep_inner(batch, i);
    } else {
      ring_.put(batch.packet(i), batch.length[i], batch.length[i], endpoint, now_ms_);
    }
  }
  return got;
}

}  // namespace gwlb::engine
