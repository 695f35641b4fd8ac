#include "flow/tag_search.h"

#include "base/prefetch.h"

namespace gwlb::flow {
namespace {

const void* first_candidate(const TagLine* line, const uint8_t* records, uint32_t record_shift,
                            uint32_t bucket, uint32_t matches) {
  const auto first = static_cast<uint32_t>(__builtin_ctz(matches | 1u << kTagsPerLine));
  const uint64_t index = uint64_t{bucket} * kTagsPerLine + first;
  const auto record = reinterpret_cast<uintptr_t>(records) + (index << record_shift);
  const auto other = reinterpret_cast<uintptr_t>(line);
  // Whether there is one is data, not control flow: a branch would be mispredicted too often.
  const uintptr_t any = 0 - static_cast<uintptr_t>(matches != 0);
  return reinterpret_cast<const void*>(other ^ ((record ^ other) & any));
}

// Written out for each version: an intrinsic only becomes part of a function of its own target.
#define GWLB_SEARCH_LOOP(match)                                                          \
  for (uint32_t i = 0; i < n; ++i) {                                                     \
    const TagLine& line = lines[bucket[i]];                                              \
    const uint16_t tag = stored_tag(hashes[i]);                                          \
    matches[i] = match(line, tag);                                                       \
    candidate[i] = first_candidate(&line, records, record_shift, bucket[i], matches[i]); \
    base::prefetch(candidate[i]);                                                        \
  }

void search_portable(const TagLine* lines, const uint8_t* records, uint32_t record_shift,
                     const uint32_t* bucket, const uint64_t* hashes, uint32_t n, uint32_t* matches,
                     const void** candidate){GWLB_SEARCH_LOOP(match_tags)}
#if defined(__x86_64__)

#define GWLB_AVX2 __attribute__((target("avx2,bmi")))

GWLB_AVX2 __attribute__((always_inline)) inline uint32_t
    match_tags_avx2(const TagLine& line, uint16_t tag) {
  const auto* lanes = reinterpret_cast<const __m256i*>(&line);
  const __m256i wanted = _mm256_set1_epi16(static_cast<int16_t>(tag));
  const __m256i low = _mm256_cmpeq_epi16(_mm256_load_si256(lanes), wanted);
  const __m256i high = _mm256_cmpeq_epi16(_mm256_load_si256(lanes + 1), wanted);
  const __m256i packed = _mm256_permute4x64_epi64(_mm256_packs_epi16(low, high), 0xd8);
  return static_cast<uint32_t>(_mm256_movemask_epi8(packed)) & kAllTags;
}

GWLB_AVX2 void search_avx2(const TagLine* lines, const uint8_t* records, uint32_t record_shift,
                           const uint32_t* bucket, const uint64_t* hashes, uint32_t n,
                           uint32_t* matches, const void** candidate) {
  GWLB_SEARCH_LOOP(match_tags_avx2)
}

#undef GWLB_AVX2
#endif
#undef GWLB_SEARCH_LOOP

}  // namespace

Search search_version(base::Simd simd) {
#if defined(__x86_64__)
  if (simd == base::Simd::avx2) return search_avx2;
#endif
  return simd == base::Simd::portable ? search_portable : nullptr;
}

}  // namespace gwlb::flow
