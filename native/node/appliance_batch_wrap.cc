#include "node/appliance_batch_wrap.h"

#include <algorithm>

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
  engine::ApplianceLoad& load = self->load();
  const napi_value details =
      typed_array(env, napi_uint32_array, words,
                  external_buffer(env, load.details.get(), words * sizeof(uint32_t), load.details));
  if (details == nullptr) return nullptr;
  load.shadow->swap();
  const bool done = define_batch_properties(env, info.This(), native, self->memory, details);
  load.shadow->swap();
  if (!done) return nullptr;
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

// Packet v, which is shown, is another one now.
void show_again(engine::ApplianceLoad& load, uint32_t v) {
  const uint32_t i = load.shown[v];
  load.shadow->show(v, i);
  if (!load.hidden[i]) load.describe(v, i);
}

napi_value rewrite(const Napi::CallbackInfo& info, ApplianceBatch& self) {
  const napi_env env = info.Env();
  if (!check_lent(env, self)) return nullptr;
  batch::PacketBatch& native = self.native();
  engine::ApplianceLoad& load = self.load();
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
  if (done) show_again(load, v);
  return boolean_value(env, done);
}

napi_value reject(const Napi::CallbackInfo& info, ApplianceBatch& self) {
  const napi_env env = info.Env();
  if (!check_lent(env, self)) return nullptr;
  engine::ApplianceLoad& load = self.load();
  uint32_t v;
  if (!read_number(env, info[0], "i", 0, load.shown_count - 1, &v)) return nullptr;
  appliance::Appliance& appliance = self.memory->engine->appliance(self.number);
  const bool done = appliance.reject(self.native(), load.shown[v]);
  if (done) show_again(load, v);
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
  using Verdict = appliance::FlowVerdict;
  const engine::ApplianceLoad& load = self.load();
  uint32_t v;
  uint8_t verdict;
  appliance::After after;
  if (!read_number(env, info[0], "i", 0, load.shown_count - 1, &v) ||
      !read_number(env, info[1], "verdict", static_cast<uint8_t>(Verdict::pass),
                   static_cast<uint8_t>(Verdict::direct), &verdict) ||
      !read_after(env, info[2], "packets", &after.packets) ||
      !read_after(env, info[3], "bytes", &after.bytes)) {
    return nullptr;
  }
  if (self.memory->stopped) return boolean_value(env, false);
  const bool known =
      self.memory->engine->decide(self.number, load.shown[v], static_cast<Verdict>(verdict), after);
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
}

void ApplianceBatch::give_back() {
  lent = false;
  std::erase(memory->lent, this);
  if (memory->stopped) return;
  memory->engine->take_verdicts(number);
  memory->engine->release(number);
}

void ApplianceBatch::hide_details() {
  const engine::ApplianceLoad& given = load();
  for (uint32_t v = 0; v < given.shown_count; ++v) {
    if (given.hidden[given.shown[v]]) given.details[size_t{v} * kDetailWords] = 0;
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
               method<ApplianceBatch, reject>("reject"),
               method<ApplianceBatch, decide_flow>("decideFlow"),
           });
}

}  // namespace gwlb::node
