#include "select/score.h"

#include "base/assert.h"
#include "base/limits.h"

namespace gwlb::select {
namespace {

__extension__ typedef unsigned __int128 Wide;

constexpr uint32_t kSteps = 4096;

struct Log2Table {
  uint32_t at[kSteps + 1];

  Log2Table() {
    for (uint32_t i = 0; i < kSteps; ++i) {
      uint64_t m = uint64_t{kSteps + i} << 51;
      uint32_t value = 0;
      for (int bit = 0; bit < 31; ++bit) {
        const Wide square = (static_cast<Wide>(m) * m) >> 63;
        const auto carry = static_cast<uint32_t>(square >> 64);
        value = value << 1 | carry;
        m = static_cast<uint64_t>(square >> carry);
      }
      at[i] = value;
    }
    at[kSteps] = 1u << 31;
  }
};

uint64_t mix64(uint64_t x) {
  x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9;
  x = (x ^ x >> 27) * 0x94d049bb133111eb;
  return x ^ x >> 31;
}

}  // namespace

uint64_t target_key(uint64_t seed, uint64_t identity) {
  return mix64(identity + mix64(seed + 0x9e3779b97f4a7c15));
}

uint64_t neg_log2_q26(uint32_t u) {
  static const Log2Table table;
  const uint64_t x = uint64_t{u} + 1;
  const auto k = static_cast<uint32_t>(63 - __builtin_clzll(x));
  const auto fraction = static_cast<uint32_t>(x << (32 - k));
  const uint32_t i = fraction >> 20;
  const uint64_t rest = fraction & 0xfffff;
  const uint64_t log = table.at[i] + ((uint64_t{table.at[i + 1]} - table.at[i]) * rest >> 20);
  return (uint64_t{32 - k} << 26) - ((log + 16) >> 5);
}

uint64_t score(uint64_t seed, uint64_t identity, uint32_t row, uint32_t weight) {
  GWLB_ASSERT(weight >= 1 && weight <= base::kWeightMax);
  return (neg_log2_q26(row_hash(target_key(seed, identity), row)) << 24) / weight;
}

}  // namespace gwlb::select
