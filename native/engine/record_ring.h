// The headers of the packets that entered last: a bounded ring, written by the worker that owns it
// and by nobody else, read by a command that runs on the same thread between batches. No locks.
#pragma once

#include <cstdint>
#include <memory>

#include "batch/packet_batch.h"

namespace gwlb::engine {

// One packet; JavaScript reads it as it lies here (host byte order).
struct RecordedPacket {
  static constexpr uint32_t kBytes = 128;
  uint64_t time_ms;  // CLOCK_MONOTONIC, of the round that read it
  uint32_t length;   // of the packet, from its IP header on
  uint16_t endpoint;
  uint16_t captured;  // bytes that are here
  uint8_t bytes[kBytes];
};
static_assert(sizeof(RecordedPacket) == 144);

class RecordRing {
 public:
  // Room for `packets` packets, at least 1. Null where memory is refused.
  static std::unique_ptr<RecordRing> create(uint32_t packets, uint32_t window_ms);

  // A packet of `length` bytes, of which `there` can be read.
  void put(const uint8_t* bytes, uint32_t there, uint32_t length, uint16_t endpoint,
           uint64_t now_ms);

  // The packets of the window that ends at `now_ms`, oldest first: calls `take(packet)` for each.
  template <class Take>
  void read(uint64_t now_ms, Take&& take) const;
  // Packets that were overwritten before they left the window.
  uint64_t lost() const { return lost_; }

 private:
  RecordRing(uint32_t packets, uint32_t window_ms) : capacity_(packets), window_ms_(window_ms) {}

  std::unique_ptr<RecordedPacket[]> packets_;
  const uint32_t capacity_;
  const uint32_t window_ms_;
  uint32_t next_ = 0;
  uint32_t size_ = 0;
  uint64_t lost_ = 0;
};

template <class Take>
void RecordRing::read(uint64_t now_ms, Take&& take) const {
  uint32_t at = size_ < capacity_ ? 0 : next_;
  for (uint32_t k = 0; k < size_; ++k) {
    const RecordedPacket& packet = packets_[at];
    if (now_ms - packet.time_ms <= window_ms_) take(packet);
    at = at + 1 < capacity_ ? at + 1 : 0;
  }
}

}  // namespace gwlb::engine
