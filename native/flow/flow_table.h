// A bounded hash table from flow keys to flow state, for batches of packets.
//
// WHAT IT IS. The place where a flow's pin lives. It is sized, mapped and touched when it is
// created and allocates nothing afterwards. One thread owns it. Lookups take up to kBatchPacketsMax
// keys at a time and never wait for memory one after the other; everything else is one at a time.
//
// WHAT IT IS NOT. Not a general map: it does not grow, copy, or hash (the caller's keyed hash gives
// bucket and tag; an unkeyed one would let an outsider fill one bucket). It evicts nothing by
// itself, reads no clock, and does not know what a TCP state is. Not safe for two threads.
//
// LAYOUT ("dense tags"). A bucket is one cache line of 31 16-bit tags and 31 records elsewhere. A
// tag's position is its record's position: no pointers, no indices, no chains.
//
//       lines                        records (32 B each for IPv4, 64 B for IPv6)
//     +---------------------------+  +--------+--------+-----+--------+
//   0 | t0 t1 t2 ... t30 | b | o  |  | r0     | r1     | ... | r30    |
//     +---------------------------+  +--------+--------+-----+--------+
//   1 | t0 t1 t2 ... t30 | b | o  |  | r31    | r32    | ... | r61    |
//     +---------------------------+  +--------+--------+-----+--------+
//                       index = 31 * bucket + position
//
//   t  hash bits 48..63; 0 is a free position (a tag of 0 is stored as 1)
//   b  overflow bloom, o  overflow count: tag_line.h
//   and, beside both, 16 bytes a bucket of displacements: how many steps from home each record is.
//
// PROBING. The home bucket comes from hash bits 16..47. A key that finds it full goes on by steps
// of 1 to 8 buckets (from three tag bits, so neighbours of a full bucket share its overflow), at
// most 15 times, and leaves its mark in the bloom of every bucket it passed. A search goes on only
// where the bloom says that a key of its tag class did. The marks are counted; when the last record
// that passed a bucket is erased its bloom is cleared.
//
//                                   records away    buckets that     misses that read
//                                   from home       overflowed       a second line
//     just filled to capacity        1.2 %           10 %              3 %
//     full, after long churn         5.9 %           53 %              33 %
//     90 % of capacity, long churn   2.0 %           22 %              10 %
//
// Churn is worse because nothing moves home when a place there falls free: indices are stable. It
// is a steady state, reached after the table has turned over about eight times.
//
// NUMBERS. At its capacity a table is 80 % full (kLoadPercent): 43.2 B a flow for IPv4 and 83.2 B
// for IPv6, all counted. A tag that matches by chance costs one wasted record read in 2,600
// lookups (25 tags, 16 bits). With keyed hashes an insert below the capacity does not fail: one
// bucket in eight is full, and a key would have to find sixteen of them. 31 tags in a bucket, since
// the larger a bucket, the fewer keys overflow at the same load.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>

#include "base/assert.h"
#include "base/cpu.h"
#include "base/limits.h"
#include "base/prefetch.h"
#include "flow/flow_key.h"
#include "flow/pages.h"
#include "flow/tag_search.h"

namespace gwlb::flow {

// What a flow's entry knows besides its key. 16 bytes. Times are milliseconds modulo 2^32; the
// table itself only reads last_seen_ms and idle.
struct FlowState {
  uint32_t cookie;  // target slot 12 | incarnation 4 | keyed tag 16
  uint32_t last_seen_ms;
  uint32_t spare;            // the gateway's: TCP state times
  uint16_t idle : 3;         // index into the table's idle timeouts
  uint16_t generation : 13;  // the target slot's generation when the flow was pinned
  uint8_t tcp;               // gateway's TCP state bits
  uint8_t flags;             // gateway's flags
};
static_assert(sizeof(FlowState) == 16 && base::kGenerations == 1u << 13);

template <class Key>
struct FlowRecord;
template <>
struct FlowRecord<FlowKey4> {
  FlowKey4 key;
  FlowState state;
};
template <>
struct FlowRecord<FlowKey6> {
  FlowKey6 key;
  FlowState state;
  uint64_t spare;
};
static_assert(sizeof(FlowRecord<FlowKey4>) == 32 && sizeof(FlowRecord<FlowKey6>) == 64);

// `a` points at a key, or at as many other bytes.
template <class Key>
inline bool same_key(const void* a, const Key& b) {
  const auto* x = static_cast<const uint8_t*>(a);
  const auto* y = reinterpret_cast<const uint8_t*>(&b);
  uint64_t different = 0;
  for (size_t at = 0; at < sizeof b; at += 8) {
    different |= base::load<uint64_t>(x + at) ^ base::load<uint64_t>(y + at);
  }
  return different == 0;
}

inline constexpr uint32_t kNoFlow = 0xffffffff;
inline constexpr uint32_t kIdleClasses = 8;  // FlowState::idle

// How full a table is that holds its capacity. Higher saves memory and sends more keys away from
// home; below 77, an IPv4 flow would cost more than 45 B.
inline constexpr uint32_t kLoadPercent = 80;

template <class Key>
class alignas(64) FlowTable {  // of one thread: no other's data beside it
 public:
  using Record = FlowRecord<Key>;

  // Room for `capacity` flows (1..kFlowsMax). Null where memory is refused. All memory is resident
  // when this returns, on huge pages where the kernel grants them.
  static std::unique_ptr<FlowTable> create(uint32_t capacity);

  uint32_t capacity() const { return capacity_; }
  uint32_t size() const { return size_; }
  size_t memory_bytes() const { return pages_.bytes() + sizeof *this; }

  // index[i] = the record of keys[i], or kNoFlow; n up to kBatchPacketsMax.
  //
  // Works in stages over up to 64 keys: prefetch all tag lines; search them and prefetch the first
  // candidate of each; compare the keys. Keys that must look in a further bucket wait, prefetched,
  // for a next round of the same stages, so that no key waits for another one's memory: with a
  // million flows about three times what 64 independent cache lines take. The record of a hit is in
  // the cache when this returns: writing last_seen_ms to it costs next to nothing. So is, or will
  // be, the memory that an insert of a key that was not found needs.
  void lookup(const Key* keys, const uint64_t* hashes, uint32_t n, uint32_t* index) const;

  // The same as a machine of this level does it, for tests; this one has to have it.
  void lookup_with(base::Simd simd, const Key* keys, const uint64_t* hashes, uint32_t n,
                   uint32_t* index) const;

  // One key; waits for memory twice (tag line, record).
  uint32_t find(const Key& key, uint64_t hash) const;

  // Adds a key that is not in the table (the caller looked) with its state zeroed, and returns its
  // index, which stays the same until it is erased: nothing ever moves. kNoFlow when the table
  // holds its capacity already, or when all buckets the key may be in are full (with a keyed hash
  // that does not happen).
  uint32_t insert(const Key& key, uint64_t hash);

  // Frees an occupied index. The record's memory stays as it was until it is used again.
  void erase(uint32_t index);
  // Frees `n` occupied indices, without waiting for the memory of each.
  void erase(const uint32_t* index, uint32_t n);

  // Asks for the memory that looking at an index, and erasing it, needs.
  void prefetch(uint32_t index) const {
    const uint32_t bucket = index / kTagsPerLine;
    base::prefetch_to_write(&lines_[bucket]);
    base::prefetch(&records_[index]);
    base::prefetch(&displacements_[bucket]);
  }

  Record& at(uint32_t index) {
    GWLB_ASSERT(index < index_end());
    return records_[index];
  }
  const Record& at(uint32_t index) const {
    GWLB_ASSERT(index < index_end());
    return records_[index];
  }
  bool occupied(uint32_t index) const {
    return index < index_end() && lines_[index / kTagsPerLine].tag[index % kTagsPerLine] != 0;
  }
  // Whether the flow at an index that a lookup gave is still that of `key`.
  bool holds(uint32_t index, const Key& key) const {
    return occupied(index) && same_key(&records_[index].key, key);
  }
  uint32_t index_end() const { return index_end_; }  // indices are below this

  // Idle timeout of a class, milliseconds, below 2^31. A class that was never set never ends.
  void set_idle(uint32_t idle_class, uint32_t timeout_ms) {
    GWLB_ASSERT(idle_class < kIdleClasses && timeout_ms < 1u << 31);
    idle_ms_[idle_class] = timeout_ms;
  }

  // Examines the next `positions` positions (occupied or not; at most one round over the table)
  // from where the last call stopped, calls `expired(index, record)` for each flow that was idle
  // for its class's timeout or longer, and erases it. Returns how many it erased.
  //
  // Times are modulo 2^32: a flow is idle for (now_ms - last_seen_ms) mod 2^32, where a result of
  // 2^31 or more means that it was seen after `now_ms`, which is not idle. So every flow must be
  // examined at least once in 24 days; a few thousand positions a second do far better. The walk is
  // sequential, a few nanoseconds a flow. `expired` may read and write the record, and must not
  // insert or erase; nor must `lives(record)`, which is called for each of the others.
  template <class Expired, class Lives>
  uint32_t sweep(uint32_t now_ms, uint32_t positions, Expired&& expired, Lives&& lives);
  template <class Expired>
  uint32_t sweep(uint32_t now_ms, uint32_t positions, Expired&& expired) {
    return sweep(now_ms, positions, expired, [](Record&) {});
  }

  // Calls `visit(index, record)` for each flow in `positions` positions from `*cursor` on (0 at
  // first; at the end it is 0 again). For walks of their own pace beside the sweep.
  template <class Visit>
  void walk(uint32_t* cursor, uint32_t positions, Visit&& visit) const;

  // Erases everything; idle timeouts stay.
  void clear();

  // How the keys lie; walks the whole table. For tests, benchmarks and curiosity.
  struct Spread {
    uint32_t displaced = 0;   // records away from their home bucket
    uint32_t overflowed = 0;  // buckets whose bloom sends some searches on
  };
  Spread spread() const;

 private:
  static constexpr uint32_t kProbesMax = 16;  // a displacement is four bits
  static constexpr uint32_t kStepMax = 8;     // three tag bits
  static constexpr uint32_t kChunk = 64;  // keys in flight: more does not help, fewer hides less

  struct Displacements {
    uint8_t pair[16];  // position p: the low (p even) or high half of pair[p / 2]
    uint32_t get(uint32_t p) const { return pair[p / 2] >> (p % 2 * 4) & 15; }
    void set(uint32_t p, uint32_t value) {
      const uint32_t shift = p % 2 * 4;
      pair[p / 2] = static_cast<uint8_t>((pair[p / 2] & (0xf0u >> shift)) | value << shift);
    }
    bool any() const { return (base::load<uint64_t>(pair) | base::load<uint64_t>(pair + 8)) != 0; }
  };

  FlowTable(uint32_t capacity, uint32_t buckets, Pages pages);

  uint32_t step(uint16_t tag) const { return 1 + ((tag >> 3) & step_mask_); }
  uint32_t forward(uint32_t bucket, uint32_t steps) const {
    bucket += steps;
    return bucket < buckets_ ? bucket : bucket - buckets_;
  }
  uint32_t back(uint32_t bucket, uint32_t steps) const {
    return bucket >= steps ? bucket - steps : bucket + buckets_ - steps;
  }

  void lookup_chunk(const Key* keys, const uint64_t* hashes, uint32_t n, uint32_t* index,
                    Search search) const;
  uint32_t lookup_rest(const Key* keys, const uint64_t* hashes, uint32_t* index, uint32_t* bucket,
                       uint32_t* rest, uint32_t rest_count, uint32_t* missed) const;
  void prefetch_inserts(const uint64_t* hashes, uint32_t* missed, uint32_t missed_count) const;
  bool prefetch_free(uint32_t bucket) const;
  uint32_t find_in(uint32_t bucket, const Key& key, uint16_t tag) const;
  void mark_passed(TagLine* line, uint16_t tag);
  void unmark(uint32_t bucket, uint16_t tag, uint32_t displacement);
  void recount(uint32_t bucket);
  bool idle_over(const FlowState& state, uint32_t now_ms) const {
    const uint32_t idle_ms = now_ms - state.last_seen_ms;
    return idle_ms < 1u << 31 && idle_ms >= idle_ms_[state.idle];
  }

  Search search_;
  TagLine* lines_;
  Record* records_;
  Displacements* displacements_;
  uint32_t buckets_;
  uint32_t index_end_;
  uint32_t capacity_;
  uint32_t size_ = 0;
  uint32_t cursor_ = 0;  // the index where the next sweep starts
  uint32_t step_mask_;   // steps are 1..step_mask_ + 1
  uint32_t probes_;      // buckets a key may be in
  uint32_t idle_ms_[kIdleClasses];
  Pages pages_;
};

template <class Key>
template <class Expired, class Lives>
uint32_t FlowTable<Key>::sweep(uint32_t now_ms, uint32_t positions, Expired&& expired,
                               Lives&& lives) {
  const uint32_t end = index_end();
  const uint32_t before = size_;
  if (positions > end) positions = end;
  while (positions > 0) {
    const uint32_t bucket = cursor_ / kTagsPerLine;
    const uint32_t first = cursor_ % kTagsPerLine;
    const uint32_t left = kTagsPerLine - first;
    const uint32_t count = positions < left ? positions : left;
    if (lines_[bucket].passed() == TagLine::kOverflowMax) recount(bucket);
    const uint32_t window = ((1u << count) - 1) << first;
    uint32_t live = ~match_tags(lines_[bucket], 0) & kAllTags & window;
    for (; live != 0; live &= live - 1) {
      const uint32_t index = bucket * kTagsPerLine + static_cast<uint32_t>(__builtin_ctz(live));
      Record& record = records_[index];
      if (!idle_over(record.state, now_ms)) {
        lives(record);
        continue;
      }
      expired(index, record);
      erase(index);
    }
    cursor_ = cursor_ + count < end ? cursor_ + count : 0;
    positions -= count;
  }
  return before - size_;
}

template <class Key>
template <class Visit>
void FlowTable<Key>::walk(uint32_t* cursor, uint32_t positions, Visit&& visit) const {
  const uint32_t end = index_end();
  uint32_t index = *cursor < end ? *cursor : 0;
  const uint32_t stop = positions < end - index ? index + positions : end;
  for (; index < stop; ++index) {
    if (lines_[index / kTagsPerLine].tag[index % kTagsPerLine] != 0) visit(index, records_[index]);
  }
  *cursor = stop == end ? 0 : stop;
}

extern template class FlowTable<FlowKey4>;
extern template class FlowTable<FlowKey6>;

}  // namespace gwlb::flow
