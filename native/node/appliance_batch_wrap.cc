#include "node/appliance_batch_wrap.h"

#include <algorithm>

#include "base/bytes.h"
#include "node/addon.h"
#include "node/batch_wrap.h"

namespace gwlb::node {
namespace {

std::unique_ptr<ApplianceBatch> construct(const Napi::CallbackInfo& info) {
  const napi_env env = info.Env();
  AddonData* data = info.Env().GetInstanceData<AddonData>();
  std::unique_ptr<ApplianceBatch> self = std::move(data->constructing);
  if (self == nullptr) {
    throw_type_error(env, "ApplianceBatch: only an ApplianceEngine makes batches");
    return nullptr;
  }
  batch::PacketBatch& native = self->native();
  const size_t words = size_t{native.capacity()} * ApplianceBatch::kDetailWords;
  self->details.reset(new uint32_t[words]());
  const napi_value details = typed_array(
      env, napi_uint32_array, words,
      external_buffer(env, self->details.get(), words * sizeof(uint32_t), self->details));
  if (details == nullptr ||
      !define_batch_properties(env, info.This(), native, self->memory, details)) {
    return nullptr;
  }
  // The layout has been read: now the descriptors may move.
  auto& shadow = self->memory->shadows[static_cast<size_t>(self->number)];
  if (shadow == nullptr) shadow = std::make_unique<DescriptorShadow>(&native);
  return self;
}

bool check_lent(napi_env env, const ApplianceBatch& self) {
  if (self.lent) return true;
  napi_throw_error(env, "ERR_NOT_LENT", "the batch was given back, or its engine was stopped");
  return false;
}

napi_value count(const Napi::CallbackInfo& info, ApplianceBatch& self) {
  return number_value(info.Env(), self.lent ? self.load().shown_count : 0);
}

napi_value refuse(const Napi::CallbackInfo& info, ApplianceBatch&) {
  throw_type_error(info.Env(), "an appliance's batch keeps the packets it has");
  return nullptr;
}

napi_value rewrite(const Napi::CallbackInfo& info, ApplianceBatch& self) {
  const napi_env env = info.Env();
  if (!check_lent(env, self)) return nullptr;
  batch::PacketBatch& native = self.native();
  const engine::ApplianceLoad& load = self.load();
  uint32_t v;
  Bytes bytes;
  if (!read_number(env, info[0], "i", 0, load.shown_count - 1, &v) ||
      !read_bytes(env, info[1], "bytes", &bytes)) {
    return nullptr;
  }
  if (bytes.size > native.stride()) return boolean_value(env, false);
  const uint32_t i = load.shown[v];
  // The bytes may be a view of the packet itself; the appliance allows for that.
  appliance::Appliance& appliance = self.memory->engine->appliance(self.number);
  const bool done = appliance.rewrite(native, i, bytes.data, static_cast<uint32_t>(bytes.size));
  if (done) {
    self.shadow().show(v, i);
    if (!load.hidden[i]) self.fill_details(v);
  }
  return boolean_value(env, done);
}

bool read_after(napi_env env, napi_value value, const char* name, uint64_t* out) {
  if (!read_integer(env, value, name, 0, kIntegerMax, out)) return false;
  if (*out == kIntegerMax) *out = UINT64_MAX;
  return true;
}

napi_value decide_flow(const Napi::CallbackInfo& info, ApplianceBatch& self) {
  const napi_env env = info.Env();
  if (!check_lent(env, self)) return nullptr;
  const engine::ApplianceLoad& load = self.load();
  uint32_t v;
  bool drop;
  appliance::After after;
  if (!read_number(env, info[0], "i", 0, load.shown_count - 1, &v) ||
      !read_boolean(env, info[1], "drop", &drop) ||
      !read_after(env, info[2], "packets", &after.packets) ||
      !read_after(env, info[3], "bytes", &after.bytes)) {
    return nullptr;
  }
  if (self.memory->stopped) return boolean_value(env, false);
  const auto verdict = drop ? appliance::FlowVerdict::drop : appliance::FlowVerdict::pass;
  const bool known = self.memory->engine->decide(self.number, load.shown[v], verdict, after);
  if (known) {
    for (ApplianceBatch* batch : self.memory->lent) batch->hide_details();
  }
  return boolean_value(env, known);
}

}  // namespace

ApplianceBatch::~ApplianceBatch() {
  if (lent) std::erase(memory->lent, this);
}

void ApplianceBatch::lend() {
  lent = true;
  memory->lent.push_back(this);
  const engine::ApplianceLoad& given = load();
  shadow().show(given.shown, given.shown_count);
  for (uint32_t v = 0; v < given.shown_count; ++v) fill_details(v);
}

void ApplianceBatch::give_back() {
  lent = false;
  std::erase(memory->lent, this);
  if (memory->stopped) return;
  const engine::ApplianceLoad& given = load();
  for (uint32_t v = 0; v < given.shown_count; ++v) {
    const uint32_t i = given.shown[v];
    if (shadow().drops(v) && !given.hidden[i] && native().pending(i)) {
      native().drop(i, base::DropReason::appliance_verdict);
    }
  }
  memory->engine->release(number);
}

void ApplianceBatch::fill_details(uint32_t v) {
  const appliance::Opened& opened = memory->engine->appliance(number).opened(load().shown[v]);
  const wire::InnerPacket& inner = opened.inner;
  uint32_t* out = details.get() + size_t{v} * kDetailWords;
  out[0] = inner.version | uint32_t{inner.protocol} << 8 | uint32_t{inner.flags} << 16 |
           uint32_t{inner.tcp_flags} << 24;
  out[1] = inner.source_port | uint32_t{inner.destination_port} << 16;
  out[2] =
      inner.transport_offset | uint32_t{inner.icmp_type} << 16 | uint32_t{inner.icmp_code} << 24;
  out[3] = opened.options.cookie;
  out[4] = static_cast<uint32_t>(opened.options.endpoint_id);
  out[5] = static_cast<uint32_t>(opened.options.endpoint_id >> 32);
  out[6] = static_cast<uint32_t>(opened.options.attachment_id);
  out[7] = static_cast<uint32_t>(opened.options.attachment_id >> 32);
  const uint32_t words = inner.version == 4 ? 1 : 4;
  for (uint32_t k = 0; k < 4; ++k) {
    out[8 + k] = k < words ? base::load_be32(inner.source + 4 * k) : 0;
    out[12 + k] = k < words ? base::load_be32(inner.destination + 4 * k) : 0;
  }
}

void ApplianceBatch::hide_details() {
  const engine::ApplianceLoad& given = load();
  for (uint32_t v = 0; v < given.shown_count; ++v) {
    if (given.hidden[given.shown[v]]) details[size_t{v} * kDetailWords] = 0;
  }
}

napi_value new_appliance_batch(Napi::Env env, const std::shared_ptr<ApplianceMemory>& memory,
                               int number, ApplianceBatch** native) {
  AddonData* data = env.GetInstanceData<AddonData>();
  data->constructing = std::make_unique<ApplianceBatch>();
  data->constructing->memory = memory;
  data->constructing->number = number;
  const napi_value constructor = data->appliance_batch.Value();
  napi_value object = nullptr;
  napi_new_instance(env, constructor, 0, nullptr, &object);
  data->constructing.reset();
  *native = object == nullptr ? nullptr : unwrap<ApplianceBatch>(env, object);
  return *native == nullptr ? nullptr : object;
}

napi_value appliance_batch_class(napi_env env) {
  return define_class<ApplianceBatch, construct>(
      env, {
               method<ApplianceBatch, count>("count"),
               method<ApplianceBatch, refuse>("setCount"),
               method<ApplianceBatch, refuse>("reset"),
               method<ApplianceBatch, rewrite>("rewrite"),
               method<ApplianceBatch, decide_flow>("decideFlow"),
           });
}

}  // namespace gwlb::node
