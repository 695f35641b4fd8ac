#include "engine/descriptor_shadow.h"

#include <cstring>

namespace gwlb::engine {

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

void DescriptorShadow::show(const uint16_t* packets, uint32_t count) {
  if (count == batch_->count) {
#define GWLB_FIELD(name, type) std::memcpy(shown_##name, own_##name.get(), count * sizeof(type));
    GWLB_BATCH_FIELDS(GWLB_FIELD)
#undef GWLB_FIELD
    return;
  }
  for (uint32_t v = 0; v < count; ++v) show(v, packets[v]);
}

void DescriptorShadow::show(uint32_t v, uint32_t i) {
#define GWLB_FIELD(name, type) shown_##name[v] = own_##name[i];
  GWLB_BATCH_FIELDS(GWLB_FIELD)
#undef GWLB_FIELD
}

void DescriptorShadow::swap() {
#define GWLB_FIELD(name, type) \
  batch_->name = batch_->name == shown_##name ? own_##name.get() : shown_##name;
  GWLB_BATCH_FIELDS(GWLB_FIELD)
#undef GWLB_FIELD
}

void DescriptorShadow::clear_verdicts(uint32_t count) {
  std::memset(shown_verdict, static_cast<int>(batch::Verdict::pending), count);
  std::memset(shown_reason, 0, count);
}

bool DescriptorShadow::drops_any(uint32_t count) const {
  return std::memchr(shown_verdict, static_cast<int>(batch::Verdict::drop), count) != nullptr;
}

}  // namespace gwlb::engine
