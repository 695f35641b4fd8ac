// A block of 64-bit counters. One thread writes them, anyone may read them at any time: relaxed
// loads and stores, viewed by JavaScript as one BigUint64Array without a call.
#pragma once

#include <cstdint>
#include <cstring>
#include <memory>
#include <new>

namespace gwlb::base {

class CounterBlock {
 public:
  // On cache lines of its own: the counters of two threads must not share one.
  explicit CounterBlock(uint32_t words) {
    auto* block =
        static_cast<uint64_t*>(::operator new[](sizeof(uint64_t) * words, std::align_val_t{64}));
    std::memset(block, 0, sizeof(uint64_t) * words);
    words_.reset(block, [](uint64_t* of) { ::operator delete[](of, std::align_val_t{64}); });
  }

  void add(uint32_t at, uint64_t n) {
    __atomic_store_n(&words_[at], words_[at] + n, __ATOMIC_RELAXED);
  }
  // `n` to this one and `next` to the one behind it.
  void add_pair(uint32_t at, uint64_t n, uint64_t next) {
    uint64_t* words = &words_[at];
    __atomic_store_n(words, words[0] + n, __ATOMIC_RELAXED);
    __atomic_store_n(words + 1, words[1] + next, __ATOMIC_RELAXED);
  }
  void set(uint32_t at, uint64_t n) { __atomic_store_n(&words_[at], n, __ATOMIC_RELAXED); }
  uint64_t get(uint32_t at) const { return __atomic_load_n(&words_[at], __ATOMIC_RELAXED); }

  // Shared, so that a view may outlive the owner.
  const std::shared_ptr<uint64_t[]>& words() const { return words_; }

 private:
  std::shared_ptr<uint64_t[]> words_;
};

}  // namespace gwlb::base
