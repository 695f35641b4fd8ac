#include "batch/packet_batch.h"

#ifdef __linux__
#include <sys/mman.h>
#endif

#include <cstdlib>
#include <cstring>

#include "base/assert.h"

namespace gwlb::batch {
namespace {

constexpr size_t kLine = 64;
constexpr size_t kHugePage = 2u << 20;

size_t round_up(size_t value, size_t to) { return (value + to - 1) / to * to; }

}  // namespace

std::unique_ptr<PacketBatch> PacketBatch::create(uint32_t capacity, uint32_t stride) {
  GWLB_ASSERT(capacity >= 1 && capacity <= base::kBatchPacketsMax);
  GWLB_ASSERT(stride % kLine == 0 && stride > base::kHeadroom);
  std::unique_ptr<PacketBatch> batch(new PacketBatch());
  size_t bytes = 0;
#define GWLB_FIELD(name, type) bytes += round_up(capacity * sizeof(type), kLine);
  GWLB_BATCH_FIELDS(GWLB_FIELD)
#undef GWLB_FIELD
  batch->capacity_ = capacity;
  batch->stride_ = stride;
  batch->slots_offset_ = bytes;
  batch->block_bytes_ = bytes + size_t{capacity} * stride;
  const bool large = batch->block_bytes_ >= kHugePage;
  const size_t align = large ? kHugePage : kLine;
  auto* block =
      static_cast<uint8_t*>(std::aligned_alloc(align, round_up(batch->block_bytes_, align)));
  if (block == nullptr) return nullptr;
#ifdef __linux__
  // Slots of trains lie 64 KiB apart: each on small pages of its own would cost a TLB miss a
  // packet.
  if (large) madvise(block, batch->block_bytes_, MADV_HUGEPAGE);
#endif
  std::memset(block, 0, batch->block_bytes_);
  batch->block_ = block;
  size_t at = 0;
#define GWLB_FIELD(name, type)                       \
  batch->name = reinterpret_cast<type*>(block + at); \
  at += round_up(capacity * sizeof(type), kLine);
  GWLB_BATCH_FIELDS(GWLB_FIELD)
#undef GWLB_FIELD
  for (uint32_t i = 0; i < capacity; ++i) batch->reset(i, 0);
  return batch;
}

PacketBatch::~PacketBatch() { std::free(block_); }

void PacketBatch::layout(FieldLayout (&out)[kFields]) const {
  uint32_t n = 0;
#define GWLB_FIELD(name, type)                            \
  out[n++] = {#name, static_cast<uint32_t>(sizeof(type)), \
              static_cast<uint32_t>(reinterpret_cast<const uint8_t*>(name) - block_)};
  GWLB_BATCH_FIELDS(GWLB_FIELD)
#undef GWLB_FIELD
}

}  // namespace gwlb::batch
