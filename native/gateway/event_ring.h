// Flow events on their way from the packet thread to whoever asks: single producer, single
// consumer, bounded; what does not fit is lost and counted.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>

#include "gateway/gateway.h"

namespace gwlb::gateway {

class EventRing {
 public:
  // `capacity` is rounded up to a power of two; 0 keeps nothing.
  explicit EventRing(uint32_t capacity) {
    if (capacity == 0) return;
    uint32_t size = 1;
    while (size < capacity) size *= 2;
    mask_ = size - 1;
    events_.reset(new FlowEvent[size]());
  }

  bool enabled() const { return events_ != nullptr; }

  // Packet thread. False: full.
  bool push(const FlowEvent& event) {
    const uint32_t head = head_.load(std::memory_order_relaxed);
    if (head - tail_.load(std::memory_order_acquire) > mask_) return false;
    events_[head & mask_] = event;
    head_.store(head + 1, std::memory_order_release);
    return true;
  }

  // The thread that drains: what is there is forgotten.
  void discard() { tail_.store(head_.load(std::memory_order_acquire), std::memory_order_release); }

  // Any one other thread.
  uint32_t drain(FlowEvent* out, uint32_t max) {
    if (!enabled()) return 0;
    const uint32_t tail = tail_.load(std::memory_order_relaxed);
    const uint32_t ready = head_.load(std::memory_order_acquire) - tail;
    const uint32_t n = ready < max ? ready : max;
    for (uint32_t i = 0; i < n; ++i) out[i] = events_[(tail + i) & mask_];
    tail_.store(tail + n, std::memory_order_release);
    return n;
  }

 private:
  uint32_t mask_ = 0;
  std::unique_ptr<FlowEvent[]> events_;
  alignas(64) std::atomic<uint32_t> head_{0};
  alignas(64) std::atomic<uint32_t> tail_{0};
};

}  // namespace gwlb::gateway
