// The appliance's worker thread, and the batches that come up from it.
#include "node/appliance_engine_wrap.h"

#include "node/addon.h"
#include "node/appliance_devices_wrap.h"
#include "node/configs.h"
#include "node/gateway_control.h"
#include "node/off_thread.h"

namespace gwlb::node {
namespace {

// Runs on JavaScript's thread. `env` is null where the environment is ending.
void call_ready(napi_env env, napi_value ready, void*, void*) {
  if (env == nullptr || ready == nullptr) return;
  napi_value undefined;
  napi_get_undefined(env, &undefined);
  if (napi_call_function(env, undefined, ready, 0, nullptr, nullptr) != napi_pending_exception) {
    return;
  }
  // What the inspector throws is an uncaught exception like any other, not a warning.
  napi_value thrown;
  if (napi_get_and_clear_last_exception(env, &thrown) == napi_ok) {
    napi_fatal_exception(env, thrown);
  }
}

}  // namespace

bool Ready::create(napi_env env, napi_value callback) {
  // One place in the queue: a call that waits will see everything that came since.
  return napi_create_threadsafe_function(env, callback, nullptr, text_value(env, "gwlb appliance"),
                                         1, 1, nullptr, nullptr, nullptr, call_ready,
                                         &function_) == napi_ok;
}

void Ready::let_go() {
  if (function_ == nullptr) return;
  napi_release_threadsafe_function(function_, napi_tsfn_abort);
  function_ = nullptr;
}

namespace {

bool describe(const Napi::CallbackInfo& info, const engine::ApplianceEngine& engine) {
  const napi_env env = info.Env();
  constexpr size_t kWords = appliance::Counters::kWords;
  const std::shared_ptr<uint64_t[]>& words = engine.counters();
  ObjectBuilder properties(env);
  ObjectBuilder offloads(env);
  offloads.boolean("udpGso", engine.sends_trains()).boolean("udpGro", engine.receives_trains());
  properties.number("port", engine.port())
      .value("offloads", offloads.finish())
      .value("counters",
             typed_array(env, napi_biguint64_array, kWords,
                         external_buffer(env, words.get(), kWords * sizeof(uint64_t), words)));
  return properties.define_on(info.This());
}

// Takes the one that was opened; with a configuration of one without sockets, makes it.
std::unique_ptr<ApplianceEngine> construct(const Napi::CallbackInfo& info) {
  const napi_env env = info.Env();
  std::unique_ptr<ApplianceEngine> self =
      std::move(info.Env().GetInstanceData<AddonData>()->opened_appliance);
  if (self == nullptr) {
    engine::ApplianceEngineConfig config;
    if (!read_appliance_config(env, info[0], &config)) return nullptr;
    if (!config.offline) {
      throw_type_error(env, "ApplianceEngine: expected offline, or a call of openApplianceEngine");
      return nullptr;
    }
    self = std::make_unique<ApplianceEngine>();
    self->batches.resize(config.batches);
    self->offline = true;
    auto memory = std::make_shared<ApplianceMemory>();
    const io::OsError error = engine::ApplianceEngine::start(config, {}, &memory->engine);
    if (!error.ok()) {
      throw_system_error(env, error);
      return nullptr;
    }
    self->memory = std::move(memory);
  }
  if (!describe(info, *self->memory->engine)) return nullptr;
  return self;
}

napi_value open_appliance_engine(const Napi::CallbackInfo& info) {
  const napi_env env = info.Env();
  engine::ApplianceEngineConfig config;
  if (!read_appliance_config(env, info[0], &config) || !read_function(env, info[1], "ready")) {
    return nullptr;
  }
  if (config.offline) {
    throw_type_error(env, "config.offline: expected false, received true");
    return nullptr;
  }
  auto self = std::make_unique<ApplianceEngine>();
  if (!self->ready.create(env, info[1])) {
    if (!exception_pending(env)) throw_out_of_memory(env, "a thread-safe function");
    return nullptr;
  }
  // Hooks run last to first, and the thread-safe function has one too: the worker has to end first.
  self->hook = std::make_unique<StopWithEnvironment>(env, ApplianceEngine::stop_hook, self.get());
  self->batches.resize(config.batches);
  auto memory = std::make_shared<ApplianceMemory>();
  const Ready* ready = &self->ready;  // outlives the worker: see stop()
  auto opened = std::make_shared<std::unique_ptr<ApplianceEngine>>(std::move(self));
  return off_thread(
      env, nullptr,
      [memory, config, ready] {
        return engine::ApplianceEngine::start(
            config, [ready] { ready->call(); }, &memory->engine);
      },
      [memory, opened](napi_env env, const io::OsError& error) -> napi_value {
        std::unique_ptr<ApplianceEngine> self = std::move(*opened);
        if (!error.ok()) return nullptr;
        self->memory = memory;
        AddonData* data = Napi::Env(env).GetInstanceData<AddonData>();
        data->opened_appliance = std::move(self);
        const napi_value object = data->appliance_engine.New({});
        data->opened_appliance = nullptr;
        return object;
      });
}

napi_value next(const Napi::CallbackInfo& info, ApplianceEngine& self) {
  const Napi::Env env = info.Env();
  const int number = self.memory->stopped ? -1 : self.memory->engine->next_batch();
  if (number < 0) return null_value(env);
  ApplianceEngine::Known& known = self.batches[static_cast<size_t>(number)];
  if (known.native == nullptr) {
    const napi_value object = new_appliance_batch(env, self.memory, number, &known.native);
    if (object == nullptr) {
      self.memory->engine->release(number);
      return nullptr;
    }
    known.object = Napi::ObjectReference::New(Napi::Object(env, object), 1);
  }
  known.native->lend();
  return known.object.Value();
}

napi_value release(const Napi::CallbackInfo& info, ApplianceEngine& self) {
  ApplianceBatch* batch;
  if (!read_wrapped(info.Env(), info[0], "batch", &batch)) return nullptr;
  if (batch->memory != self.memory) {
    throw_type_error(info.Env(), "batch: expected a batch of this engine, received another's");
  } else if (batch->lent) {
    batch->give_back();
  } else if (!self.memory->stopped) {
    napi_throw_error(info.Env(), "ERR_NOT_LENT", "the batch was given back before");
  }
  return nullptr;
}

napi_value set_inspect(const Napi::CallbackInfo& info, ApplianceEngine& self) {
  bool inspect;
  appliance::Filter filter;
  if (read_boolean(info.Env(), info[0], "inspect", &inspect) &&
      read_filter(info.Env(), info[1], &filter) && !self.memory->stopped &&
      !self.memory->engine->set_inspect(inspect, filter)) {
    throw_out_of_memory(info.Env(), "packet batches and flow tables of the appliance");
  }
  return nullptr;
}

napi_value count_losses(const Napi::CallbackInfo&, ApplianceEngine& self) {
  if (!self.memory->stopped) self.memory->engine->count_losses();
  return nullptr;
}

napi_value forget_flows(const Napi::CallbackInfo&, ApplianceEngine& self) {
  if (!self.memory->stopped) self.memory->engine->forget_flows();
  return nullptr;
}

napi_value failure(const Napi::CallbackInfo& info, ApplianceEngine& self) {
  io::OsError error;
  const bool failed = self.memory->engine->failed(&error);
  return failure_value(info.Env(), failed, error);
}

bool check_offline(napi_env env, const ApplianceEngine& self) {
  if (self.offline && !self.memory->stopped) return true;
  throw_type_error(env, "expected an engine without sockets that was not stopped");
  return false;
}

napi_value put(const Napi::CallbackInfo& info, ApplianceEngine& self) {
  uint16_t id;
  Bytes bytes;
  if (!check_offline(info.Env(), self) || !read_number(info.Env(), info[0], "id", 0, 65535, &id) ||
      !read_bytes(info.Env(), info[1], "datagram", &bytes)) {
    return nullptr;
  }
  self.memory->engine->put(id, std::vector<uint8_t>(bytes.data, bytes.data + bytes.size));
  return nullptr;
}

napi_value pump(const Napi::CallbackInfo& info, ApplianceEngine& self) {
  uint32_t now_ms;
  if (check_offline(info.Env(), self) &&
      read_number(info.Env(), info[0], "nowMs", 0, UINT32_MAX, &now_ms)) {
    self.memory->engine->pump(now_ms);
  }
  return nullptr;
}

napi_value take_outcomes(const Napi::CallbackInfo& info, ApplianceEngine& self) {
  const napi_env env = info.Env();
  if (!check_offline(env, self)) return nullptr;
  std::vector<napi_value> out;
  for (const engine::Offline::Outcome& one : self.memory->engine->take_outcomes()) {
    ObjectBuilder object(env);
    object.number("id", one.id)
        .number("reason", static_cast<uint32_t>(one.reason))
        .boolean("shown", one.shown)
        .boolean("rewritten", one.rewritten)
        .boolean("rejected", one.rejected)
        .value("bytes", bytes_value(env, one.bytes.data(), one.bytes.size()));
    out.push_back(object.finish());
  }
  return array_value(env, out);
}

// The worker may call until it has ended, and nobody is called any more afterwards.
napi_value stop(const Napi::CallbackInfo& info, ApplianceEngine& self) {
  const auto memory = self.memory;
  memory->stopped = true;
  return off_thread(
      info.Env(), info.This(),
      [memory] {
        memory->engine->stop();
        return io::OsError{};
      },
      [&self](napi_env, const io::OsError&) -> napi_value {
        self.ready.let_go();
        return nullptr;
      });
}

}  // namespace

napi_value appliance_engine_class(napi_env env) {
  std::vector<napi_property_descriptor> methods = {
      method<ApplianceEngine, next>("next"),
      method<ApplianceEngine, release>("release"),
      method<ApplianceEngine, set_inspect>("setInspect"),
      method<ApplianceEngine, forget_flows>("forgetFlows"),
      method<ApplianceEngine, count_losses>("countLosses"),
      method<ApplianceEngine, failure>("failure"),
      method<ApplianceEngine, put>("put"),
      method<ApplianceEngine, pump>("pump"),
      method<ApplianceEngine, take_outcomes>("takeOutcomes"),
      method<ApplianceEngine, stop>("stop"),
  };
  for (const napi_property_descriptor& one : appliance_device_methods()) methods.push_back(one);
  return define_class<ApplianceEngine, construct>(env, methods);
}

void add_appliance_engine_function(napi_env env, ObjectBuilder& exports) {
  exports.value("openApplianceEngine",
                plain_function<open_appliance_engine>(env, "openApplianceEngine"));
}

}  // namespace gwlb::node
