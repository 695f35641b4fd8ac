// The 64-byte line of a flow-table bucket, and the search in it.
#pragma once

#include <cstdint>

#include "base/bytes.h"

#if defined(__SSE2__)
#include <immintrin.h>
#elif defined(__aarch64__)
#include <arm_neon.h>
#endif

namespace gwlb::flow {

inline constexpr uint32_t kTagsPerLine = 31;
inline constexpr uint32_t kAllTags = (1u << kTagsPerLine) - 1;

// One cache line. A tag of 0 is a free position. The last two bytes are about the records whose
// probe sequence passed this bucket because it was full when they came:
//   bloom     one bit for each of eight tag classes among them: a key of another class ends here
//   overflow  bits 0..6: how many they are, 127 for "127 or more"; bit 7: some record here is away
//             from its home bucket
struct alignas(64) TagLine {
  static constexpr uint8_t kOverflowMax = 0x7f;
  static constexpr uint8_t kHostsForeign = 0x80;

  uint16_t tag[kTagsPerLine];
  uint8_t bloom;
  uint8_t overflow;

  static uint8_t bloom_bit(uint16_t tag) { return static_cast<uint8_t>(1u << (tag & 7)); }
  bool may_continue(uint16_t of) const { return (bloom & bloom_bit(of)) != 0; }
  uint8_t passed() const { return overflow & kOverflowMax; }
};
static_assert(sizeof(TagLine) == 64);

// Bit i is set where tag[i] == tag. Eight lanes of 64 bits: what every machine can do, and what the
// others are tested against.
inline uint32_t match_tags_portable(const TagLine& line, uint16_t tag) {
  constexpr uint64_t kLow15 = 0x7fff7fff7fff7fff;
  const uint64_t wanted = tag * uint64_t{0x0001000100010001};
  const auto* bytes = reinterpret_cast<const uint8_t*>(&line);
  uint32_t mask = 0;
  for (uint32_t word = 0; word < 8; ++word) {
    const uint64_t x = base::load<uint64_t>(bytes + 8 * word) ^ wanted;
    // The top bit of each 16-bit lane that is all zero, without carries between lanes.
    const uint64_t zero = ~(((x & kLow15) + kLow15) | x | kLow15);
    const uint64_t bits = ((zero >> 15) * 0x0001000200040008) >> 48;
    mask |= static_cast<uint32_t>(bits & 15) << (4 * word);
  }
  return mask & kAllTags;
}

// With what the build may use anyway.
inline uint32_t match_tags(const TagLine& line, uint16_t tag) {
#if defined(__SSE2__)
  const auto* lanes = reinterpret_cast<const __m128i*>(&line);
  const __m128i wanted = _mm_set1_epi16(static_cast<int16_t>(tag));
  const __m128i a = _mm_cmpeq_epi16(_mm_load_si128(lanes), wanted);
  const __m128i b = _mm_cmpeq_epi16(_mm_load_si128(lanes + 1), wanted);
  const __m128i c = _mm_cmpeq_epi16(_mm_load_si128(lanes + 2), wanted);
  const __m128i d = _mm_cmpeq_epi16(_mm_load_si128(lanes + 3), wanted);
  const auto low = static_cast<uint32_t>(_mm_movemask_epi8(_mm_packs_epi16(a, b)));
  const auto high = static_cast<uint32_t>(_mm_movemask_epi8(_mm_packs_epi16(c, d)));
  return (low | high << 16) & kAllTags;
#elif defined(__aarch64__)
  const uint16_t* lanes = line.tag;
  const uint16x8_t wanted = vdupq_n_u16(tag);
  const uint8x8_t weights = {1, 2, 4, 8, 16, 32, 64, 128};
  uint32_t mask = 0;
  for (uint32_t quarter = 0; quarter < 4; ++quarter) {
    const uint16x8_t equal = vceqq_u16(vld1q_u16(lanes + 8 * quarter), wanted);
    mask |= static_cast<uint32_t>(vaddv_u8(vand_u8(vmovn_u16(equal), weights))) << (8 * quarter);
  }
  return mask & kAllTags;
#else
  return match_tags_portable(line, tag);
#endif
}

}  // namespace gwlb::flow
