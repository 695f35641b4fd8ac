// Later fragments that came before the first one of their train: kept for a short while, since only
// the first one has the ports. Bounded; what does not fit is not kept.
#pragma once

#include <cstdint>
#include <cstring>
#include <memory>
#include <new>

#include "base/limits.h"
#include "batch/packet_batch.h"

namespace gwlb::gateway {

inline constexpr uint32_t kHeldMax = 64;
inline constexpr uint32_t kHoldMs = 50;

class FragmentHold {
 public:
  struct Packet {
    uint64_t held_ms;
    uint32_t length;
    uint16_t endpoint;
    uint8_t bytes[base::kInnerBytesMax];
  };

  // Null where memory is refused.
  static std::unique_ptr<FragmentHold> create() {
    std::unique_ptr<FragmentHold> hold(new (std::nothrow) FragmentHold());
    if (hold == nullptr) return nullptr;
    hold->packets_.reset(new (std::nothrow) Packet[kHeldMax]());
    return hold->packets_ == nullptr ? nullptr : std::move(hold);
  }

  uint32_t size() const { return size_; }
  const Packet& at(uint32_t i) const { return packets_[order_[i]]; }

  // False: no room.
  bool put(const uint8_t* bytes, uint32_t length, uint16_t endpoint, uint64_t now_ms) {
    if (size_ == kHeldMax || length > base::kInnerBytesMax) return false;
    Packet& packet = packets_[order_[size_++]];
    packet.held_ms = now_ms;
    packet.length = length;
    packet.endpoint = endpoint;
    std::memcpy(packet.bytes, bytes, length);
    return true;
  }

  // Packet i leaves; the others keep their order.
  void remove(uint32_t i) {
    const uint8_t place = order_[i];
    std::memmove(order_ + i, order_ + i + 1, size_ - i - 1);
    order_[--size_] = place;
  }

 private:
  FragmentHold() {
    for (uint32_t i = 0; i < kHeldMax; ++i) order_[i] = static_cast<uint8_t>(i);
  }
  std::unique_ptr<Packet[]> packets_;
  uint8_t order_[kHeldMax];  // places in the order they were filled, then the free ones
  uint32_t size_ = 0;
};

}  // namespace gwlb::gateway
