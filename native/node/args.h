// Checked readers of JavaScript values. Each verifies the type before it touches memory; where the
// value is another, it throws (TypeError for a wrong type, RangeError for a number or length out of
// range, with a sentence that names the value, what was expected and what was received) and returns
// false. The caller then returns at once: there are no C++ exceptions.
#pragma once

#include <napi.h>

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace gwlb::node {

// How messages call a value: "nowMs", or "config." and "mtu". A view of both.
struct Path {
  std::string_view prefix;
  std::string_view key;
  Path(const char* name) : key(name) {}  // NOLINT: a literal is a path
  Path(std::string_view prefix, std::string_view key) : prefix(prefix), key(key) {}
  std::string text() const { return std::string(prefix) + std::string(key); }
};

// The largest integer of a double, and so of a time in milliseconds.
inline constexpr uint64_t kIntegerMax = (uint64_t{1} << 53) - 1;

void throw_type_error(napi_env env, const std::string& message);
void throw_range_error(napi_env env, const std::string& message);
void throw_expected(napi_env env, const Path& path, std::string_view expected, napi_value received);

bool exception_pending(napi_env env);
bool is_nullish(napi_env env, napi_value value);

// The memory of a Uint8Array (or Buffer). Good until JavaScript runs again: read it last.
struct Bytes {
  uint8_t* data = nullptr;
  size_t size = 0;
};

bool read_integer(napi_env env, napi_value value, const Path& path, uint64_t min, uint64_t max,
                  uint64_t* out);
bool read_boolean(napi_env env, napi_value value, const Path& path, bool* out);
bool read_bigint(napi_env env, napi_value value, const Path& path, uint64_t* out);
// Without NUL characters, at most `bytes_max` bytes of UTF-8.
bool read_text(napi_env env, napi_value value, const Path& path, size_t bytes_max,
               std::string* out);
// Memory shared between threads (SharedArrayBuffer) is refused, since it changes while it is read.
bool read_bytes(napi_env env, napi_value value, const Path& path, Bytes* out);
// The same, of one packet: at most 2^20 bytes, far above any.
bool read_packet(napi_env env, napi_value value, const Path& path, Bytes* out);
bool read_words(napi_env env, napi_value value, const Path& path, uint32_t** data, size_t* length);
bool read_long_words(napi_env env, napi_value value, const Path& path, uint64_t** data,
                     size_t* length);
// Copies exactly `size` bytes.
bool read_bytes_exact(napi_env env, napi_value value, const Path& path, uint8_t* to, size_t size);
bool read_function(napi_env env, napi_value value, const Path& path);
bool read_array(napi_env env, napi_value value, const Path& path, uint32_t length_max,
                uint32_t* length);

template <class T>
bool read_number(napi_env env, napi_value value, const Path& path, uint64_t min, uint64_t max,
                 T* out) {
  uint64_t wide;
  if (!read_integer(env, value, path, min, max, &wide)) return false;
  *out = static_cast<T>(wide);
  return true;
}

// The properties of an object argument. Reading one may run a getter, so what it returns is copied
// at once.
class Fields {
 public:
  static bool open(napi_env env, napi_value value, const Path& path, Fields* out);

  template <class T>
  bool number(const char* key, uint64_t min, uint64_t max, T* out) const {
    napi_value value;
    return get(key, &value) && read_number(env_, value, Path(prefix_, key), min, max, out);
  }
  bool boolean(const char* key, bool* out) const;
  bool bigint(const char* key, uint64_t* out) const;
  bool text(const char* key, size_t bytes_max, std::string* out) const;
  bool bytes(const char* key, uint8_t* to, size_t size) const;
  bool bytes(const char* key, size_t size_max, std::vector<uint8_t>* out) const;
  // One of these names, as the value of an enum that has them in this order.
  template <class Enum, size_t kCount>
  bool choice(const char* key, const char* const (&names)[kCount], Enum* out) const {
    size_t index;
    if (!choice(key, names, kCount, &index)) return false;
    *out = static_cast<Enum>(index);
    return true;
  }
  bool object(const char* key, Fields* out) const;
  // Absent: undefined or null.
  bool optional(const char* key, Fields* out, bool* present) const;

  // An array of objects; the elements are read with element().
  bool array(const char* key, uint32_t length_max, napi_value* array, uint32_t* length) const;
  bool element(const char* key, napi_value array, uint32_t i, Fields* out) const;

  bool get(const char* key, napi_value* out) const;
  Path path(const char* key) const { return Path(prefix_, key); }
  napi_env env() const { return env_; }

 private:
  bool choice(const char* key, const char* const* names, size_t count, size_t* out) const;

  napi_env env_ = nullptr;
  napi_value object_ = nullptr;
  std::string prefix_;
};

}  // namespace gwlb::node
