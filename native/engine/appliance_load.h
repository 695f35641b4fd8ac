// Packets on their way to the inspector and back: a batch in which each has a slot of its own, with
// what was found out about them. It goes from thread to thread as a whole.
#pragma once

#include <cstdint>
#include <memory>

#include "appliance/appliance.h"
#include "appliance/flow_verdicts.h"
#include "batch/packet_batch.h"

namespace gwlb::engine {

struct ApplianceLoad {
  std::unique_ptr<batch::PacketBatch> batch;
  std::unique_ptr<appliance::Appliance> appliance;
  appliance::FlowRef flow[base::kBatchPacketsMax];

  // The worker's.
  uint32_t sequence = 0;  // in the order of receiving
  bool waits = false;     // holds packets that only wait for earlier ones; nobody looks at them
  bool released = false;  // came back; waits for those before it

  // The inspector's, until it gives the load back.
  bool held = false;
  uint32_t shown_count = 0;
  uint16_t shown[base::kBatchPacketsMax];  // positions that the inspector is shown, ascending
  bool hidden[base::kBatchPacketsMax];     // their flow has its verdict
  uint32_t flows_passed = 0;               // verdicts that took effect meanwhile
  uint32_t flows_dropped = 0;

  bool create(uint32_t packets, uint32_t stride, const appliance::ApplianceConfig& config) {
    batch = batch::PacketBatch::create(packets, stride);
    appliance = std::make_unique<appliance::Appliance>(config);
    return batch != nullptr;
  }
  uint32_t room() const { return batch->capacity() - batch->count; }
};

}  // namespace gwlb::engine
