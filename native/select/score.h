// Rendezvous scores, in integers: every machine and compiler computes the same ones, and so can a
// model in another language from what follows (vectors: test/native/select_test.cc). All arithmetic
// is unsigned and wraps at its width; `>>` shifts in zeros.
//
//   mix64(x):                         (64 bits; the finalizer of SplitMix64)
//     x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9
//     x = (x ^ x >> 27) * 0x94d049bb133111eb
//     return x ^ x >> 31
//
//   target_key(seed, identity):       (64 bits)
//     return mix64(identity + mix64(seed + 0x9e3779b97f4a7c15))
//
//   row_hash(key, row):               (32 bits; three multiplications, keyed twice)
//     x = row ^ (key & 0xffffffff)
//     x = (x ^ x >> 17) * 0xed5ad4bb
//     x = x ^ key >> 32
//     x = (x ^ x >> 11) * 0xac4c1b51
//     x = (x ^ x >> 15) * 0x31848bab
//     return x ^ x >> 14
//
//   log2_table[i], i = 0..4096:       floor(log2(1 + i / 4096) * 2^31), bit by bit
//     table[4096] = 2^31; for i < 4096:
//       m = (4096 + i) << 51          (64 bits: 1 <= m / 2^63 < 2)
//       value = 0
//       31 times:
//         s = m * m >> 63             (of the 128-bit product)
//         value = value * 2
//         if s >= 2^64: value = value + 1, s = s >> 1
//         m = s
//       table[i] = value
//
//   neg_log2_q26(u):                  (u: 32 bits)
//     x = u + 1                       (1..2^32)
//     k = floor(log2(x))
//     f = (x << (32 - k)) - 2^32      (fraction of x / 2^k, 32 bits)
//     i = f >> 20, r = f & 0xfffff
//     log = table[i] + ((table[i + 1] - table[i]) * r >> 20)        (Q31)
//     return ((32 - k) << 26) - ((log + 16) >> 5)
//
//   score(seed, identity, row, weight):
//     return (neg_log2_q26(row_hash(target_key(seed, identity), row)) << 24) / weight     (floor)
//
// The best target of a row is the one with the lowest (score, identity, slot). The gateway's
// weights are tenths: a target of weight 3 has 30 here.
#pragma once

#include <cstdint>

namespace gwlb::select {

// The part of a score's hash that does not depend on the row.
uint64_t target_key(uint64_t seed, uint64_t identity);

inline uint32_t row_hash(uint64_t key, uint32_t row) {
  uint32_t x = row ^ static_cast<uint32_t>(key);
  x = (x ^ x >> 17) * 0xed5ad4bbu;
  x ^= static_cast<uint32_t>(key >> 32);
  x = (x ^ x >> 11) * 0xac4c1b51u;
  x = (x ^ x >> 15) * 0x31848babu;
  return x ^ x >> 14;
}

// -log2((u + 1) / 2^32) in Q26, integers only; never rising with u, exact where u + 1 is a power
// of two, elsewhere at most 0.51 units too low or 1.26 too high. 0..2^31.
uint64_t neg_log2_q26(uint32_t u);

// The score of one target for one row, lower is better; weight 1..kWeightMax. Scores of targets
// with equal weights differ exactly where their neg_log2_q26 differ. At most 2^55.
uint64_t score(uint64_t seed, uint64_t identity, uint32_t row, uint32_t weight);

}  // namespace gwlb::select
