#include "node/batch_wrap.h"

#include <cstring>

#include "node/addon.h"

namespace gwlb::node {
namespace {

using batch::PacketBatch;

constexpr uint32_t kStrideMultiple = 64;
constexpr uint32_t kStrideMax = 1u << 16;

std::unique_ptr<Batch> construct(const Napi::CallbackInfo& info) {
  const napi_env env = info.Env();
  uint32_t capacity;
  uint32_t stride;
  if (!read_number(env, info[0], "capacity", 1, base::kBatchPacketsMax, &capacity) ||
      !read_number(env, info[1], "stride", base::kHeadroom + kStrideMultiple, kStrideMax,
                   &stride)) {
    return nullptr;
  }
  if (stride % kStrideMultiple != 0) {
    throw_range_error(env, "stride: expected a multiple of 64, received " + std::to_string(stride));
    return nullptr;
  }
  auto self = std::make_unique<Batch>();
  self->native = PacketBatch::create(capacity, stride);
  if (self->native == nullptr) {
    throw_out_of_memory(env, std::to_string(capacity) + " packet slots");
    return nullptr;
  }
  // Only offset and length are JavaScript's to change: the rest of what places a packet is said
  // once.
  for (uint32_t i = 0; i < capacity; ++i) self->native->reset(i, 0);
  self->registry = Napi::Env(env).GetInstanceData<AddonData>()->batches;
  self->id = self->registry->add(self->native.get());
  ObjectBuilder properties(env);
  if (!define_batch_properties(env, info.This(), *self->native, self->native) ||
      !properties.number("id", self->id)
           .number("slots", self->native->slot_offset(0))
           .define_on(info.This())) {
    return nullptr;
  }
  return self;
}

typedef uint32_t Words __attribute__((vector_size(16)));

Words load(const uint32_t* from) {
  Words out;
  std::memcpy(&out, from, sizeof out);
  return out;
}

bool inside(const PacketBatch& batch, uint32_t i) {
  const uint32_t in_front = batch.offset[i] - batch.slot_offset(i);
  return in_front <= batch.stride() && batch.length[i] <= batch.stride() - in_front;
}

// The same of all, by sign bits: a block is far smaller than 2^31 bytes. Where neither offset nor
// length has the bit, none of the differences can lose one by wrapping round before another one of
// them has it.
bool all_inside(const PacketBatch& batch, uint32_t count) {
  constexpr uint32_t kLanes = sizeof(Words) / sizeof(uint32_t);
  const uint32_t stride = batch.stride();
  Words slot = Words{0, 1, 2, 3} * stride + batch.slot_offset(0);
  Words outside = {};
  uint32_t i = 0;
  for (; i + kLanes <= count; i += kLanes) {
    const Words offset = load(batch.offset + i);
    const Words length = load(batch.length + i);
    const Words in_front = offset - slot;
    const Words behind = stride - in_front;
    outside |= offset | length | in_front | behind | (behind - length);
    slot += kLanes * stride;
  }
  if ((outside[0] | outside[1] | outside[2] | outside[3]) >> 31 != 0) return false;
  for (; i < count; ++i) {
    if (!inside(batch, i)) return false;
  }
  return true;
}

}  // namespace

bool define_batch_properties(napi_env env, napi_value object, PacketBatch& batch,
                             std::shared_ptr<void> owner, napi_value details) {
  const napi_value block =
      external_buffer(env, batch.block(), batch.block_bytes(), std::move(owner));
  if (block == nullptr) return false;
  PacketBatch::FieldLayout fields[PacketBatch::kFields];
  batch.layout(fields);
  ObjectBuilder layout(env);
  for (const auto& field : fields) layout.number(field.name, field.offset);
  ObjectBuilder properties(env);
  properties.value("block", block)
      .number("capacity", batch.capacity())
      .number("stride", batch.stride())
      .number("headroom", base::kHeadroom)
      .value("layout", layout.finish());
  if (details != nullptr) properties.value("details", details);
  return properties.define_on(object);
}

bool check_slots(napi_env env, const PacketBatch& batch, uint32_t count) {
  if (all_inside(batch, count)) return true;
  uint32_t i = 0;
  while (i + 1 < count && inside(batch, i)) ++i;
  const uint32_t begin = batch.slot_offset(i);
  throw_range_error(env, "batch: packet " + std::to_string(i) + ": expected to lie inside bytes " +
                             std::to_string(begin) + " to " +
                             std::to_string(begin + batch.stride()) + ", received offset " +
                             std::to_string(batch.offset[i]) + " and length " +
                             std::to_string(batch.length[i]));
  return false;
}

bool read_batch_number(const Napi::CallbackInfo& info, size_t at, PacketBatch** out) {
  const napi_env env = info.Env();
  uint32_t id;
  if (!read_number(env, info[at], "batch", 0, 0xffffffff, &id)) return false;
  const AddonData* data = Napi::Env(env).GetInstanceData<AddonData>();
  *out = data->batches->find(id);
  if (*out != nullptr) return true;
  throw_range_error(env, "batch: expected the number of a batch, received " + std::to_string(id) +
                             ", which has none");
  return false;
}

bool read_batch(const Napi::CallbackInfo& info, size_t first, PacketBatch** out) {
  uint32_t count;
  if (!read_batch_number(info, first, out) ||
      !read_number(info.Env(), info[first + 1], "count", 0, (*out)->capacity(), &count) ||
      !check_slots(info.Env(), **out, count)) {
    return false;
  }
  (*out)->count = count;
  return true;
}

uint32_t BatchRegistry::add(PacketBatch* batch) {
  if (unused_.empty()) {
    batches_.push_back(batch);
    return static_cast<uint32_t>(batches_.size() - 1);
  }
  const uint32_t id = unused_.back();
  unused_.pop_back();
  batches_[id] = batch;
  return id;
}

void BatchRegistry::remove(uint32_t id) {
  batches_[id] = nullptr;
  unused_.push_back(id);
}

napi_value packet_batch_class(napi_env env) { return define_class<Batch, construct>(env, {}); }

}  // namespace gwlb::node
