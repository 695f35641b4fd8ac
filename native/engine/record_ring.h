// The headers of the packets that entered last: a bounded ring, written by the worker that owns it
// and by nobody else, read by a command that runs on the same thread between batches. No locks.
#pragma once

#include <algorithm>
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

  // Packets are numbered as they come: how many have come, and which is the oldest that is here.
  uint64_t end() const { return end_; }
  uint64_t begin() const { return end_ - size_; }
  // Those from number `from` on and before `end` that are here and in the window that ends at
  // `now_ms`, oldest first: calls `take(packet)` for each.
  template <class Take>
  void read(uint64_t from, uint64_t end, uint64_t now_ms, Take&& take) const;
  // Packets that were overwritten before they left the window.
  uint64_t lost() const { return lost_; }

 private:
  RecordRing(uint32_t packets, uint32_t window_ms) : capacity_(packets), window_ms_(window_ms) {}

  std::unique_ptr<RecordedPacket[]> packets_;
  const uint32_t capacity_;
  const uint32_t window_ms_;
  uint32_t next_ = 0;
  uint32_t size_ = 0;
  uint64_t end_ = 0;
  uint64_t lost_ = 0;
};

template <class Take>
void RecordRing::read(uint64_t from, uint64_t end, uint64_t now_ms, Take&& take) const {
  for (uint64_t number = std::max(from, begin()); number < std::min(end, end_); ++number) {
    const RecordedPacket& packet = packets_[number % capacity_];
    if (now_ms - packet.time_ms <= window_ms_) take(packet);
  }
}

}  // namespace gwlb::engine
