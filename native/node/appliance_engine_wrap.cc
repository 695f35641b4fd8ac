// The appliance's worker thread, and the batches that come up from it.
#include "node/addon.h"
#include "node/appliance_batch_wrap.h"
#include "node/class_wrap.h"
#include "node/configs.h"
#include "node/engine_stop.h"
#include "node/gateway_control.h"

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

// The worker's way to the inspector. It keeps the process alive until it is let go.
class Ready {
 public:
  Ready() = default;
  ~Ready() { let_go(); }
  Ready(const Ready&) = delete;
  Ready& operator=(const Ready&) = delete;

  bool create(napi_env env, napi_value callback) {
    // One place in the queue: a call that waits will see everything that came since.
    return napi_create_threadsafe_function(env, callback, nullptr,
                                           text_value(env, "gwlb appliance"), 1, 1, nullptr,
                                           nullptr, nullptr, call_ready, &function_) == napi_ok;
  }
  // Any thread.
  void call() const { napi_call_threadsafe_function(function_, nullptr, napi_tsfn_nonblocking); }
  // JavaScript's thread, when the worker has ended. A call still waiting is not made any more.
  void let_go() {
    if (function_ == nullptr) return;
    napi_release_threadsafe_function(function_, napi_tsfn_abort);
    function_ = nullptr;
  }

 private:
  napi_threadsafe_function function_ = nullptr;
};

struct ApplianceEngine {
  static constexpr ClassId kClass = {"ApplianceEngine", 0xe46109fd58b27c35};

  ~ApplianceEngine() { stop(); }

  static void stop_hook(void* self) { static_cast<ApplianceEngine*>(self)->stop(); }
  void stop() {
    if (memory == nullptr || memory->stopped) return;
    memory->stopped = true;
    memory->engine->stop();
    ready.let_go();
  }

  Ready ready;
  bool offline = false;
  std::shared_ptr<ApplianceMemory> memory;
  struct Known {
    Napi::ObjectReference object;
    ApplianceBatch* native = nullptr;
  };
  std::vector<Known> batches;  // by number; made when a batch first comes up
  std::unique_ptr<StopWithEnvironment> hook;
};

std::unique_ptr<ApplianceEngine> construct(const Napi::CallbackInfo& info) {
  const napi_env env = info.Env();
  engine::ApplianceEngineConfig config;
  if (!read_appliance_config(env, info[0], &config) || !read_function(env, info[1], "ready")) {
    return nullptr;
  }
  auto self = std::make_unique<ApplianceEngine>();
  if (!config.offline && !self->ready.create(env, info[1])) {
    if (!exception_pending(env)) throw_out_of_memory(env, "a thread-safe function");
    return nullptr;
  }
  // Hooks run last to first, and the thread-safe function has one too: the worker has to end first.
  self->hook = std::make_unique<StopWithEnvironment>(env, ApplianceEngine::stop_hook, self.get());
  auto memory = std::make_shared<ApplianceMemory>();
  const Ready* ready = &self->ready;  // outlives the worker: see stop()
  std::function<void()> tell;
  if (!config.offline) tell = [ready] { ready->call(); };
  const io::OsError error =
      engine::ApplianceEngine::start(config, std::move(tell), &memory->engine);
  if (!error.ok()) {
    throw_system_error(env, error);
    return nullptr;
  }
  self->batches.resize(config.batches);
  self->offline = config.offline;
  self->memory = std::move(memory);

  constexpr size_t kWords = appliance::Counters::kWords;
  const std::shared_ptr<uint64_t[]>& words = self->memory->engine->counters();
  ObjectBuilder properties(env);
  const engine::ApplianceEngine& engine = *self->memory->engine;
  ObjectBuilder offloads(env);
  offloads.boolean("udpGso", engine.sends_trains()).boolean("udpGro", engine.receives_trains());
  properties.number("port", engine.port())
      .value("offloads", offloads.finish())
      .value("counters",
             typed_array(env, napi_biguint64_array, kWords,
                         external_buffer(env, words.get(), kWords * sizeof(uint64_t), words)));
  if (!properties.define_on(info.This())) return nullptr;
  return self;
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

napi_value stop(const Napi::CallbackInfo&, ApplianceEngine& self) {
  self.stop();
  return nullptr;
}

}  // namespace

napi_value appliance_engine_class(napi_env env) {
  return define_class<ApplianceEngine, construct>(
      env, {
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
           });
}

}  // namespace gwlb::node
