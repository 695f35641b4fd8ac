#include "node/values.h"

#include <cstring>

namespace gwlb::node {

napi_value number_value(napi_env env, double value) {
  napi_value out = nullptr;
  napi_create_double(env, value, &out);
  return out;
}

napi_value boolean_value(napi_env env, bool value) {
  napi_value out = nullptr;
  napi_get_boolean(env, value, &out);
  return out;
}

napi_value bigint_value(napi_env env, uint64_t value) {
  napi_value out = nullptr;
  napi_create_bigint_uint64(env, value, &out);
  return out;
}

napi_value text_value(napi_env env, const std::string& value) {
  napi_value out = nullptr;
  napi_create_string_utf8(env, value.data(), value.size(), &out);
  return out;
}

napi_value null_value(napi_env env) {
  napi_value out = nullptr;
  napi_get_null(env, &out);
  return out;
}

napi_value bytes_value(napi_env env, const void* data, size_t size) {
  void* memory = nullptr;
  napi_value buffer = nullptr;
  if (napi_create_arraybuffer(env, size, &memory, &buffer) != napi_ok) return nullptr;
  if (size != 0) std::memcpy(memory, data, size);
  return typed_array(env, napi_uint8_array, size, buffer);
}

napi_value array_value(napi_env env, const std::vector<napi_value>& elements) {
  napi_value out = nullptr;
  if (napi_create_array_with_length(env, elements.size(), &out) != napi_ok) return nullptr;
  for (uint32_t i = 0; i < elements.size(); ++i) {
    if (elements[i] == nullptr || napi_set_element(env, out, i, elements[i]) != napi_ok) {
      return nullptr;
    }
  }
  return out;
}

napi_value typed_array(napi_env env, napi_typedarray_type type, size_t length, napi_value buffer,
                       size_t offset) {
  napi_value out = nullptr;
  if (buffer == nullptr) return nullptr;
  napi_create_typedarray(env, type, length, buffer, offset, &out);
  return out;
}

ObjectBuilder& ObjectBuilder::value(const char* name, napi_value value) {
  napi_property_descriptor property = {};
  property.utf8name = name;
  property.value = value;
  properties_.push_back(property);
  return *this;
}

ObjectBuilder& ObjectBuilder::number(const char* name, double value) {
  return this->value(name, number_value(env_, value));
}

ObjectBuilder& ObjectBuilder::boolean(const char* name, bool value) {
  return this->value(name, boolean_value(env_, value));
}

ObjectBuilder& ObjectBuilder::bigint(const char* name, uint64_t value) {
  return this->value(name, bigint_value(env_, value));
}

ObjectBuilder& ObjectBuilder::text(const char* name, const std::string& value) {
  return this->value(name, text_value(env_, value));
}

ObjectBuilder& ObjectBuilder::bytes(const char* name, const void* data, size_t size) {
  return this->value(name, bytes_value(env_, data, size));
}

ObjectBuilder& ObjectBuilder::null(const char* name) { return value(name, null_value(env_)); }

napi_value ObjectBuilder::finish() {
  napi_value out = nullptr;
  if (napi_create_object(env_, &out) != napi_ok) return nullptr;
  for (auto& property : properties_) {
    if (property.value == nullptr) return nullptr;
    property.attributes =
        static_cast<napi_property_attributes>(napi_writable | napi_enumerable | napi_configurable);
  }
  if (napi_define_properties(env_, out, properties_.size(), properties_.data()) != napi_ok) {
    return nullptr;
  }
  return out;
}

bool ObjectBuilder::define_on(napi_value object) {
  for (auto& property : properties_) {
    if (property.value == nullptr) return false;
    property.attributes = napi_enumerable;
  }
  return napi_define_properties(env_, object, properties_.size(), properties_.data()) == napi_ok;
}

}  // namespace gwlb::node
