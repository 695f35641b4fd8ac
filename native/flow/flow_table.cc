#include "flow/flow_table.h"

#include <cstring>
#include <new>
#include <utility>

#include "base/prefetch.h"

namespace gwlb::flow {
template <class Key>
std::unique_ptr<FlowTable<Key>> FlowTable<Key>::create(uint32_t capacity) {
  GWLB_ASSERT(capacity >= 1 && capacity <= base::kFlowsMax);
  constexpr uint64_t kFlowsOf100Buckets = kTagsPerLine * kLoadPercent;
  const auto buckets = static_cast<uint32_t>((uint64_t{capacity} * 100 + kFlowsOf100Buckets - 1) /
                                             kFlowsOf100Buckets);
  const size_t bytes =
      size_t{buckets} * (sizeof(TagLine) + kTagsPerLine * sizeof(Record) + sizeof(Displacements));
  Pages pages = Pages::map(bytes);
  if (pages.data() == nullptr) return nullptr;
  return std::unique_ptr<FlowTable>(new (std::nothrow)
                                        FlowTable(capacity, buckets, std::move(pages)));
}

template <class Key>
FlowTable<Key>::FlowTable(uint32_t capacity, uint32_t buckets, Pages pages)
    : search_(search_version(base::simd_of_machine())),
      lines_(static_cast<TagLine*>(pages.data())),
      records_(reinterpret_cast<Record*>(lines_ + buckets)),
      displacements_(reinterpret_cast<Displacements*>(records_ + size_t{buckets} * kTagsPerLine)),
      buckets_(buckets),
      index_end_(buckets * kTagsPerLine),
      capacity_(capacity),
      pages_(std::move(pages)) {
  // No probe sequence may meet a bucket twice, or displacements would not lead back home.
  probes_ = buckets < kProbesMax ? buckets : kProbesMax;
  step_mask_ = kStepMax - 1;
  while (step_mask_ > 0 && (kProbesMax - 1) * (step_mask_ + 1) >= buckets) step_mask_ >>= 1;
  for (uint32_t& idle : idle_ms_) idle = 1u << 31;
}

template <class Key>
void FlowTable<Key>::lookup(const Key* keys, const uint64_t* hashes, uint32_t n,
                            uint32_t* index) const {
  GWLB_ASSERT(n <= base::kBatchPacketsMax);
  for (uint32_t at = 0; at < n; at += kChunk) {
    lookup_chunk(keys + at, hashes + at, n - at < kChunk ? n - at : kChunk, index + at, search_);
  }
}

template <class Key>
void FlowTable<Key>::lookup_with(base::Simd simd, const Key* keys, const uint64_t* hashes,
                                 uint32_t n, uint32_t* index) const {
  for (uint32_t at = 0; at < n; at += kChunk) {
    lookup_chunk(keys + at, hashes + at, n - at < kChunk ? n - at : kChunk, index + at,
                 search_version(simd));
  }
}

// The common case: home bucket, first matching tag. Whether a key hits, misses or goes on is data,
// not control flow, since a mispredicted branch costs as much as a prefetched line.
template <class Key>
void FlowTable<Key>::lookup_chunk(const Key* keys, const uint64_t* hashes, uint32_t n,
                                  uint32_t* index, Search search) const {
  uint32_t bucket[kChunk];
  uint32_t matches[kChunk];
  const void* candidate[kChunk];
  uint32_t rest[kChunk];
  uint32_t rest_count = 0;
  uint32_t missed[kChunk];
  uint32_t missed_count = 0;

  uint32_t i = 0;
  do {  // there is at least one
    bucket[i] = hash_bucket(hashes[i], buckets_);
    base::prefetch(&lines_[bucket[i]]);
  } while (++i < n);
  constexpr uint32_t kRecordShift = sizeof(Record) == 32 ? 5 : 6;
  static_assert(sizeof(Record) == 1u << kRecordShift);
  search(lines_, reinterpret_cast<const uint8_t*>(records_), kRecordShift, bucket, hashes, n,
         matches, candidate);
  for (i = 0; i < n; ++i) {
    const bool same = same_key(candidate[i], keys[i]) & (matches[i] != 0);
    index[i] = bucket[i] * kTagsPerLine +
               static_cast<uint32_t>(__builtin_ctz(matches[i] | 1u << kTagsPerLine));
    if (__builtin_expect(same, 1)) continue;
    index[i] = kNoFlow;
    const TagLine& line = lines_[bucket[i]];
    const bool again =
        (matches[i] & (matches[i] - 1)) != 0 || line.may_continue(stored_tag(hashes[i]));
    rest[rest_count] = missed[missed_count] = i;
    rest_count += again;
    missed_count += !again;
  }
  if (rest_count > 0) {
    missed_count +=
        lookup_rest(keys, hashes, index, bucket, rest, rest_count, missed + missed_count);
  }
  if (missed_count > 0) prefetch_inserts(hashes, missed, missed_count);
}

// The others: a further match in the home bucket, or further buckets, one for all keys at a time.
// Puts those that are nowhere into missed[], and returns how many they are.
template <class Key>
uint32_t FlowTable<Key>::lookup_rest(const Key* keys, const uint64_t* hashes, uint32_t* index,
                                     uint32_t* bucket, uint32_t* rest, uint32_t rest_count,
                                     uint32_t* missed) const {
  uint32_t missed_count = 0;
  for (uint32_t probe = 0; rest_count > 0 && probe < probes_; ++probe) {
    for (uint32_t j = 0; j < rest_count; ++j) {
      const uint32_t i = rest[j];
      const uint32_t mask = match_tags(lines_[bucket[i]], stored_tag(hashes[i]));
      if (mask == 0) continue;
      base::prefetch(
          &records_[bucket[i] * kTagsPerLine + static_cast<uint32_t>(__builtin_ctz(mask))]);
    }
    uint32_t waiting = 0;  // rest[] is rewritten from its start while it is read
    for (uint32_t j = 0; j < rest_count; ++j) {
      const uint32_t i = rest[j];
      const uint16_t tag = stored_tag(hashes[i]);
      index[i] = find_in(bucket[i], keys[i], tag);
      if (index[i] != kNoFlow) continue;
      if (!lines_[bucket[i]].may_continue(tag)) {
        missed[missed_count++] = i;
        continue;
      }
      bucket[i] = forward(bucket[i], step(tag));
      base::prefetch(&lines_[bucket[i]]);
      rest[waiting++] = i;
    }
    rest_count = waiting;
  }
  return missed_count;
}

// Where inserts of these keys will write: nearly always into the home bucket or the next.
template <class Key>
void FlowTable<Key>::prefetch_inserts(const uint64_t* hashes, uint32_t* missed,
                                      uint32_t missed_count) const {
  uint32_t waiting = 0;  // missed[] is rewritten from its start while it is read
  for (uint32_t j = 0; j < missed_count; ++j) {
    const uint64_t hash = hashes[missed[j]];
    const uint32_t home = hash_bucket(hash, buckets_);
    if (prefetch_free(home)) continue;
    const uint32_t next = forward(home, step(stored_tag(hash)));
    base::prefetch_to_write(&lines_[next]);
    base::prefetch_to_write(&displacements_[next]);
    missed[waiting++] = next;
  }
  for (uint32_t j = 0; j < waiting; ++j) prefetch_free(missed[j]);
}

// Asks for the record that the next insert into this bucket takes. False where there is none.
template <class Key>
bool FlowTable<Key>::prefetch_free(uint32_t bucket) const {
  const uint32_t free = match_tags(lines_[bucket], 0);
  if (free == 0) return false;
  base::prefetch_to_write(
      &records_[bucket * kTagsPerLine + static_cast<uint32_t>(__builtin_ctz(free))]);
  return true;
}

template <class Key>
uint32_t FlowTable<Key>::find_in(uint32_t bucket, const Key& key, uint16_t tag) const {
  for (uint32_t mask = match_tags(lines_[bucket], tag); mask != 0; mask &= mask - 1) {
    const uint32_t at = bucket * kTagsPerLine + static_cast<uint32_t>(__builtin_ctz(mask));
    if (same_key(&records_[at].key, key)) return at;
  }
  return kNoFlow;
}

template <class Key>
uint32_t FlowTable<Key>::find(const Key& key, uint64_t hash) const {
  const uint16_t tag = stored_tag(hash);
  uint32_t bucket = hash_bucket(hash, buckets_);
  for (uint32_t probe = 0; probe < probes_; ++probe) {
    const uint32_t index = find_in(bucket, key, tag);
    if (index != kNoFlow) return index;
    if (!lines_[bucket].may_continue(tag)) break;
    bucket = forward(bucket, step(tag));
  }
  return kNoFlow;
}

template <class Key>
uint32_t FlowTable<Key>::insert(const Key& key, uint64_t hash) {
  if (size_ >= capacity_) return kNoFlow;
  const uint16_t tag = stored_tag(hash);
  const uint32_t home = hash_bucket(hash, buckets_);
  uint32_t bucket = home;
  uint32_t displacement = 0;
  uint32_t free = match_tags(lines_[bucket], 0);
  while (free == 0) {
    if (++displacement == probes_) return kNoFlow;
    bucket = forward(bucket, step(tag));
    free = match_tags(lines_[bucket], 0);
  }

  TagLine& line = lines_[bucket];
  const auto position = static_cast<uint32_t>(__builtin_ctz(free));
  line.tag[position] = tag;
  if (displacement > 0) {
    for (uint32_t i = 0, passed = home; i < displacement; ++i) {
      mark_passed(&lines_[passed], tag);
      passed = forward(passed, step(tag));
    }
    line.overflow |= TagLine::kHostsForeign;
    displacements_[bucket].set(position, displacement);
  }
  const uint32_t index = bucket * kTagsPerLine + position;
  records_[index] = Record{};
  records_[index].key = key;
  ++size_;
  return index;
}

template <class Key>
void FlowTable<Key>::erase(uint32_t index) {
  GWLB_ASSERT(occupied(index));
  const uint32_t bucket = index / kTagsPerLine;
  const uint32_t position = index % kTagsPerLine;
  TagLine& line = lines_[bucket];
  const uint16_t tag = line.tag[position];
  line.tag[position] = 0;
  --size_;
  if ((line.overflow & TagLine::kHostsForeign) == 0) return;

  Displacements& displacements = displacements_[bucket];
  const uint32_t displacement = displacements.get(position);
  if (displacement == 0) return;
  displacements.set(position, 0);
  if (!displacements.any()) line.overflow &= TagLine::kOverflowMax;
  unmark(bucket, tag, displacement);
}

template <class Key>
void FlowTable<Key>::erase(const uint32_t* index, uint32_t n) {
  for (uint32_t i = 0; i < n; ++i) prefetch(index[i]);
  for (uint32_t i = 0; i < n; ++i) {
    const uint32_t bucket = index[i] / kTagsPerLine;
    const uint32_t position = index[i] % kTagsPerLine;
    if (displacements_[bucket].get(position) == 0) continue;
    base::prefetch_to_write(&lines_[back(bucket, step(lines_[bucket].tag[position]))]);
  }
  for (uint32_t i = 0; i < n; ++i) erase(index[i]);
}

template <class Key>
void FlowTable<Key>::mark_passed(TagLine* line, uint16_t tag) {
  line->bloom |= TagLine::bloom_bit(tag);
  if (line->passed() < TagLine::kOverflowMax) ++line->overflow;
}

// Takes a record that was `displacement` steps from home off the counts of the buckets it passed. A
// count that says "127 or more" stays until the sweep recounts it.
template <class Key>
void FlowTable<Key>::unmark(uint32_t bucket, uint16_t tag, uint32_t displacement) {
  for (uint32_t i = 0; i < displacement; ++i) {
    bucket = back(bucket, step(tag));
    TagLine& line = lines_[bucket];
    GWLB_ASSERT(line.passed() > 0);
    if (line.passed() == TagLine::kOverflowMax) continue;
    --line.overflow;
    if (line.passed() == 0) line.bloom = 0;
  }
}

// Counts afresh who passed a bucket, from the displacements of all buckets that such a record can
// be in. Needed only where a count had reached its maximum, which keyed hashes do not bring about.
template <class Key>
void FlowTable<Key>::recount(uint32_t bucket) {
  TagLine& line = lines_[bucket];
  line.bloom = 0;
  line.overflow &= TagLine::kHostsForeign;
  const uint32_t reach = (probes_ - 1) * (step_mask_ + 1);
  for (uint32_t distance = 1; distance <= reach; ++distance) {
    const uint32_t host = forward(bucket, distance);
    if ((lines_[host].overflow & TagLine::kHostsForeign) == 0) continue;
    for (uint32_t position = 0; position < kTagsPerLine; ++position) {
      const uint16_t tag = lines_[host].tag[position];
      const uint32_t displacement = displacements_[host].get(position);
      const uint32_t steps = distance / step(tag);
      if (steps * step(tag) == distance && steps <= displacement) mark_passed(&line, tag);
    }
  }
}

template <class Key>
void FlowTable<Key>::clear() {
  std::memset(static_cast<void*>(lines_), 0, size_t{buckets_} * sizeof(TagLine));
  std::memset(static_cast<void*>(displacements_), 0, size_t{buckets_} * sizeof(Displacements));
  size_ = 0;
  cursor_ = 0;
}

template <class Key>
typename FlowTable<Key>::Spread FlowTable<Key>::spread() const {
  Spread spread;
  for (uint32_t bucket = 0; bucket < buckets_; ++bucket) {
    spread.overflowed += lines_[bucket].bloom != 0;
    for (uint32_t position = 0; position < kTagsPerLine; ++position) {
      spread.displaced += displacements_[bucket].get(position) != 0;
    }
  }
  return spread;
}

template class FlowTable<FlowKey4>;
template class FlowTable<FlowKey6>;

}  // namespace gwlb::flow
