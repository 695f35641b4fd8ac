// Stops an engine when its environment ends: the last event of a worker_threads worker (also one
// that is terminated) and of a main thread that runs out of work. Worker threads of ours must have
// ended before the environment's memory goes.
#pragma once

#include <node_api.h>

namespace gwlb::node {

class StopWithEnvironment {
 public:
  using Stop = void (*)(void* engine);
  StopWithEnvironment(napi_env env, Stop stop, void* engine)
      : env_(env), stop_(stop), engine_(engine) {
    napi_add_env_cleanup_hook(env_, stop_, engine_);
  }
  ~StopWithEnvironment() { napi_remove_env_cleanup_hook(env_, stop_, engine_); }
  StopWithEnvironment(const StopWithEnvironment&) = delete;
  StopWithEnvironment& operator=(const StopWithEnvironment&) = delete;

 private:
  napi_env env_;
  Stop stop_;
  void* engine_;
};

}  // namespace gwlb::node
