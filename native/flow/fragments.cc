#include "flow/fragments.h"

#include <algorithm>
#include <cstring>
#include <new>
#include <utility>

#include "base/assert.h"
#include "base/bytes.h"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace gwlb::flow {

std::unique_ptr<FragmentTable> FragmentTable::create(uint32_t trains, uint32_t lifetime_ms,
                                                     base::HashKey key) {
  GWLB_ASSERT(trains >= 1 && trains <= 1u << 24 && lifetime_ms < 1u << 31);
  const uint32_t sets = (trains + kWays - 1) / kWays;
  Pages pages = Pages::map(size_t{sets} * (sizeof(Set) + kWays * sizeof(Train)));
  if (pages.data() == nullptr) return nullptr;
  return std::unique_ptr<FragmentTable>(
      new (std::nothrow) FragmentTable(sets, lifetime_ms, key, std::move(pages)));
}

FragmentTable::FragmentTable(uint32_t sets, uint32_t lifetime_ms, base::HashKey key, Pages pages)
    : places_(places_version(base::simd_of_machine())),
      set_(static_cast<Set*>(pages.data())),
      trains_(reinterpret_cast<Train*>(set_ + sets)),
      sets_(sets),
      lifetime_ms_(lifetime_ms),
      key_(key),
      pages_(std::move(pages)) {}

// A fragment of this train has come. Anything but the last one's length is a multiple of 8; of
// another one the rest is not counted, as nobody can use it (RFC 791 section 3.2).
__attribute__((always_inline)) inline void FragmentTable::Train::add(
    const wire::InnerPacket& fragment) {
  if ((state & (kComplete | kUncertain)) != 0) return;
  const uint32_t last_byte = fragment.fragment_offset + fragment.fragment_length;
  Stretch came{static_cast<uint16_t>(fragment.fragment_offset / 8),
               static_cast<uint16_t>(std::min(last_byte, uint32_t{1} << 16) / 8)};
  if (!fragment.more_fragments) {
    came.to = static_cast<uint16_t>((std::min(last_byte, uint32_t{1} << 16) + 7) / 8);
    if (end != 0 && end != came.to) state |= kUncertain;
    end = came.to;
  }
  uint32_t kept = 0;
  for (uint32_t k = 0; k < stretches; ++k) {
    const Stretch known = stretch[k];
    if (known.from <= came.to && came.from <= known.to) {
      came = {std::min(known.from, came.from), std::max(known.to, came.to)};
    } else {
      stretch[kept++] = known;
    }
  }
  if (kept == kStretches) {
    state |= kUncertain;
    return;
  }
  stretch[kept++] = came;
  stretches = static_cast<uint8_t>(kept);
  if (kept == 1 && came.from == 0 && came.to == end) state |= kComplete;
}

uint32_t FragmentTable::Set::ways_of(uint16_t one) const {
  constexpr uint64_t kLow15 = 0x7fff'7fff'7fff'7fff;
  const uint64_t wanted = one * uint64_t{0x0001'0001'0001'0001};
  uint32_t ways = 0;
  for (uint32_t way = 0; way < kWays; way += 4) {
    const auto* tags = reinterpret_cast<const uint8_t*>(tag + way);
    const uint64_t x = base::load<uint64_t>(tags) ^ wanted;
    // The top bit of each 16-bit lane that is all zero, without carries between lanes.
    const uint64_t zero = ~(((x & kLow15) + kLow15) | x | kLow15);
    const uint64_t bits = ((zero >> 15) * 0x0001'0002'0004'0008) >> 48;
    ways |= static_cast<uint32_t>(bits & 15) << way;
  }
  return ways;
}

// As one number of time and way, which compilers compare without a branch: who is oldest is as good
// as random.
uint32_t FragmentTable::Set::oldest() const {
  uint64_t least = ~uint64_t{0};
  for (uint32_t way = 0; way < kWays; ++way) least = std::min(least, began_at(way) | way);
  return least & (kWays - 1);
}

FragmentTable::Train* FragmentTable::search_set(const Name& name, Pass pass,
                                                uint64_t now_ms) const {
  const uint32_t number = set_of(name.hash);
  const uint16_t tag = tag_of(name.hash);
  const Set& set = set_[number];
  Train* trains = trains_of(number);
  for (uint32_t left = set.ways_of(tag); left != 0; left &= left - 1) {
    const auto way = static_cast<uint32_t>(__builtin_ctz(left));
    if (!set.alive(way, now_ms, lifetime_ms_)) continue;
    Train& train = trains[way];
    if (train.pass == pass && std::memcmp(&train.key, &name.key, sizeof name.key) == 0) {
      return &train;
    }
  }
  return nullptr;
}

// Whether a set has a tag is as good as random in a flood: no branch.
void FragmentTable::places_portable(const uint64_t* hash, uint32_t n, uint32_t* oldest) const {
  for (uint32_t i = 0; i < n; ++i) {
    const uint32_t number = set_of(hash[i]);
    const Set& set = set_[number];
    const uint32_t ways = set.ways_of(tag_of(hash[i]));
    const uint32_t way = set.oldest();
    const uint32_t found = static_cast<uint32_t>(__builtin_ctz(ways | 1u << kWays));
    base::prefetch_to_write(trains_of(number) + (ways != 0 ? found : way));
    oldest[i] = ways != 0 ? kWays : way;
  }
}

#if defined(__x86_64__)

#define GWLB_AVX2 __attribute__((target("avx2")))

namespace {

GWLB_AVX2 __attribute__((always_inline)) inline __m128i load16(const void* at) {
  return _mm_loadu_si128(static_cast<const __m128i*>(at));
}
GWLB_AVX2 __attribute__((always_inline)) inline __m256i least(__m256i a, __m256i b) {
  return _mm256_blendv_epi8(a, b, _mm256_cmpgt_epi64(a, b));
}

}  // namespace

// The clocks of a set in the lanes of two vectors, as Set::began_at() has them; below 2^47 ms they
// are no negative numbers.
GWLB_AVX2 void FragmentTable::places_avx2(const uint64_t* hash, uint32_t n,
                                          uint32_t* oldest) const {
  const __m128i two = _mm_setr_epi8(-1, -1, 0, 1, 2, 3, 4, 5, -1, -1, 6, 7, 8, 9, 10, 11);
  const __m256i four = _mm256_broadcastsi128_si256(two);
  const __m256i low = _mm256_setr_epi64x(0, 1, 2, 3), high = _mm256_setr_epi64x(4, 5, 6, 7);
  for (uint32_t i = 0; i < n; ++i) {
    const uint32_t number = set_of(hash[i]);
    const Set& set = set_[number];
    const uint8_t* began = set.began;
    const __m256i first = _mm256_set_m128i(load16(began + 12), load16(began));
    const __m256i second = _mm256_set_m128i(load16(began + 36), load16(began + 24));
    __m256i best = least(_mm256_or_si256(_mm256_shuffle_epi8(first, four), low),
                         _mm256_or_si256(_mm256_shuffle_epi8(second, four), high));
    best = least(best, _mm256_permute4x64_epi64(best, 0x4e));
    best = least(best, _mm256_shuffle_epi32(best, 0x4e));
    const auto way = static_cast<uint32_t>(_mm256_extract_epi32(best, 0)) & (kWays - 1);
    const __m128i same =
        _mm_cmpeq_epi16(load16(set.tag), _mm_set1_epi16(static_cast<short>(tag_of(hash[i]))));
    const auto ways = static_cast<uint32_t>(_mm_movemask_epi8(_mm_packs_epi16(same, same))) & 0xff;
    const auto found = static_cast<uint32_t>(__builtin_ctz(ways | 1u << kWays));
    base::prefetch_to_write(trains_of(number) + (ways != 0 ? found : way));
    oldest[i] = ways != 0 ? kWays : way;
  }
}

#undef GWLB_AVX2
#endif

FragmentTable::Places FragmentTable::places_version(base::Simd simd) {
#if defined(__x86_64__)
  if (simd == base::Simd::avx2) return &FragmentTable::places_avx2;
#endif
  return simd == base::Simd::portable ? &FragmentTable::places_portable : nullptr;
}

void FragmentTable::Train::begin(const FragmentKey& of, Pass which) {
  key = of;
  source_port = destination_port = 0;
  protocol = state = stretches = 0;
  pass = which;
  end = spare = 0;
}

// An empty train, in place of the one that has its name or of the one that gives way.
__attribute__((always_inline)) inline FragmentTable::Train* FragmentTable::begin(const Name& name,
                                                                                 Train* known,
                                                                                 Pass pass,
                                                                                 uint64_t now_ms) {
  const uint32_t number = set_of(name.hash);
  Set& set = set_[number];
  Train* train = known;
  if (train == nullptr) {
    train = trains_of(number) + (is_still_unknown(name, now_ms) ? name.oldest : set.oldest());
  }
  set.begin(static_cast<uint32_t>(train - trains_of(number)), tag_of(name.hash), now_ms);
  train->begin(name.key, pass);
  return train;
}

namespace {

template <class Train>
void give_ports(const wire::InnerPacket& packet, Train* train) {
  train->source_port = packet.source_port;
  train->destination_port = packet.destination_port;
  train->protocol = packet.protocol;
}

template <class Train>
void take_ports(const Train& train, wire::InnerPacket* later) {
  later->source_port = train.source_port;
  later->destination_port = train.destination_port;
  later->protocol = train.protocol;
  later->flags |= wire::kHasPorts;
}

}  // namespace

void FragmentTable::bind(const wire::InnerPacket& first, const Name& name, Pass pass,
                         uint64_t now_ms) {
  if ((first.flags & wire::kHasPorts) == 0) return;
  Train* train = train_of(name, pass, now_ms);
  if (train == nullptr || (train->state & (kGivenUp | kComplete)) != kGivenUp) {
    train = begin(name, train, pass, now_ms);
    give_ports(first, train);
  }
  train->add(first);
}

void FragmentTable::bind_whole(const wire::InnerPacket& packet, const Name& name, uint64_t now_ms) {
  if ((packet.flags & wire::kHasPorts) == 0) return;
  Train* train = begin(name, train_of(name, Pass::entering, now_ms), Pass::entering, now_ms);
  give_ports(packet, train);
  train->state = kComplete;
}

void FragmentTable::give_up(const wire::InnerPacket& later, const Name& name, uint64_t now_ms) {
  Train* train = begin(name, nullptr, Pass::entering, now_ms);
  train->protocol = later.protocol;
  train->state = kGivenUp;
  train->add(later);
}

// `*own`: the train that the fragment is part of, or null.
FragmentTable::Found FragmentTable::search(wire::InnerPacket* later, const Name& name, Pass pass,
                                           uint64_t now_ms, Train** own) const {
  *own = train_of(name, pass, now_ms);
  const Train* train = *own;
  const bool over = train != nullptr && (train->state & kComplete) != 0;
  if (over) *own = nullptr;
  if (pass == Pass::returned && *own == nullptr) {
    const Train* entered = train_of(name, Pass::entering, now_ms);
    if (entered != nullptr) train = entered;
  }
  if (train == nullptr) return Found::unknown;
  const bool has_ports = (train->state & kGivenUp) == 0;
  if (has_ports) take_ports(*train, later);
  if (over && pass == Pass::entering) return Found::over;
  return has_ports ? Found::ports : Found::no_ports;
}

FragmentTable::Found FragmentTable::come(wire::InnerPacket* later, const Name& name, Pass pass,
                                         uint64_t now_ms) {
  Train* own;
  const Found found = search(later, name, pass, now_ms, &own);
  if (own != nullptr) own->add(*later);
  return found;
}

FragmentTable::Found FragmentTable::find(wire::InnerPacket* later, const Name& name, Pass pass,
                                         uint64_t now_ms) const {
  Train* own;
  return search(later, name, pass, now_ms, &own);
}

FragmentTable::Found FragmentTable::find_quoted(wire::InnerPacket* later, const Name& name,
                                                uint64_t now_ms) const {
  const Train* train = train_of(name, Pass::entering, now_ms);
  if (train == nullptr) train = train_of(name, Pass::returned, now_ms);
  if (train == nullptr) return Found::unknown;
  if ((train->state & kGivenUp) != 0) return Found::no_ports;
  take_ports(*train, later);
  return Found::ports;
}

uint32_t FragmentTable::size(uint64_t now_ms) const {
  uint32_t live = 0;
  for (uint32_t set = 0; set < sets_; ++set) {
    for (uint32_t way = 0; way < kWays; ++way) live += set_[set].alive(way, now_ms, lifetime_ms_);
  }
  return live;
}

}  // namespace gwlb::flow
