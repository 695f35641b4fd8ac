// JavaScript values out of native ones. Properties are defined, not assigned: no setter that
// somebody put on Object.prototype runs in between.
#pragma once

#include <napi.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

namespace gwlb::node {

napi_value number_value(napi_env env, double value);
napi_value boolean_value(napi_env env, bool value);
napi_value bigint_value(napi_env env, uint64_t value);
napi_value text_value(napi_env env, const std::string& value);
napi_value null_value(napi_env env);
// A Uint8Array with a copy.
napi_value bytes_value(napi_env env, const void* data, size_t size);
napi_value array_value(napi_env env, const std::vector<napi_value>& elements);

napi_value typed_array(napi_env env, napi_typedarray_type type, size_t length, napi_value buffer,
                       size_t offset = 0);

class ObjectBuilder {
 public:
  explicit ObjectBuilder(napi_env env) : env_(env) { properties_.reserve(20); }

  ObjectBuilder& value(const char* name, napi_value value);
  ObjectBuilder& number(const char* name, double value);
  ObjectBuilder& boolean(const char* name, bool value);
  ObjectBuilder& bigint(const char* name, uint64_t value);
  ObjectBuilder& text(const char* name, const std::string& value);
  ObjectBuilder& bytes(const char* name, const void* data, size_t size);
  ObjectBuilder& null(const char* name);

  // An ordinary object, or nullptr with an exception pending.
  napi_value finish();
  // The same as read-only properties of `object`.
  bool define_on(napi_value object);

 private:
  napi_env env_;
  std::vector<napi_property_descriptor> properties_;
};

}  // namespace gwlb::node
