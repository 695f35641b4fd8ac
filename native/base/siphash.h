// SipHash-1-3 (Aumasson and Bernstein; one compression and three finalization rounds, as in the
// Linux kernel's and Rust's hash tables): a keyed hash that an outsider who chooses packets cannot
// make collide. The key is an argument; nothing here is random.
#pragma once

#include <cstddef>
#include <cstdint>

#include "base/bytes.h"

namespace gwlb::base {

struct HashKey {
  uint64_t k0 = 0;
  uint64_t k1 = 0;
};

namespace siphash_detail {

struct State {
  uint64_t v0, v1, v2, v3;

  explicit State(const HashKey& key)
      : v0(key.k0 ^ 0x736f6d6570736575),
        v1(key.k1 ^ 0x646f72616e646f6d),
        v2(key.k0 ^ 0x6c7967656e657261),
        v3(key.k1 ^ 0x7465646279746573) {}

  static uint64_t rotate(uint64_t x, int b) { return (x << b) | (x >> (64 - b)); }

  void round() {
    v0 += v1;
    v2 += v3;
    v1 = rotate(v1, 13) ^ v0;
    v3 = rotate(v3, 16) ^ v2;
    v0 = rotate(v0, 32);
    v2 += v1;
    v0 += v3;
    v1 = rotate(v1, 17) ^ v2;
    v3 = rotate(v3, 21) ^ v0;
    v2 = rotate(v2, 32);
  }

  void word(uint64_t m) {
    v3 ^= m;
    round();
    v0 ^= m;
  }

  uint64_t finish() {
    v2 ^= 0xff;
    round();
    round();
    round();
    return v0 ^ v1 ^ v2 ^ v3;
  }
};

}  // namespace siphash_detail

// A length known at compile time unrolls completely: 16 bytes (an IPv4 flow key) are three words.
template <size_t kLength>
inline uint64_t siphash13(const HashKey& key, const void* data) {
  static_assert(kLength % 8 == 0);
  siphash_detail::State state(key);
  const auto* bytes = static_cast<const uint8_t*>(data);
  for (size_t i = 0; i < kLength; i += 8) state.word(load<uint64_t>(bytes + i));
  state.word(static_cast<uint64_t>(kLength) << 56);
  return state.finish();
}

// siphash13 of four words, of many whose first two are the same.
class SipHashOfFour {
 public:
  SipHashOfFour() : SipHashOfFour({}, 0, 0) {}
  SipHashOfFour(const HashKey& key, uint64_t first, uint64_t second) : start_(key) {
    start_.word(first);
    start_.word(second);
  }
  uint64_t hash(uint64_t third, uint64_t fourth) const {
    siphash_detail::State state = start_;
    state.word(third);
    state.word(fourth);
    state.word(uint64_t{32} << 56);
    return state.finish();
  }

 private:
  siphash_detail::State start_;
};

// Any length.
inline uint64_t siphash13(const HashKey& key, const void* data, size_t length) {
  siphash_detail::State state(key);
  const auto* bytes = static_cast<const uint8_t*>(data);
  size_t i = 0;
  for (; i + 8 <= length; i += 8) state.word(load<uint64_t>(bytes + i));
  uint64_t last = static_cast<uint64_t>(length) << 56;
  for (size_t shift = 0; i < length; ++i, shift += 8) {
    last |= static_cast<uint64_t>(bytes[i]) << shift;
  }
  state.word(last);
  return state.finish();
}

}  // namespace gwlb::base
