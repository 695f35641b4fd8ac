// Packets on their way to the inspector and back: a batch in which each has a slot of its own, with
// what was found out about them. It goes from thread to thread as a whole.
#pragma once

#include <cstdint>
#include <memory>

#include "appliance/appliance.h"
#include "appliance/flow_verdicts.h"
#include "batch/packet_batch.h"
#include "engine/descriptor_shadow.h"

namespace gwlb::engine {

struct ApplianceLoad {
  static constexpr uint32_t kDetailWords = 16;

  std::unique_ptr<batch::PacketBatch> batch;
  // What JavaScript sees of the descriptors, and of what was found out: kDetailWords for each
  // packet that is shown (see src/native/binding-appliance.ts). The worker writes both while it has
  // the packets at hand, so that the inspector's thread has nothing to do for each of them. Nobody
  // here reads them.
  std::unique_ptr<DescriptorShadow> shadow;
  std::shared_ptr<uint32_t[]> details;
  std::unique_ptr<appliance::Appliance> appliance;
  appliance::FlowRef flow[base::kBatchPacketsMax];

  // The worker's.
  uint32_t sequence = 0;   // in the order of receiving
  uint64_t decisions = 0;  // how many verdicts had been given when it was taken into use
  bool counting = false;   // has packets of flows that a verdict counts down for
  bool waits = false;      // holds packets that only wait for earlier ones; nobody looks at them
  bool released = false;   // came back; waits for those before it

  // The inspector's, until it gives the load back.
  bool held = false;
  uint32_t shown_count = 0;
  uint16_t shown[base::kBatchPacketsMax];  // positions that the inspector is shown, ascending
  bool hidden[base::kBatchPacketsMax];     // their flow has its verdict
  uint32_t flows_passed = 0;               // verdicts that took effect meanwhile
  uint32_t flows_dropped = 0;

  // Writes the details of packet i as those of the v-th that is shown.
  void describe(uint32_t v, uint32_t i);
  void show_all();

  bool create(uint32_t packets, uint32_t stride, const appliance::ApplianceConfig& config) {
    batch = batch::PacketBatch::create(packets, stride);
    appliance = std::make_unique<appliance::Appliance>(config);
    if (batch == nullptr) return false;
    shadow = std::make_unique<DescriptorShadow>(batch.get());
    details.reset(new uint32_t[size_t{packets} * kDetailWords]());
    return true;
  }
  uint32_t room() const { return batch->capacity() - batch->count; }
};

}  // namespace gwlb::engine
