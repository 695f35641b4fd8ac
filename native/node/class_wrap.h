// Native objects behind JavaScript classes. Every object carries a type tag, checked before it is
// unwrapped: neither a foreign `this`, nor an argument of another class, nor an object of another
// copy of the addon is ever taken for ours. (Napi::ObjectWrap unwraps `this` unchecked.)
//
// A wrapped type has `static constexpr ClassId kClass`.
#pragma once

#include <napi.h>

#include <cstdint>
#include <memory>
#include <vector>

#include "node/args.h"

namespace gwlb::node {

struct ClassId {
  const char* name;
  uint64_t number;  // different for each class
};

bool has_tag(napi_env env, napi_value value, const ClassId& id);
// False with an exception pending.
bool set_tag(napi_env env, napi_value object, const ClassId& id);

// nullptr where `value` is anything but a live object of class T.
template <class T>
T* unwrap(napi_env env, napi_value value) {
  if (!has_tag(env, value, T::kClass)) return nullptr;
  void* native = nullptr;
  // Fails where the constructor has not finished, or the environment is ending.
  if (napi_unwrap(env, value, &native) != napi_ok) return nullptr;
  return static_cast<T*>(native);
}

template <class T>
bool read_wrapped(napi_env env, napi_value value, const Path& path, T** out) {
  *out = unwrap<T>(env, value);
  if (*out != nullptr) return true;
  throw_expected(env, path, std::string("a native ") + T::kClass.name, value);
  return false;
}

// Gives the native object to the JavaScript object, which deletes it when it is collected.
template <class T>
bool adopt(napi_env env, napi_value object, std::unique_ptr<T> native) {
  const auto finalize = [](napi_env, void* data, void*) { delete static_cast<T*>(data); };
  if (napi_wrap(env, object, native.get(), finalize, nullptr, nullptr) != napi_ok) {
    if (!exception_pending(env)) throw_type_error(env, "the object has a native part already");
    return false;
  }
  native.release();
  return set_tag(env, object, T::kClass);
}

template <class T>
using Constructor = std::unique_ptr<T> (*)(const Napi::CallbackInfo& info);
template <class T>
using Method = napi_value (*)(const Napi::CallbackInfo& info, T& self);

template <class T, Constructor<T> kConstruct>
napi_value call_constructor(napi_env env, napi_callback_info raw) {
  Napi::CallbackInfo info(env, raw);
  if (!info.IsConstructCall()) {
    throw_type_error(env, std::string(T::kClass.name) + ": expected to be called with new");
    return nullptr;
  }
  std::unique_ptr<T> native = kConstruct(info);
  T* self = native.get();
  if (self == nullptr || !adopt(env, info.This(), std::move(native))) return nullptr;
  if constexpr (requires { self->bind(env, info.This()); }) {
    if (!self->bind(env, info.This())) return nullptr;
  }
  return info.This();
}

template <class T, Method<T> kMethod>
napi_value call_method(napi_env env, napi_callback_info raw) {
  Napi::CallbackInfo info(env, raw);
  T* self;
  if (!read_wrapped(env, info.This(), "this", &self)) return nullptr;
  return kMethod(info, *self);
}

template <class T, Method<T> kMethod>
napi_property_descriptor method(const char* name) {
  napi_property_descriptor out = {};
  out.utf8name = name;
  out.method = call_method<T, kMethod>;
  out.attributes = static_cast<napi_property_attributes>(napi_writable | napi_configurable);
  return out;
}

// A function that belongs to one object, whatever `this` is, and keeps it alive: its native part is
// at hand without any check, which of a method are half a microsecond. For what is called with
// every batch; defined by `bool T::bind(napi_env, napi_value object)`, a read-only property.
bool define_bound(napi_env env, napi_value object, const char* name, napi_callback call,
                  void* self);

template <class T, Method<T> kMethod>
bool bound(napi_env env, napi_value object, const char* name, T* self) {
  const auto call = [](napi_env env, napi_callback_info raw) -> napi_value {
    const Napi::CallbackInfo info(env, raw);
    return kMethod(info, *static_cast<T*>(info.Data()));
  };
  return define_bound(env, object, name, call, self);
}

template <class T, Constructor<T> kConstruct>
napi_value define_class(napi_env env, const std::vector<napi_property_descriptor>& methods) {
  napi_value out = nullptr;
  napi_define_class(env, T::kClass.name, NAPI_AUTO_LENGTH, call_constructor<T, kConstruct>, nullptr,
                    methods.size(), methods.data(), &out);
  return out;
}

}  // namespace gwlb::node
