// Contract: the appliance's worker thread. Without an inspector packets never leave native code.
// With one, opened batches go to the inspector's thread through a ring, at most one wake-up per
// ring-full of work, and come back with verdicts; a slow inspector stops reading (the kernel's
// buffer then drops, and that is counted), it never grows memory.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <vector>

#include "appliance/appliance.h"
#include "io/udp.h"

namespace gwlb::engine {

struct ApplianceEngineConfig {
  appliance::ApplianceConfig appliance;
  io::UdpConfig udp;
  uint16_t gateway_port = 6081;  // where returned packets go (R6)
  std::vector<appliance::DropRule> drop;
  uint32_t batches = 16;  // of kBatchPacketsMax packets, in flight with the inspector
  bool jumbo = true;
  bool inspect = false;
};

class ApplianceEngine {
 public:
  // `ready` is called on the worker thread when batches wait for the inspector and it has not been
  // told yet (coalesced); it must not block.
  static io::OsError start(const ApplianceEngineConfig& config, std::function<void()> ready,
                           std::unique_ptr<ApplianceEngine>* out);
  ~ApplianceEngine();

  uint16_t port() const;

  // Inspector's thread: the number of the next batch to look at, or -1.
  int next_batch();
  batch::PacketBatch& batch(int number);
  appliance::Appliance& appliance(int number);  // for opened() and rewrite()
  // Gives it back: packets whose verdict is drop are dropped, all others are returned.
  void release(int number);
  uint32_t batches() const;

  // Switches the inspector on or off while running.
  void set_inspect(bool inspect);

  // gateway::Counters-like block: GWLB_APPLIANCE_COUNTERS, then drops by reason.
  const std::shared_ptr<uint64_t[]>& counters() const;

  void stop();
};

}  // namespace gwlb::engine
