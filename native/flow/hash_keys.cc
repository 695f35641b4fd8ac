// Several hashes at once, one in each lane of a vector: their rounds are the same, and a hash alone
// waits for its own last step most of the time.
#include "flow/hash_keys.h"

#include "flow/fragments.h"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace gwlb::flow {
namespace {

template <class Key>
void hash_portable(const base::HashKey& key, const Key* flows, uint32_t n, uint64_t* out) {
  for (uint32_t i = 0; i < n; ++i) out[i] = hash_key(key, flows[i]);
}

#if defined(__x86_64__)

// Every function here is for AVX2: a function's vectors are those of its own target, not of the one
// it is inlined into.
namespace avx2 {
#define GWLB_AVX2 __attribute__((target("avx2")))
#define GWLB_AVX2_INLINE GWLB_AVX2 __attribute__((always_inline)) inline

constexpr uint32_t kLanes = 4;

struct Lanes {
  __m256i v0, v1, v2, v3;
};

template <int kBits>
GWLB_AVX2_INLINE __m256i rotate(__m256i x) {
  return _mm256_or_si256(_mm256_slli_epi64(x, kBits), _mm256_srli_epi64(x, 64 - kBits));
}
GWLB_AVX2_INLINE __m256i swap_halves(__m256i x) { return _mm256_shuffle_epi32(x, 0xb1); }

GWLB_AVX2_INLINE void round(Lanes& s) {
  s.v0 = _mm256_add_epi64(s.v0, s.v1);
  s.v2 = _mm256_add_epi64(s.v2, s.v3);
  s.v1 = _mm256_xor_si256(rotate<13>(s.v1), s.v0);
  s.v3 = _mm256_xor_si256(rotate<16>(s.v3), s.v2);
  s.v0 = swap_halves(s.v0);
  s.v2 = _mm256_add_epi64(s.v2, s.v1);
  s.v0 = _mm256_add_epi64(s.v0, s.v3);
  s.v1 = _mm256_xor_si256(rotate<17>(s.v1), s.v2);
  s.v3 = _mm256_xor_si256(rotate<21>(s.v3), s.v0);
  s.v2 = swap_halves(s.v2);
}

GWLB_AVX2_INLINE void word(Lanes& s, __m256i m) {
  s.v3 = _mm256_xor_si256(s.v3, m);
  round(s);
  s.v0 = _mm256_xor_si256(s.v0, m);
}

GWLB_AVX2_INLINE __m128i pair(const uint8_t* a, const uint8_t* b) {
  return _mm_unpacklo_epi64(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(a)),
                            _mm_loadl_epi64(reinterpret_cast<const __m128i*>(b)));
}
// Eight bytes every `stride`. By halves: from four numbers compilers go through memory.
GWLB_AVX2_INLINE __m256i gather(const uint8_t* from, size_t stride) {
  return _mm256_set_m128i(pair(from + 2 * stride, from + 3 * stride), pair(from, from + stride));
}

template <class Key>
GWLB_AVX2_INLINE void hash_lanes(const Lanes& start, const Key* flows, uint64_t* out) {
  Lanes s = start;
  const auto* bytes = reinterpret_cast<const uint8_t*>(flows);
  for (size_t at = 0; at < sizeof(Key); at += 8) word(s, gather(bytes + at, sizeof(Key)));
  word(s, _mm256_set1_epi64x(int64_t{sizeof(Key)} << 56));
  s.v2 = _mm256_xor_si256(s.v2, _mm256_set1_epi64x(0xff));
  round(s);
  round(s);
  round(s);
  const __m256i hash = _mm256_xor_si256(_mm256_xor_si256(s.v0, s.v1), _mm256_xor_si256(s.v2, s.v3));
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(out), hash);
}

template <class Key>
GWLB_AVX2 void hash(const base::HashKey& key, const Key* flows, uint32_t n, uint64_t* out) {
  const base::siphash_detail::State one(key);
  const auto all = [](uint64_t value) { return static_cast<long long>(value); };
  const Lanes start{_mm256_set1_epi64x(all(one.v0)), _mm256_set1_epi64x(all(one.v1)),
                    _mm256_set1_epi64x(all(one.v2)), _mm256_set1_epi64x(all(one.v3))};
  uint32_t i = 0;
  for (; i + kLanes <= n; i += kLanes) hash_lanes(start, flows + i, out + i);
  if (i == n) return;
  // The last ones in lanes as well, which costs less than two of them alone.
  Key rest[kLanes] = {};
  uint64_t hashes[kLanes];
  std::memcpy(rest, flows + i, (n - i) * sizeof(Key));
  hash_lanes(start, rest, hashes);
  std::memcpy(out + i, hashes, (n - i) * sizeof(uint64_t));
}

#undef GWLB_AVX2_INLINE
#undef GWLB_AVX2
}  // namespace avx2

#endif

template <class Key>
HashKeys<Key> version_of(base::Simd simd) {
#if defined(__x86_64__)
  if (simd == base::Simd::avx2) return avx2::hash<Key>;
#endif
  return simd == base::Simd::portable ? hash_portable<Key> : nullptr;
}

const HashKeys<FlowKey4> hash4 = version_of<FlowKey4>(base::simd_of_machine());
const HashKeys<FlowKey6> hash6 = version_of<FlowKey6>(base::simd_of_machine());
const HashKeys<FragmentKey> hash_trains = version_of<FragmentKey>(base::simd_of_machine());

}  // namespace

template <>
HashKeys<FlowKey4> hash_keys_version(base::Simd simd) {
  return version_of<FlowKey4>(simd);
}
template <>
HashKeys<FlowKey6> hash_keys_version(base::Simd simd) {
  return version_of<FlowKey6>(simd);
}
template <>
HashKeys<FragmentKey> hash_keys_version(base::Simd simd) {
  return version_of<FragmentKey>(simd);
}

void hash_keys(const base::HashKey& key, const FlowKey4* flows, uint32_t n, uint64_t* out) {
  hash4(key, flows, n, out);
}
void hash_keys(const base::HashKey& key, const FlowKey6* flows, uint32_t n, uint64_t* out) {
  hash6(key, flows, n, out);
}
void hash_keys(const base::HashKey& key, const FragmentKey* trains, uint32_t n, uint64_t* out) {
  hash_trains(key, trains, n, out);
}

}  // namespace gwlb::flow
