#include "node/batch_wrap.h"

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
  if (!define_batch_properties(env, info.This(), *self->native, self->native)) return nullptr;
  return self;
}

napi_value count(const Napi::CallbackInfo& info, Batch& self) {
  return number_value(info.Env(), self.native->count);
}

napi_value set_count(const Napi::CallbackInfo& info, Batch& self) {
  uint32_t count;
  if (read_number(info.Env(), info[0], "count", 0, self.native->capacity(), &count)) {
    self.native->count = count;
  }
  return nullptr;
}

napi_value reset(const Napi::CallbackInfo& info, Batch& self) {
  uint32_t i;
  uint32_t length;
  if (read_number(info.Env(), info[0], "i", 0, self.native->capacity() - 1, &i) &&
      read_number(info.Env(), info[1], "length", 0, self.native->slot_bytes(), &length)) {
    self.native->reset(i, length);
  }
  return nullptr;
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

bool check_slots(napi_env env, const PacketBatch& batch) {
  for (uint32_t i = 0; i < batch.count; ++i) {
    const uint32_t begin = batch.slot_offset(i);
    const uint32_t offset = batch.offset[i];
    const uint32_t length = batch.length[i];
    if (offset >= begin && offset - begin <= batch.stride() &&
        length <= batch.stride() - (offset - begin)) {
      continue;
    }
    throw_range_error(env, "batch: packet " + std::to_string(i) +
                               ": expected to lie inside bytes " + std::to_string(begin) + " to " +
                               std::to_string(begin + batch.stride()) + ", received offset " +
                               std::to_string(offset) + " and length " + std::to_string(length));
    return false;
  }
  return true;
}

napi_value packet_batch_class(napi_env env) {
  return define_class<Batch, construct>(env, {
                                                 method<Batch, count>("count"),
                                                 method<Batch, set_count>("setCount"),
                                                 method<Batch, reset>("reset"),
                                             });
}

}  // namespace gwlb::node
