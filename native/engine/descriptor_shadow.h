// A second set of descriptors for a batch whose block JavaScript views for as long as it likes,
// while the batch goes to and fro between JavaScript's thread and a worker: the native side works
// on the shadow, JavaScript on the block's. What JavaScript writes there, at any time, can
// therefore never lead native code outside of a slot; only verdicts are taken over, when the batch
// is given back.
#pragma once

#include <cstdint>
#include <memory>

#include "batch/packet_batch.h"

namespace gwlb::engine {

class DescriptorShadow {
 public:
  // Must be called once, by the thread that owns the batch at the moment; from then on the batch's
  // descriptor pointers are the shadow's, which has to live as long as the batch.
  explicit DescriptorShadow(batch::PacketBatch* batch);
  DescriptorShadow(const DescriptorShadow&) = delete;
  DescriptorShadow& operator=(const DescriptorShadow&) = delete;

  // Shadow to block: what JavaScript is to see of `count` packets, the v-th of which is packet
  // packets[v], ascending; or of one of them.
  void show(const uint16_t* packets, uint32_t count);
  void show(uint32_t v, uint32_t i);
  // What JavaScript may have said of the first `count` before they were its own is forgotten.
  void clear_verdicts(uint32_t count);
  // Whether JavaScript drops any of the first `count`.
  bool drops_any(uint32_t count) const;
  // Points the batch at the block's descriptors, for its layout to be read, and the next time back.
  void swap();
  // Whether JavaScript drops the v-th.
  bool drops(uint32_t v) const {
    return shown_verdict[v] == static_cast<uint8_t>(batch::Verdict::drop);
  }

 private:
  batch::PacketBatch* batch_;
#define GWLB_FIELD(name, type)        \
  std::unique_ptr<type[]> own_##name; \
  type* shown_##name;
  GWLB_BATCH_FIELDS(GWLB_FIELD)
#undef GWLB_FIELD
};

}  // namespace gwlb::engine
