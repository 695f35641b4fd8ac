// Counters of one appliance: how many datagrams came, how many went back, and why the others did
// not. Written by the engine's worker alone.
//
//   packets_received + drops(receive_overflow)
//       = packets_returned + all drops + packets still with the inspector
#pragma once

#include <cstdint>
#include <memory>

#include "base/counter_block.h"
#include "base/drop_reason.h"

namespace gwlb::appliance {

// X(name, sentence)
#define GWLB_APPLIANCE_COUNTERS(X)                        \
  X(packets_received, "datagrams received from gateways") \
  X(bytes_received, "bytes of them, inner packet")        \
  X(packets_returned, "packets returned to the gateway")  \
  X(bytes_returned, "bytes of them, inner packet")        \
  X(packets_rewritten, "packets returned with changed contents")

enum class ApplianceCounter : uint32_t {
#define GWLB_X(name, sentence) name,
  GWLB_APPLIANCE_COUNTERS(GWLB_X)
#undef GWLB_X
      count
};

// One array: appliance counters | drops by reason.
class Counters {
 public:
  static constexpr uint32_t kAppliance = static_cast<uint32_t>(ApplianceCounter::count);
  static constexpr uint32_t kDropsAt = kAppliance;
  static constexpr uint32_t kWords = kDropsAt + base::kDropReasons;

  Counters() : block_(kWords) {}

  void add(ApplianceCounter which, uint64_t n = 1) { block_.add(static_cast<uint32_t>(which), n); }
  void drop(base::DropReason reason, uint64_t n = 1) {
    block_.add(kDropsAt + static_cast<uint32_t>(reason), n);
  }
  // For a reason whose total somebody else keeps: the kernel's own drops.
  void set_drops(base::DropReason reason, uint64_t n) {
    block_.set(kDropsAt + static_cast<uint32_t>(reason), n);
  }

  uint64_t get(ApplianceCounter which) const { return block_.get(static_cast<uint32_t>(which)); }
  uint64_t drops(base::DropReason reason) const {
    return block_.get(kDropsAt + static_cast<uint32_t>(reason));
  }

  // The block, kWords long.
  const std::shared_ptr<uint64_t[]>& words() const { return block_.words(); }

 private:
  base::CounterBlock block_;
};

}  // namespace gwlb::appliance
