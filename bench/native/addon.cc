// For the harness in JavaScript the CPU time of its thread, which Node 20 does not tell; and
// functions that do nothing but be called, for what crossing costs at least.
#include <node_api.h>

#include <ctime>

namespace {

napi_value nothing(napi_env, napi_callback_info) { return nullptr; }

napi_value number(napi_env env, napi_callback_info info) {
  napi_value argument;
  size_t count = 1;
  uint32_t value = 0;
  napi_get_cb_info(env, info, &count, &argument, nullptr, nullptr);
  napi_get_value_uint32(env, argument, &value);
  napi_value result;
  napi_create_uint32(env, value + 1, &result);
  return result;
}

napi_value bytes(napi_env env, napi_callback_info info) {
  napi_value argument;
  size_t count = 1, length = 0;
  void* data = nullptr;
  napi_get_cb_info(env, info, &count, &argument, nullptr, nullptr);
  napi_get_typedarray_info(env, argument, nullptr, &length, &data, nullptr, nullptr);
  napi_value result;
  napi_create_uint32(env, static_cast<uint32_t>(length), &result);
  return result;
}

// Nanoseconds of CPU time of this thread.
napi_value cpu_ns(napi_env env, napi_callback_info) {
  timespec now;
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  napi_value result;
  napi_create_double(env, static_cast<double>(now.tv_sec) * 1e9 + static_cast<double>(now.tv_nsec),
                     &result);
  return result;
}

void add(napi_env env, napi_value exports, const char* name, napi_callback callback) {
  napi_value function;
  napi_create_function(env, name, NAPI_AUTO_LENGTH, callback, nullptr, &function);
  napi_set_named_property(env, exports, name, function);
}

napi_value init(napi_env env, napi_value exports) {
  add(env, exports, "nothing", nothing);
  add(env, exports, "number", number);
  add(env, exports, "bytes", bytes);
  add(env, exports, "cpuNs", cpu_ns);
  return exports;
}

}  // namespace

NAPI_MODULE(NODE_GYP_MODULE_NAME, init)
