#include "wire/checksum.h"

#include <atomic>

#include "base/assert.h"
#include "base/bytes.h"

#if defined(__x86_64__)
#include <immintrin.h>
#elif defined(__aarch64__)
#include <arm_neon.h>
#endif

namespace gwlb::wire {
namespace {

// Sums are taken in the machine's byte order (RFC 1071 section 2B): only their folded form has to
// be swapped. Both halves of a 64-bit word are added to 64 bits, which overflow after 16 GiB only.
inline uint64_t add_portable(const uint8_t* data, size_t length) {
  uint64_t low = 0;
  uint64_t high = 0;
  for (; length >= 8; data += 8, length -= 8) {
    const auto word = base::load<uint64_t>(data);
    low += word & 0xffffffff;
    high += word >> 32;
  }
  if ((length & 4) != 0) {
    low += base::load<uint32_t>(data);
    data += 4;
  }
  if ((length & 2) != 0) {
    high += base::load<uint16_t>(data);
    data += 2;
  }
  if ((length & 1) != 0) high += *data;  // padded with a zero byte behind it
  return low + high;
}

// The vector versions keep two sums, both modulo 2^64: of whole 64-bit words, and of their upper
// halves. The lower halves' sum is the first less the second's 32-bit shift. That is one operation
// a vector less than to separate the halves.
#if defined(__x86_64__)

// Keeps what was loaded in its register: g++ would rather load it again for each use.
#define GWLB_IN_REGISTER(vector) __asm__("" : "+x"(vector))

uint64_t add_sse2(const uint8_t* data, size_t length) {
  __m128i words[2] = {_mm_setzero_si128(), _mm_setzero_si128()};
  __m128i upper[2] = {_mm_setzero_si128(), _mm_setzero_si128()};
  for (; length >= 32; data += 32, length -= 32) {
    __m128i a = _mm_loadu_si128(reinterpret_cast<const __m128i*>(data));
    __m128i b = _mm_loadu_si128(reinterpret_cast<const __m128i*>(data + 16));
    GWLB_IN_REGISTER(a);
    GWLB_IN_REGISTER(b);
    words[0] = _mm_add_epi64(words[0], a);
    words[1] = _mm_add_epi64(words[1], b);
    upper[0] = _mm_add_epi64(upper[0], _mm_srli_epi64(a, 32));
    upper[1] = _mm_add_epi64(upper[1], _mm_srli_epi64(b, 32));
  }
  const __m128i high = _mm_add_epi64(upper[0], upper[1]);
  const __m128i low = _mm_sub_epi64(_mm_add_epi64(words[0], words[1]), _mm_slli_epi64(high, 32));
  const __m128i both = _mm_add_epi64(low, high);
  const __m128i sum = _mm_add_epi64(both, _mm_unpackhi_epi64(both, both));
  return static_cast<uint64_t>(_mm_cvtsi128_si64(sum)) + add_portable(data, length);
}

__attribute__((target("avx2"))) uint64_t add_avx2(const uint8_t* data, size_t length) {
  __m256i words[2] = {_mm256_setzero_si256(), _mm256_setzero_si256()};
  __m256i upper[2] = {_mm256_setzero_si256(), _mm256_setzero_si256()};
  for (; length >= 128; data += 128, length -= 128) {
    const auto* from = reinterpret_cast<const __m256i*>(data);
    __m256i a = _mm256_loadu_si256(from);
    __m256i b = _mm256_loadu_si256(from + 1);
    __m256i c = _mm256_loadu_si256(from + 2);
    __m256i d = _mm256_loadu_si256(from + 3);
    GWLB_IN_REGISTER(a);
    GWLB_IN_REGISTER(b);
    GWLB_IN_REGISTER(c);
    GWLB_IN_REGISTER(d);
    words[0] = _mm256_add_epi64(words[0], a);
    words[1] = _mm256_add_epi64(words[1], b);
    upper[0] = _mm256_add_epi64(upper[0], _mm256_srli_epi64(a, 32));
    upper[1] = _mm256_add_epi64(upper[1], _mm256_srli_epi64(b, 32));
    words[0] = _mm256_add_epi64(words[0], c);
    words[1] = _mm256_add_epi64(words[1], d);
    upper[0] = _mm256_add_epi64(upper[0], _mm256_srli_epi64(c, 32));
    upper[1] = _mm256_add_epi64(upper[1], _mm256_srli_epi64(d, 32));
  }
  for (; length >= 32; data += 32, length -= 32) {
    __m256i a = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(data));
    GWLB_IN_REGISTER(a);
    words[0] = _mm256_add_epi64(words[0], a);
    upper[0] = _mm256_add_epi64(upper[0], _mm256_srli_epi64(a, 32));
  }
  const __m256i high = _mm256_add_epi64(upper[0], upper[1]);
  const __m256i low =
      _mm256_sub_epi64(_mm256_add_epi64(words[0], words[1]), _mm256_slli_epi64(high, 32));
  const __m256i both = _mm256_add_epi64(low, high);
  const __m128i half =
      _mm_add_epi64(_mm256_castsi256_si128(both), _mm256_extracti128_si256(both, 1));
  const __m128i sum = _mm_add_epi64(half, _mm_unpackhi_epi64(half, half));
  return static_cast<uint64_t>(_mm_cvtsi128_si64(sum)) + add_portable(data, length);
}

#undef GWLB_IN_REGISTER

#elif defined(__aarch64__)

uint64_t add_neon(const uint8_t* data, size_t length) {
  uint64x2_t sums[2] = {vdupq_n_u64(0), vdupq_n_u64(0)};
  for (; length >= 32; data += 32, length -= 32) {
    sums[0] = vpadalq_u32(sums[0], vreinterpretq_u32_u8(vld1q_u8(data)));
    sums[1] = vpadalq_u32(sums[1], vreinterpretq_u32_u8(vld1q_u8(data + 16)));
  }
  return vaddvq_u64(vaddq_u64(sums[0], sums[1])) + add_portable(data, length);
}

#endif

uint64_t choose_and_add(const uint8_t* data, size_t length);

// Constant-initialised, so it is right in whatever runs before main. Threads that come here at the
// same time choose the same.
constinit std::atomic<uint64_t (*)(const uint8_t*, size_t)> add_long{choose_and_add};

uint64_t choose_and_add(const uint8_t* data, size_t length) {
  ChecksumVersion versions[kChecksumVersionsMax];
  const size_t count = checksum_versions(versions);
  add_long.store(versions[count - 1].add, std::memory_order_relaxed);
  return versions[count - 1].add(data, length);
}

// Below this the call by pointer costs more than vectors save: headers and addresses.
constexpr size_t kLong = 64;

}  // namespace

size_t checksum_versions(ChecksumVersion out[kChecksumVersionsMax]) {
  size_t count = 0;
  out[count++] = {"portable", add_portable};
#if defined(__x86_64__)
  out[count++] = {"sse2", add_sse2};
  __builtin_cpu_init();
  if (__builtin_cpu_supports("avx2")) out[count++] = {"avx2", add_avx2};
#elif defined(__aarch64__)
  out[count++] = {"neon", add_neon};
#endif
  return count;
}

uint64_t checksum_add(const uint8_t* data, size_t length, uint64_t sum) {
  const uint64_t little = length < kLong ? add_portable(data, length)
                                         : add_long.load(std::memory_order_relaxed)(data, length);
  return sum + __builtin_bswap16(checksum_fold(little));
}

uint16_t ipv4_header_checksum(const uint8_t* header, size_t header_length) {
  GWLB_ASSERT(header_length >= 20);
  const uint64_t before = checksum_add(header, 10);
  return checksum_finish(checksum_add(header + 12, header_length - 12, before));
}

uint16_t transport_checksum(const uint8_t* source, const uint8_t* destination,
                            size_t address_length, uint8_t protocol, const uint8_t* segment,
                            size_t segment_length) {
  uint64_t sum = checksum_add(source, address_length);
  sum = checksum_add(destination, address_length, sum);
  sum += protocol;
  sum += segment_length;  // as one number: RFC 8200's 32 bits and RFC 768's 16 fold to the same
  return checksum_finish(checksum_add(segment, segment_length, sum));
}

uint16_t checksum_update(uint16_t field, uint16_t before, uint16_t after) {
  const uint64_t sum =
      uint64_t{static_cast<uint16_t>(~field)} + static_cast<uint16_t>(~before) + after;
  return checksum_finish(sum);
}

}  // namespace gwlb::wire
