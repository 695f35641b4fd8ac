#include "node/descriptor_shadow.h"

#include <cstring>

namespace gwlb::node {

DescriptorShadow::DescriptorShadow(batch::PacketBatch* batch) : batch_(batch) {
  const uint32_t capacity = batch->capacity();
#define GWLB_FIELD(name, type)                                         \
  own_##name.reset(new type[capacity]);                                \
  std::memcpy(own_##name.get(), batch->name, capacity * sizeof(type)); \
  shown_##name = batch->name;                                          \
  batch->name = own_##name.get();
  GWLB_BATCH_FIELDS(GWLB_FIELD)
#undef GWLB_FIELD
}

void DescriptorShadow::show() {
  const uint32_t count = batch_->count;
#define GWLB_FIELD(name, type) std::memcpy(shown_##name, own_##name.get(), count * sizeof(type));
  GWLB_BATCH_FIELDS(GWLB_FIELD)
#undef GWLB_FIELD
}

void DescriptorShadow::show(uint32_t i) {
#define GWLB_FIELD(name, type) shown_##name[i] = own_##name[i];
  GWLB_BATCH_FIELDS(GWLB_FIELD)
#undef GWLB_FIELD
}

void DescriptorShadow::take_verdicts() {
  for (uint32_t i = 0; i < batch_->count; ++i) {
    if (shown_verdict[i] == static_cast<uint8_t>(batch::Verdict::drop) && batch_->pending(i)) {
      batch_->drop(i, base::DropReason::appliance_verdict);
    }
  }
}

}  // namespace gwlb::node
