#include "engine/record_ring.h"

#include <algorithm>
#include <cstring>
#include <new>

namespace gwlb::engine {

std::unique_ptr<RecordRing> RecordRing::create(uint32_t packets, uint32_t window_ms) {
  std::unique_ptr<RecordRing> ring(new (std::nothrow) RecordRing(std::max(packets, 1u), window_ms));
  if (ring == nullptr) return nullptr;
  // Touched here, not in the packet loop.
  ring->packets_.reset(new (std::nothrow) RecordedPacket[ring->capacity_]());
  return ring->packets_ == nullptr ? nullptr : std::move(ring);
}

void RecordRing::put(const uint8_t* bytes, uint32_t there, uint32_t length, uint16_t endpoint,
                     uint64_t now_ms) {
  RecordedPacket& packet = packets_[next_];
  ++end_;
  if (size_ < capacity_) {
    ++size_;
  } else if (now_ms - packet.time_ms <= window_ms_) {
    ++lost_;
  }
  next_ = next_ + 1 < capacity_ ? next_ + 1 : 0;
  packet.time_ms = now_ms;
  packet.length = length;
  packet.endpoint = endpoint;
  packet.captured = static_cast<uint16_t>(std::min(there, RecordedPacket::kBytes));
  std::memcpy(packet.bytes, bytes, packet.captured);
}

}  // namespace gwlb::engine
