#include "node/args.h"

#include <cmath>
#include <cstring>

namespace gwlb::node {
namespace {

constexpr size_t kShownCharacters = 40;

std::string utf8_of(napi_env env, napi_value text, size_t bytes_max) {
  std::string out(bytes_max + 1, '\0');
  size_t length = 0;
  if (napi_get_value_string_utf8(env, text, out.data(), out.size(), &length) != napi_ok) length = 0;
  out.resize(length);
  return out;
}

const char* typed_array_name(napi_typedarray_type type) {
  switch (type) {
    case napi_int8_array:
      return "an Int8Array";
    case napi_uint8_array:
      return "a Uint8Array";
    case napi_uint8_clamped_array:
      return "a Uint8ClampedArray";
    case napi_int16_array:
      return "an Int16Array";
    case napi_uint16_array:
      return "a Uint16Array";
    case napi_int32_array:
      return "an Int32Array";
    case napi_uint32_array:
      return "a Uint32Array";
    case napi_float32_array:
      return "a Float32Array";
    case napi_float64_array:
      return "a Float64Array";
    case napi_bigint64_array:
      return "a BigInt64Array";
    case napi_biguint64_array:
      return "a BigUint64Array";
  }
  return "a typed array";
}

std::string describe_object(napi_env env, napi_value value) {
  bool is = false;
  if (napi_is_array(env, value, &is) == napi_ok && is) return "an array";
  if (napi_is_typedarray(env, value, &is) == napi_ok && is) {
    napi_typedarray_type type;
    if (napi_get_typedarray_info(env, value, &type, nullptr, nullptr, nullptr, nullptr) ==
        napi_ok) {
      return typed_array_name(type);
    }
  }
  if (napi_is_arraybuffer(env, value, &is) == napi_ok && is) return "an ArrayBuffer";
  if (napi_is_dataview(env, value, &is) == napi_ok && is) return "a DataView";
  return "an object";
}

// Never runs code of the user's: only primitives are turned into text.
std::string describe(napi_env env, napi_value value) {
  napi_valuetype type = napi_undefined;
  napi_typeof(env, value, &type);
  switch (type) {
    case napi_undefined:
      return "undefined";
    case napi_null:
      return "null";
    case napi_symbol:
      return "a symbol";
    case napi_function:
      return "a function";
    case napi_external:
      return "an external";
    case napi_object:
      return describe_object(env, value);
    case napi_boolean:
    case napi_number:
    case napi_bigint:
    case napi_string:
      break;
  }
  napi_value text;
  if (napi_coerce_to_string(env, value, &text) != napi_ok) return "another value";
  const std::string shown = utf8_of(env, text, kShownCharacters);
  if (type == napi_string) return "'" + shown + "'";
  return type == napi_bigint ? shown + "n" : shown;
}

napi_valuetype type_of(napi_env env, napi_value value) {
  napi_valuetype type = napi_undefined;
  napi_typeof(env, value, &type);
  return type;
}

// The memory of a typed array of one element type that is not shared between threads.
bool view_typed_array(napi_env env, napi_value value, napi_typedarray_type wanted, void** data,
                      size_t* length) {
  napi_typedarray_type type;
  napi_value buffer;
  if (napi_get_typedarray_info(env, value, &type, length, data, &buffer, nullptr) != napi_ok) {
    return false;
  }
  if (type != wanted) return false;
  bool is = false;
  return napi_is_arraybuffer(env, buffer, &is) == napi_ok && is;
}

}  // namespace

void throw_type_error(napi_env env, const std::string& message) {
  napi_throw_type_error(env, nullptr, message.c_str());
}

void throw_range_error(napi_env env, const std::string& message) {
  napi_throw_range_error(env, nullptr, message.c_str());
}

void throw_expected(napi_env env, const Path& path, std::string_view expected,
                    napi_value received) {
  throw_type_error(env, path.text() + ": expected " + std::string(expected) + ", received " +
                            describe(env, received));
}

bool exception_pending(napi_env env) {
  bool pending = false;
  napi_is_exception_pending(env, &pending);
  return pending;
}

bool is_nullish(napi_env env, napi_value value) {
  const napi_valuetype type = type_of(env, value);
  return type == napi_undefined || type == napi_null;
}

bool read_integer(napi_env env, napi_value value, const Path& path, uint64_t min, uint64_t max,
                  uint64_t* out) {
  double number;
  const bool is_number = napi_get_value_double(env, value, &number) == napi_ok;
  // The comparisons are false for NaN.
  if (is_number && number >= static_cast<double>(min) && number <= static_cast<double>(max) &&
      number == std::floor(number)) {
    *out = static_cast<uint64_t>(number);
    return true;
  }
  const std::string expected =
      "an integer from " + std::to_string(min) + " to " + std::to_string(max);
  if (!is_number) {
    throw_expected(env, path, expected, value);
  } else {
    throw_range_error(
        env, path.text() + ": expected " + expected + ", received " + describe(env, value));
  }
  return false;
}

bool read_boolean(napi_env env, napi_value value, const Path& path, bool* out) {
  if (napi_get_value_bool(env, value, out) == napi_ok) return true;
  throw_expected(env, path, "a boolean", value);
  return false;
}

bool read_bigint(napi_env env, napi_value value, const Path& path, uint64_t* out) {
  bool lossless = false;
  if (napi_get_value_bigint_uint64(env, value, out, &lossless) != napi_ok) {
    throw_expected(env, path, "a bigint", value);
    return false;
  }
  if (!lossless) {
    throw_range_error(env, path.text() + ": expected a bigint of 64 bits without sign, received " +
                               describe(env, value));
  }
  return lossless;
}

bool read_text(napi_env env, napi_value value, const Path& path, size_t bytes_max,
               std::string* out) {
  size_t bytes = 0;
  if (type_of(env, value) != napi_string ||
      napi_get_value_string_utf8(env, value, nullptr, 0, &bytes) != napi_ok) {
    throw_expected(env, path, "a string", value);
    return false;
  }
  if (bytes > bytes_max) {
    throw_range_error(env, path.text() + ": expected at most " + std::to_string(bytes_max) +
                               " bytes, received " + std::to_string(bytes));
    return false;
  }
  *out = utf8_of(env, value, bytes);
  if (out->find('\0') == std::string::npos) return true;
  throw_range_error(env, path.text() + ": expected no NUL character, received one");
  return false;
}

bool read_bytes(napi_env env, napi_value value, const Path& path, Bytes* out) {
  void* data = nullptr;
  size_t length = 0;
  if (!view_typed_array(env, value, napi_uint8_array, &data, &length)) {
    throw_expected(env, path, "a Uint8Array that is not shared", value);
    return false;
  }
  *out = {static_cast<uint8_t*>(data), length};
  return true;
}

bool read_packet(napi_env env, napi_value value, const Path& path, Bytes* out) {
  constexpr size_t kBytesMax = 1u << 20;
  if (!read_bytes(env, value, path, out)) return false;
  if (out->size <= kBytesMax) return true;
  throw_range_error(env, path.text() + ": expected at most " + std::to_string(kBytesMax) +
                             " bytes, received " + std::to_string(out->size));
  return false;
}

bool read_words(napi_env env, napi_value value, const Path& path, uint32_t** data, size_t* length) {
  void* memory = nullptr;
  if (!view_typed_array(env, value, napi_uint32_array, &memory, length)) {
    throw_expected(env, path, "a Uint32Array that is not shared", value);
    return false;
  }
  *data = static_cast<uint32_t*>(memory);
  return true;
}

bool read_long_words(napi_env env, napi_value value, const Path& path, uint64_t** data,
                     size_t* length) {
  void* memory = nullptr;
  if (!view_typed_array(env, value, napi_biguint64_array, &memory, length)) {
    throw_expected(env, path, "a BigUint64Array that is not shared", value);
    return false;
  }
  *data = static_cast<uint64_t*>(memory);
  return true;
}

bool read_bytes_exact(napi_env env, napi_value value, const Path& path, uint8_t* to, size_t size) {
  Bytes bytes;
  if (!read_bytes(env, value, path, &bytes)) return false;
  if (bytes.size != size) {
    throw_range_error(env, path.text() + ": expected " + std::to_string(size) +
                               " bytes, received " + std::to_string(bytes.size));
    return false;
  }
  std::memcpy(to, bytes.data, size);
  return true;
}

bool read_function(napi_env env, napi_value value, const Path& path) {
  if (type_of(env, value) == napi_function) return true;
  throw_expected(env, path, "a function", value);
  return false;
}

bool read_array(napi_env env, napi_value value, const Path& path, uint32_t length_max,
                uint32_t* length) {
  bool is = false;
  if (napi_is_array(env, value, &is) != napi_ok || !is ||
      napi_get_array_length(env, value, length) != napi_ok) {
    throw_expected(env, path, "an array", value);
    return false;
  }
  if (*length > length_max) {
    throw_range_error(env, path.text() + ": expected at most " + std::to_string(length_max) +
                               " elements, received " + std::to_string(*length));
    return false;
  }
  return true;
}

bool Fields::open(napi_env env, napi_value value, const Path& path, Fields* out) {
  const napi_valuetype type = type_of(env, value);
  if (type != napi_object) {
    throw_expected(env, path, "an object", value);
    return false;
  }
  out->env_ = env;
  out->object_ = value;
  out->prefix_ = path.text() + ".";
  return true;
}

bool Fields::get(const char* key, napi_value* out) const {
  // A getter that throws leaves its own exception.
  return napi_get_named_property(env_, object_, key, out) == napi_ok;
}

bool Fields::boolean(const char* key, bool* out) const {
  napi_value value;
  return get(key, &value) && read_boolean(env_, value, path(key), out);
}

bool Fields::bigint(const char* key, uint64_t* out) const {
  napi_value value;
  return get(key, &value) && read_bigint(env_, value, path(key), out);
}

bool Fields::text(const char* key, size_t bytes_max, std::string* out) const {
  napi_value value;
  return get(key, &value) && read_text(env_, value, path(key), bytes_max, out);
}

bool Fields::bytes(const char* key, uint8_t* to, size_t size) const {
  napi_value value;
  return get(key, &value) && read_bytes_exact(env_, value, path(key), to, size);
}

bool Fields::bytes(const char* key, size_t size_max, std::vector<uint8_t>* out) const {
  napi_value value;
  Bytes view;
  if (!get(key, &value) || !read_bytes(env_, value, path(key), &view)) return false;
  if (view.size > size_max) {
    throw_range_error(env_, path(key).text() + ": expected at most " + std::to_string(size_max) +
                                " bytes, received " + std::to_string(view.size));
    return false;
  }
  out->assign(view.data, view.data + view.size);
  return true;
}

bool Fields::choice(const char* key, const char* const* names, size_t count, size_t* out) const {
  constexpr size_t kBytesMax = 64;
  napi_value value;
  std::string text, all;
  if (!get(key, &value) || !read_text(env_, value, path(key), kBytesMax, &text)) return false;
  for (size_t i = 0; i < count; ++i) {
    *out = i;
    if (text == names[i]) return true;
    all += (i == 0 ? "'" : "', '") + std::string(names[i]);
  }
  throw_range_error(env_,
                    path(key).text() + ": expected one of " + all + "', received '" + text + "'");
  return false;
}

bool Fields::object(const char* key, Fields* out) const {
  napi_value value;
  return get(key, &value) && open(env_, value, path(key), out);
}

bool Fields::optional(const char* key, Fields* out, bool* present) const {
  napi_value value;
  if (!get(key, &value)) return false;
  *present = !is_nullish(env_, value);
  return !*present || open(env_, value, path(key), out);
}

bool Fields::array(const char* key, uint32_t length_max, napi_value* array,
                   uint32_t* length) const {
  return get(key, array) && read_array(env_, *array, path(key), length_max, length);
}

bool Fields::element(const char* key, napi_value array, uint32_t i, Fields* out) const {
  napi_value value;
  if (napi_get_element(env_, array, i, &value) != napi_ok) return false;
  const std::string name = std::string(key) + "[" + std::to_string(i) + "]";
  return open(env_, value, Path(prefix_, name), out);
}

}  // namespace gwlb::node
