#include "node/class_wrap.h"

namespace gwlb::node {
namespace {

// Its address differs between two loaded copies of the addon, which may be of different versions.
const char kImage = 0;

napi_type_tag tag_of(const ClassId& id) {
  return {id.number, static_cast<uint64_t>(reinterpret_cast<uintptr_t>(&kImage))};
}

}  // namespace

bool has_tag(napi_env env, napi_value value, const ClassId& id) {
  napi_valuetype type;
  if (napi_typeof(env, value, &type) != napi_ok || type != napi_object) return false;
  const napi_type_tag tag = tag_of(id);
  bool has = false;
  return napi_check_object_type_tag(env, value, &tag, &has) == napi_ok && has;
}

bool define_bound(napi_env env, napi_value object, const char* name, napi_callback call,
                  void* self) {
  napi_value function;
  if (napi_create_function(env, name, NAPI_AUTO_LENGTH, call, self, &function) != napi_ok) {
    return false;
  }
  // Neither can be taken away: while the function can be called, the object is there.
  napi_property_descriptor owner = {};
  owner.utf8name = "owner";
  owner.value = object;
  napi_property_descriptor property = {};
  property.utf8name = name;
  property.value = function;
  return napi_define_properties(env, function, 1, &owner) == napi_ok &&
         napi_define_properties(env, object, 1, &property) == napi_ok;
}

bool set_tag(napi_env env, napi_value object, const ClassId& id) {
  const napi_type_tag tag = tag_of(id);
  if (napi_type_tag_object(env, object, &tag) == napi_ok) return true;
  if (!exception_pending(env)) throw_type_error(env, "the object has a type tag already");
  return false;
}

}  // namespace gwlb::node
