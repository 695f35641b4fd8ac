// Counters of one appliance: how many datagrams came, how many went back, and why the others did
// not. Written by the engine's worker alone.
//
//   packets_received + packets_from_kernel + drops(receive_overflow) + drops(device_overflow)
//       = packets_returned + packets_to_kernel + all drops + packets still with the inspector
#pragma once

#include <cstdint>
#include <memory>

#include "base/counter_block.h"
#include "base/drop_reason.h"

namespace gwlb::appliance {

// X(name, sentence)
#define GWLB_APPLIANCE_COUNTERS(X)                                                              \
  X(packets_received, "datagrams received from gateways")                                       \
  X(bytes_received, "bytes of them, inner packet")                                              \
  X(packets_returned, "packets returned to the gateway")                                        \
  X(bytes_returned, "bytes of them, inner packet")                                              \
  X(packets_rewritten, "packets returned with changed contents")                                \
  X(packets_rejected, "packets returned as an answer to their sender that refuses them")        \
  X(packets_other_port,                                                                         \
    "packets sent from the receiving port, since the one that they came from is not to be had") \
  X(packets_inspected, "packets shown to the inspector")                                        \
  X(packets_unmatched, "packets returned because the inspector's filter is not about them")     \
  X(packets_untracked,                                                                          \
    "packets with the inspector whose flow found no room: no verdict on it lasts")              \
  X(flows_passed, "verdicts to pass a flow that took effect")                                   \
  X(flows_dropped, "verdicts to drop a flow that took effect")                                  \
  X(flows_ended, "verdicts on flows that ended: idle, closed, or opened anew")                  \
  X(flow_packets_passed, "packets returned by their flow's verdict")                            \
  X(flow_bytes_passed, "bytes of them, inner packet")                                           \
  X(flow_packets_dropped, "packets dropped by their flow's verdict")                            \
  X(flow_bytes_dropped, "bytes of them, inner packet")                                          \
  X(packets_to_kernel, "packets that entered the kernel by a device")                           \
  X(bytes_to_kernel, "bytes of them")                                                           \
  X(packets_from_kernel, "packets that came out of the kernel by a device")                     \
  X(bytes_from_kernel, "bytes of them")                                                         \
  X(tun_flows_evicted, "flows that gave way to newer ones before their ends had answered")

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
  // For what somebody else keeps the total of: a port, or the kernel.
  void set(ApplianceCounter which, uint64_t n) { block_.set(static_cast<uint32_t>(which), n); }
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

// Of one device, or pair. X(name, sentence)
#define GWLB_DEVICE_COUNTERS(X)                                           \
  X(packets_to_kernel, "packets that entered the kernel by it")           \
  X(bytes_to_kernel, "bytes of them")                                     \
  X(packets_from_kernel, "packets that came out of the kernel by it")     \
  X(bytes_from_kernel, "bytes of them")                                   \
  X(packets_returned, "packets of those that were returned to a gateway") \
  X(bytes_returned, "bytes of them, inner packet")

enum class DeviceCounter : uint32_t {
#define GWLB_X(name, sentence) name,
  GWLB_DEVICE_COUNTERS(GWLB_X)
#undef GWLB_X
      count
};

// One array: device counters | drops by reason. The worker's, but for drops(device_overflow), which
// whoever asks the kernel writes.
class DeviceCounters {
 public:
  static constexpr uint32_t kDropsAt = static_cast<uint32_t>(DeviceCounter::count);
  static constexpr uint32_t kWords = kDropsAt + base::kDropReasons;

  DeviceCounters() : block_(kWords) {}
  void add(DeviceCounter which, uint64_t n) { block_.add(static_cast<uint32_t>(which), n); }
  void drop(base::DropReason reason, uint64_t n = 1) {
    block_.add(kDropsAt + static_cast<uint32_t>(reason), n);
  }
  void set_drops(base::DropReason reason, uint64_t n) {
    block_.set(kDropsAt + static_cast<uint32_t>(reason), n);
  }
  uint64_t get(DeviceCounter which) const { return block_.get(static_cast<uint32_t>(which)); }
  uint64_t drops(base::DropReason reason) const {
    return block_.get(kDropsAt + static_cast<uint32_t>(reason));
  }
  const std::shared_ptr<uint64_t[]>& words() const { return block_.words(); }

 private:
  base::CounterBlock block_;
};

}  // namespace gwlb::appliance
