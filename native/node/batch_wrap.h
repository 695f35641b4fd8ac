// Packet batches as JavaScript sees them.
#pragma once

#include <napi.h>

#include <memory>

#include "batch/packet_batch.h"
#include "node/class_wrap.h"

namespace gwlb::node {

struct Batch {
  static constexpr ClassId kClass = {"PacketBatch", 0x9b6e3c1f50a84d27};
  std::shared_ptr<batch::PacketBatch> native;
};

// Gives `object` the properties of a batch: block, capacity, stride, headroom, layout. The block is
// one ArrayBuffer that keeps `owner` alive. False with an exception pending.
bool define_batch_properties(napi_env env, napi_value object, batch::PacketBatch& batch,
                             std::shared_ptr<void> owner, napi_value details = nullptr);

// JavaScript may have written anything into the descriptors. False, with a RangeError that names
// the packet, where a packet in use does not lie inside its slot; nothing has happened then.
// (Endpoint indices and verdicts are checked by the core: those are drops.)
bool check_slots(napi_env env, const batch::PacketBatch& batch);

}  // namespace gwlb::node
