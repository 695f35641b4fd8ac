// Big-endian loads and stores without alignment or aliasing traps. Lengths are the caller's duty:
// every parser in wire/ checks once, then uses these.
#pragma once

#include <cstdint>
#include <cstring>

namespace gwlb::base {

static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__,
              "only little-endian machines are supported");

template <class T>
inline T load(const void* from) {
  T value;
  std::memcpy(&value, from, sizeof value);
  return value;
}

template <class T>
inline void store(void* to, T value) {
  std::memcpy(to, &value, sizeof value);
}

inline uint16_t load_be16(const void* from) { return __builtin_bswap16(load<uint16_t>(from)); }
inline uint32_t load_be32(const void* from) { return __builtin_bswap32(load<uint32_t>(from)); }
inline uint64_t load_be64(const void* from) { return __builtin_bswap64(load<uint64_t>(from)); }
inline void store_be16(void* to, uint16_t value) { store(to, __builtin_bswap16(value)); }
inline void store_be32(void* to, uint32_t value) { store(to, __builtin_bswap32(value)); }
inline void store_be64(void* to, uint64_t value) { store(to, __builtin_bswap64(value)); }

}  // namespace gwlb::base
