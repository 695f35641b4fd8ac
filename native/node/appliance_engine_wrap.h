#pragma once

#include <napi.h>

#include <memory>
#include <vector>

#include "node/appliance_batch_wrap.h"
#include "node/class_wrap.h"
#include "node/engine_stop.h"

namespace gwlb::node {

// The worker's way to the inspector. It keeps the process alive until it is let go.
class Ready {
 public:
  Ready() = default;
  ~Ready() { let_go(); }
  Ready(const Ready&) = delete;
  Ready& operator=(const Ready&) = delete;

  bool create(napi_env env, napi_value callback);
  // Any thread.
  void call() const { napi_call_threadsafe_function(function_, nullptr, napi_tsfn_nonblocking); }
  // JavaScript's thread, when the worker has ended. A call still waiting is not made any more.
  void let_go();

 private:
  napi_threadsafe_function function_ = nullptr;
};

struct ApplianceEngine {
  static constexpr ClassId kClass = {"ApplianceEngine", 0xe46109fd58b27c35};

  ~ApplianceEngine() { stop(); }

  static void stop_hook(void* self) { static_cast<ApplianceEngine*>(self)->stop(); }
  void stop() {
    if (memory == nullptr) return;
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

}  // namespace gwlb::node
