// Counters of one gateway core: written by the thread that runs it, read by anyone at any time.
#pragma once

#include <cstdint>
#include <memory>

#include "base/counter_block.h"
#include "base/drop_reason.h"
#include "base/limits.h"

namespace gwlb::gateway {

// X(name, sentence)
#define GWLB_GATEWAY_COUNTERS(X)                                                                   \
  X(packets_in, "packets that entered by an endpoint")                                             \
  X(bytes_in, "bytes of them, inner packet")                                                       \
  X(packets_to_targets, "packets sent to a target")                                                \
  X(packets_from_targets, "datagrams received from targets")                                       \
  X(probes_returned, "the data-path checks among them")                                            \
  X(packets_out, "packets that left by an endpoint")                                               \
  X(bytes_out, "bytes of them, inner packet")                                                      \
  X(packets_bypassed, "packets forwarded uninspected (failOpen)")                                  \
  X(packets_replied, "packets answered by the gateway itself (ICMP errors, RST)")                  \
  X(resets_sent, "the RST among those answers")                                                    \
  X(replies_unsent, "answers that could not be sent")                                              \
  X(packets_held, "later fragments that waited for their first one")                               \
  X(packets_fragmented, "packets longer than the endpoint's MTU that left in fragments")           \
  X(mss_clamped, "SYN and SYN-ACK packets that left with a lower maximum segment size (clampMss)") \
  X(packets_waiting, "later fragments that wait for their first one now")                          \
  X(flows_new, "flows opened")                                                                     \
  X(flows_ended, "flows ended: closed, expired or evicted")                                        \
  X(flows_moved, "flows that moved to another target")                                             \
  X(flows_active_ipv4, "IPv4 flows in the table")                                                  \
  X(flows_active_ipv6, "IPv6 flows in the table")                                                  \
  X(flows_rejected, "first packets that got no target")                                            \
  X(flows_rejected_tcp, "the TCP ones among them")                                                 \
  X(packets_untracked, "packets forwarded by the table row because the flow table was full")       \
  X(flows_picked_up, "TCP flows picked up in mid-stream")                                          \
  X(flows_evicted, "flows in probation that gave way to newer ones")                               \
  X(flows_refused, "flows whose packets were answered with a RST, since their target was lost")    \
  X(events_lost, "flow events that did not fit the event ring")

#define GWLB_TARGET_COUNTERS(X)                      \
  X(packets_to, "packets sent to this target")       \
  X(bytes_to, "bytes of them, inner packet")         \
  X(packets_from, "packets returned by this target") \
  X(bytes_from, "bytes of them, inner packet")       \
  X(flows_new, "flows pinned to this target")        \
  X(flows_active, "flows in the table pinned to this target")

#define GWLB_ENDPOINT_COUNTERS(X)                        \
  X(packets_in, "packets that entered by this endpoint") \
  X(bytes_in, "bytes of them")                           \
  X(packets_out, "packets that left by this endpoint")   \
  X(bytes_out, "bytes of them")

enum class GatewayCounter : uint32_t {
#define GWLB_X(name, sentence) name,
  GWLB_GATEWAY_COUNTERS(GWLB_X)
#undef GWLB_X
      count
};
enum class TargetCounter : uint32_t {
#define GWLB_X(name, sentence) name,
  GWLB_TARGET_COUNTERS(GWLB_X)
#undef GWLB_X
      count
};
enum class EndpointCounter : uint32_t {
#define GWLB_X(name, sentence) name,
  GWLB_ENDPOINT_COUNTERS(GWLB_X)
#undef GWLB_X
      count
};

// One array: gateway counters | drops by reason | per target slot | per endpoint index | nonce of
// the last probe that came back, per target slot.
class Counters {
 public:
  static constexpr uint32_t kGateway = static_cast<uint32_t>(GatewayCounter::count);
  static constexpr uint32_t kTarget = static_cast<uint32_t>(TargetCounter::count);
  static constexpr uint32_t kEndpoint = static_cast<uint32_t>(EndpointCounter::count);
  static constexpr uint32_t kDropsAt = kGateway;
  static constexpr uint32_t kTargetsAt = kDropsAt + base::kDropReasons;
  static constexpr uint32_t kEndpointsAt = kTargetsAt + kTarget * base::kTargetsMax;
  static constexpr uint32_t kProbesAt = kEndpointsAt + kEndpoint * base::kEndpointsMax;
  static constexpr uint32_t kWords = kProbesAt + base::kTargetsMax;

  Counters() : block_(kWords) {}

  void add(GatewayCounter which, uint64_t n = 1) { bump(static_cast<uint32_t>(which), n); }
  void set(GatewayCounter which, uint64_t n) { store(static_cast<uint32_t>(which), n); }
  void drop(base::DropReason reason, uint64_t n = 1) {
    bump(kDropsAt + static_cast<uint32_t>(reason), n);
  }
  // For a reason whose total somebody else keeps: the kernel's own drops. Such a reason has one
  // writer too, which need not be the thread that runs the core.
  void set_drops(base::DropReason reason, uint64_t n) {
    store(kDropsAt + static_cast<uint32_t>(reason), n);
  }
  void add(uint16_t target, TargetCounter which, uint64_t n = 1) {
    bump(kTargetsAt + target * kTarget + static_cast<uint32_t>(which), n);
  }
  // `packets` and the counter of bytes behind it.
  void add_packets(uint16_t target, TargetCounter packets, uint64_t n, uint64_t bytes) {
    const uint32_t at = kTargetsAt + target * kTarget + static_cast<uint32_t>(packets);
    block_.add_pair(at, n, bytes);
  }
  void add(uint16_t endpoint, EndpointCounter which, uint64_t n = 1) {
    bump(kEndpointsAt + endpoint * kEndpoint + static_cast<uint32_t>(which), n);
  }
  void set_probe(uint16_t target, uint32_t nonce) { store(kProbesAt + target, nonce); }

  uint64_t get(GatewayCounter which) const { return load(static_cast<uint32_t>(which)); }
  uint64_t drops(base::DropReason reason) const {
    return load(kDropsAt + static_cast<uint32_t>(reason));
  }
  uint64_t get(uint16_t target, TargetCounter which) const {
    return load(kTargetsAt + target * kTarget + static_cast<uint32_t>(which));
  }
  uint64_t get(uint16_t endpoint, EndpointCounter which) const {
    return load(kEndpointsAt + endpoint * kEndpoint + static_cast<uint32_t>(which));
  }

  uint64_t probe(uint16_t target) const { return load(kProbesAt + target); }

  // The block, kWords long, shared so that a view may outlive the gateway.
  const std::shared_ptr<uint64_t[]>& words() const { return block_.words(); }

 private:
  void bump(uint32_t at, uint64_t n) { block_.add(at, n); }
  void store(uint32_t at, uint64_t n) { block_.set(at, n); }
  uint64_t load(uint32_t at) const { return block_.get(at); }

  base::CounterBlock block_;
};

}  // namespace gwlb::gateway
