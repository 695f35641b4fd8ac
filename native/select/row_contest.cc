#include "select/row_contest.h"

#include <algorithm>
#include <limits>
#include <tuple>

#include "base/assert.h"
#include "select/score.h"

// Vectors are passed only between functions that are inlined into each other.
#pragma GCC diagnostic ignored "-Wpsabi"

#define GWLB_INLINE inline __attribute__((always_inline))

namespace gwlb::select {
namespace {

template <uint32_t kLanes>
struct Vector {
  typedef uint32_t Words __attribute__((vector_size(kLanes * 4)));
  typedef int32_t Integers __attribute__((vector_size(kLanes * 4)));
  typedef float Floats __attribute__((vector_size(kLanes * 4)));
};

constexpr float kInfinite = std::numeric_limits<float>::infinity();

// neg_log2_q26 is at most 0.51 units below and 1.26 above the logarithm, and the division loses
// less than 2^-24 of a unit.
constexpr float kErrorUnits = 2;
// The series below and its roundings: 1.9e-6 at worst, of all 2^32 hashes.
constexpr float kErrorRatio = 1.0f / (1 << 16);

constexpr double kLn2 = 0.693147180559945309417;
constexpr double kUnitsOfLn = (1 << 26) / kLn2;

// Let d be the complement of a hash, so that the logarithm is -ln(1 - d / 2^32) >= d / 2^32: a
// bound without logarithm. It is compared in steps of 256, which a float holds exactly.
constexpr uint32_t kStepBits = 8;
constexpr double kUnitsOfStep = kUnitsOfLn / (uint64_t{1} << (32 - kStepBits));

template <uint32_t kLanes>
GWLB_INLINE typename Vector<kLanes>::Words hashes(uint64_t key,
                                                  const typename Vector<kLanes>::Words& row) {
  typename Vector<kLanes>::Words x = row ^ static_cast<uint32_t>(key);
  x = (x ^ x >> 17) * 0xed5ad4bbu;
  x ^= static_cast<uint32_t>(key >> 32);
  x = (x ^ x >> 11) * 0xac4c1b51u;
  x = (x ^ x >> 15) * 0x31848babu;
  return x ^ x >> 14;
}

// neg_log2_q26 of hashes, nearly. Hashes of the upper half lead to ln(1 - x) with x = d / 2^32, so
// that those near the top keep their precision, others to the logarithm of a float's mantissa; both
// are sums of 2 atanh(t) with |t| <= 1/3.
template <uint32_t kLanes>
GWLB_INLINE typename Vector<kLanes>::Floats logarithms(const typename Vector<kLanes>::Words& hash) {
  using Integers = typename Vector<kLanes>::Integers;
  using Floats = typename Vector<kLanes>::Floats;
  const Integers complement = (Integers)~hash;
  const Integers upper = complement >= 0;
  const Floats x = __builtin_convertvector(complement, Floats) * 0x1p-32f;
  const Floats u = __builtin_convertvector((Integers)hash, Floats) + 1.0f;
  const Integers bits = (Integers)u;
  const Floats exponent = __builtin_convertvector((bits >> 23) - 127, Floats);
  const Floats mantissa = (Floats)((bits & 0x7fffff) | 0x3f800000);
  constexpr float kRoot2 = 1.41421356237309504880f;
  constexpr float kLn2Float = static_cast<float>(kLn2);
  const Floats zero = {};
  const Floats above = upper ? x : kRoot2 - mantissa;
  const Floats below = upper ? 2.0f - x : kRoot2 + mantissa;
  const Floats offset = upper ? zero : (31.5f - exponent) * kLn2Float;
  const Floats t = above / below;
  const Floats t2 = t * t;
  const Floats series =
      1.0f + t2 * (1.0f / 3 + t2 * (1.0f / 5 + t2 * (1.0f / 7 + t2 * (1.0f / 9))));
  return (offset + 2.0f * t * series) * static_cast<float>(kUnitsOfLn);
}

template <class T, class V>
GWLB_INLINE V load(const T* from) {
  V out;
  __builtin_memcpy(&out, __builtin_assume_aligned(from, sizeof(V)), sizeof(V));
  return out;
}

template <class T, class V>
GWLB_INLINE void store(T* to, const V& value) {
  __builtin_memcpy(__builtin_assume_aligned(to, sizeof(V)), &value, sizeof(V));
}

template <class V>
GWLB_INLINE bool any(const V& mask) {
  uint64_t words[sizeof(V) / 8];
  __builtin_memcpy(words, &mask, sizeof(V));
  uint64_t all = 0;
  for (uint64_t word : words) all |= word;
  return all != 0;
}

}  // namespace

RowContest::RowContest(std::vector<Competitor> competitors, uint64_t seed)
    : competitors_(std::move(competitors)), seed_(seed) {
  // Heavy ones first: what comes after them is refused at once more often.
  std::stable_sort(competitors_.begin(), competitors_.end(),
                   [](const Competitor& a, const Competitor& b) { return a.weight > b.weight; });
  for (const Competitor& competitor : competitors_) {
    const auto weight = static_cast<float>(competitor.weight);
    // A millionth more, and one step when it is used, for roundings and neg_log2_q26's own error.
    scales_.push_back({1 / weight, static_cast<float>(weight / kUnitsOfStep * 1.000001)});
    everyone_.push_back(static_cast<uint32_t>(everyone_.size()));
  }
}

void RowContest::add(Block* block, uint32_t row) { add(block, row, 0); }

void RowContest::add(Block* block, uint32_t row, uint32_t best) {
  GWLB_ASSERT(block->count < kRows);
  const uint32_t i = block->count++;
  block->row[i] = row;
  block->best[i] = best;
  block->low[i] = kInfinite;
  block->high[i] = kInfinite;
}

bool RowContest::beats(uint32_t challenger, uint32_t best, uint32_t row) const {
  const Competitor& a = competitors_[challenger];
  const Competitor& b = competitors_[best];
  return std::make_tuple(score(seed_, a.identity, row, a.weight), a.identity, a.slot) <
         std::make_tuple(score(seed_, b.identity, row, b.weight), b.identity, b.slot);
}

template <uint32_t kLanes>
GWLB_INLINE void RowContest::settle_lanes(Block* block) const {
  using Words = typename Vector<kLanes>::Words;
  using Floats = typename Vector<kLanes>::Floats;
  alignas(64) uint32_t hash[kLanes];
  alignas(64) float per_weight[kLanes];
  for (uint32_t first = 0; first < block->count; first += kLanes) {
    for (uint32_t i = 0; i < kLanes; ++i) {
      const uint32_t best = first + i < block->count ? block->best[first + i] : 0;
      hash[i] = row_hash(competitors_[best].key, block->row[first + i]);
      per_weight[i] = scales_[best].per_weight;
    }
    const Floats scale = load<float, Floats>(per_weight);
    const Floats score = logarithms<kLanes>(load<uint32_t, Words>(hash)) * scale;
    const Floats error = score * kErrorRatio + scale * kErrorUnits;
    store(block->low + first, score - error);
    store(block->high + first, score + error);
  }
}

void RowContest::settle_portable(Block* block) const { settle_lanes<4>(block); }

// The rows of one vector, of which one at least may be won.
template <uint32_t kLanes, class Words>
GWLB_INLINE void RowContest::offer_vector(Block* block, uint32_t first, uint32_t which,
                                          const Words& hash) const {
  using Integers = typename Vector<kLanes>::Integers;
  using Floats = typename Vector<kLanes>::Floats;
  const float scale = scales_[which].per_weight;
  const Floats score = logarithms<kLanes>(hash) * scale;
  const Floats error = score * kErrorRatio + scale * kErrorUnits;
  const Floats own_low = score - error;
  const Floats own_high = score + error;
  const Floats low = load<float, Floats>(block->low + first);
  const Floats high = load<float, Floats>(block->high + first);
  const Words best = load<uint32_t, Words>(block->best + first);
  const Words own = Words{} + which;
  Integers wins = own_high < low;
  const Integers near = ~wins & (own_low <= high) & (Integers)(best != own);
  if (any(near)) {
    for (uint32_t i = 0; i < kLanes && first + i < block->count; ++i) {
      if (near[i] != 0 && beats(which, best[i], block->row[first + i])) wins[i] = -1;
    }
  }
  store(block->low + first, wins ? own_low : low);
  store(block->high + first, wins ? own_high : high);
  store(block->best + first, wins ? own : best);
}

template <uint32_t kLanes>
GWLB_INLINE void RowContest::offer_one(Block* block, uint32_t which) const {
  using Words = typename Vector<kLanes>::Words;
  using Integers = typename Vector<kLanes>::Integers;
  using Floats = typename Vector<kLanes>::Floats;
  const uint64_t key = competitors_[which].key;
  const float limit = scales_[which].limit;
  // Places behind the last row are computed too, and never looked at.
  for (uint32_t first = 0; first < block->count; first += kLanes) {
    const Words hash = hashes<kLanes>(key, load<uint32_t, Words>(block->row + first));
    const Floats steps = __builtin_convertvector((Integers)(~hash >> kStepBits), Floats);
    const Integers passes = steps <= load<float, Floats>(block->high + first) * limit + 1.0f;
    if (any(passes)) offer_vector<kLanes>(block, first, which, hash);
  }
}

void RowContest::offer_portable(Block* block, const uint32_t* which, uint32_t count) const {
  for (uint32_t i = 0; i < count; ++i) offer_one<4>(block, which[i]);
}

#if defined(__x86_64__)
// The same code with registers of eight lanes.
__attribute__((target("avx2"))) void RowContest::settle_avx2(Block* block) const {
  settle_lanes<8>(block);
}

__attribute__((target("avx2"))) void RowContest::offer_avx2(Block* block, const uint32_t* which,
                                                            uint32_t count) const {
  for (uint32_t i = 0; i < count; ++i) offer_one<8>(block, which[i]);
}
#endif

void RowContest::settle(Block* block) const {
#if defined(__x86_64__)
  if (__builtin_cpu_supports("avx2")) return settle_avx2(block);
#endif
  settle_portable(block);
}

void RowContest::offer_all(Block* block, const uint32_t* which, uint32_t count) const {
#if defined(__x86_64__)
  if (__builtin_cpu_supports("avx2")) return offer_avx2(block, which, count);
#endif
  offer_portable(block, which, count);
}

void RowContest::offer(Block* block, uint32_t first, uint32_t last) const {
  offer_all(block, everyone_.data() + first, last - first);
}

void RowContest::offer(Block* block, const std::vector<uint32_t>& which) const {
  offer_all(block, which.data(), static_cast<uint32_t>(which.size()));
}

}  // namespace gwlb::select
