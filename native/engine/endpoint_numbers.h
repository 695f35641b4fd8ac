// Which endpoints have a device, by its number: given in the order in which their first packets
// come, and kept. One thread gives numbers; any thread may read them.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <vector>

#include "base/assert.h"

namespace gwlb::engine {

class EndpointNumbers {
 public:
  static constexpr uint16_t kNone = 0xffff;

  // Room for so many.
  EndpointNumbers(uint32_t max, uint64_t key) : key_(key), ids_(max), places_(place_count(max)) {
    for (uint16_t& place : places_) place = kNone;
  }

  // --- the thread that gives them
  uint16_t find(uint64_t id) const {
    for (size_t at = home(id);; at = (at + 1) % places_.size()) {
      const uint16_t number = places_[at];
      if (number == kNone || ids_[number] == id) return number;
    }
  }
  bool full() const { return count_.load(std::memory_order_relaxed) == ids_.size(); }
  // Of an endpoint that has none, where there is room.
  uint16_t add(uint64_t id) {
    GWLB_ASSERT(!full());
    const uint32_t number = count_.load(std::memory_order_relaxed);
    ids_[number] = id;
    size_t at = home(id);
    while (places_[at] != kNone) at = (at + 1) % places_.size();
    places_[at] = static_cast<uint16_t>(number);
    count_.store(number + 1, std::memory_order_release);
    return static_cast<uint16_t>(number);
  }

  // --- any thread
  uint32_t count() const { return count_.load(std::memory_order_acquire); }
  uint64_t id(uint32_t number) const {
    GWLB_ASSERT(number < count());
    return ids_[number];
  }

 private:
  // Less than half of them are in use, so that a search ends.
  static size_t place_count(uint32_t max) { return 2 * size_t{max} + 1; }
  size_t home(uint64_t id) const {
    return ((id ^ key_) * 0x9e3779b97f4a7c15 >> 32) % places_.size();
  }

  uint64_t key_;
  std::vector<uint64_t> ids_;  // by number
  std::vector<uint16_t> places_;
  std::atomic<uint32_t> count_{0};
};

}  // namespace gwlb::engine
