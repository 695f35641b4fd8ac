// Packet batches as JavaScript sees them.
#pragma once

#include <napi.h>

#include <memory>
#include <vector>

#include "batch/packet_batch.h"
#include "node/class_wrap.h"

namespace gwlb::node {

// The live batches of an environment by number, so that a call takes a number instead of an object
// whose class would have to be proved. A number is used again when its batch has been collected.
class BatchRegistry {
 public:
  uint32_t add(batch::PacketBatch* batch);
  void remove(uint32_t id);
  // nullptr where there is none.
  batch::PacketBatch* find(uint32_t id) const {
    return id < batches_.size() ? batches_[id] : nullptr;
  }

 private:
  std::vector<batch::PacketBatch*> batches_;
  std::vector<uint32_t> unused_;
};

struct Batch {
  static constexpr ClassId kClass = {"PacketBatch", 0x9b6e3c1f50a84d27};
  ~Batch() {
    if (registry != nullptr) registry->remove(id);
  }

  std::shared_ptr<batch::PacketBatch> native;
  // Of its environment; batches are finalized after that has ended, too.
  std::shared_ptr<BatchRegistry> registry;
  uint32_t id = 0;
};

bool read_batch_number(const Napi::CallbackInfo& info, size_t at, batch::PacketBatch** out);
// Two arguments: the batch with this number, with `count` packets that lie inside of their slots.
bool read_batch(const Napi::CallbackInfo& info, size_t first, batch::PacketBatch** out);

// Gives `object` the properties of a batch: block, capacity, stride, headroom, layout. The block is
// one ArrayBuffer that keeps `owner` alive. False with an exception pending.
bool define_batch_properties(napi_env env, napi_value object, batch::PacketBatch& batch,
                             std::shared_ptr<void> owner, napi_value details = nullptr);

// JavaScript may have written anything into the descriptors. False, with a RangeError that names
// the packet, where one of `count` packets does not lie inside its slot; nothing has happened then.
// (Endpoint indices and verdicts are checked by the core: those are drops.)
bool check_slots(napi_env env, const batch::PacketBatch& batch, uint32_t count);

}  // namespace gwlb::node
