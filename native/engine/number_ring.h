// A ring of batch numbers from one thread to one other. Every number is in it at most once, so that
// a ring with room for all of them never fills.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>

#include "base/assert.h"

namespace gwlb::engine {

class NumberRing {
 public:
  explicit NumberRing(uint32_t numbers) {
    while (size_ < numbers) size_ *= 2;
    slots_.reset(new uint32_t[size_]());
  }

  // One thread. Sequentially consistent, because the caller then asks whether the other side
  // sleeps, while the other side says that it will sleep and then asks empty().
  void push(uint32_t number) {
    const uint32_t tail = tail_.load(std::memory_order_relaxed);
    GWLB_ASSERT(tail - head_.load(std::memory_order_acquire) < size_);
    slots_[tail & (size_ - 1)] = number;
    tail_.store(tail + 1, std::memory_order_seq_cst);
  }

  // The other thread. -1 where it is empty.
  int pop() {
    if (empty()) return -1;
    const uint32_t head = head_.load(std::memory_order_relaxed);
    const uint32_t number = slots_[head & (size_ - 1)];
    head_.store(head + 1, std::memory_order_release);
    return static_cast<int>(number);
  }
  bool empty() const {
    return head_.load(std::memory_order_relaxed) == tail_.load(std::memory_order_seq_cst);
  }

 private:
  std::unique_ptr<uint32_t[]> slots_;
  uint32_t size_ = 1;
  alignas(64) std::atomic<uint32_t> head_{0};
  alignas(64) std::atomic<uint32_t> tail_{0};
};

}  // namespace gwlb::engine
