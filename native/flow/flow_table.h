// Contract (the helper who owns flow/ may improve the inside, not the calls):
//
// Bounded flow table, sized and prefaulted at construction. One 64-byte line of 31 16-bit tags plus
// overflow information per bucket; the tag's position is the record's position, so the record (key
// and state, 32 B for IPv4, 64 B for IPv6) is one further line. lookup() prefetches a whole batch
// of lines, then a whole batch of records: no demand miss inside the batch.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>

#include "base/limits.h"
#include "flow/flow_key.h"

namespace gwlb::flow {

// What a flow's entry knows besides its key. 16 bytes. Times are milliseconds modulo 2^32; the
// table itself only reads last_seen_ms and idle.
struct FlowState {
  uint32_t cookie;        // target slot 12 | incarnation 4 | keyed tag 16
  uint32_t last_seen_ms;
  uint32_t spare;         // the gateway's: TCP state times
  uint8_t generation;     // the target slot's generation when the flow was pinned
  uint8_t tcp;            // gateway's TCP state bits
  uint8_t flags;          // gateway's flags
  uint8_t idle;           // index into the table's idle timeouts
};
static_assert(sizeof(FlowState) == 16);

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

inline constexpr uint32_t kNoFlow = 0xffffffff;
inline constexpr uint32_t kIdleClasses = 8;

template <class Key>
class FlowTable {
 public:
  using Record = FlowRecord<Key>;

  // Room for `capacity` flows at the design load. Null where memory is refused.
  static std::unique_ptr<FlowTable> create(uint32_t capacity);
  ~FlowTable();

  uint32_t capacity() const;
  uint32_t size() const;
  size_t memory_bytes() const;

  // index[i] = the record of keys[i], or kNoFlow. n up to kBatchPacketsMax. `skip[i]` true: index[i]
  // is set to kNoFlow unread (may be null).
  void lookup(const Key* keys, const uint64_t* hashes, uint32_t n, uint32_t* index,
              const bool* skip = nullptr) const;
  uint32_t find(const Key& key, uint64_t hash) const;

  // Adds a key that is not in the table; the state is zeroed. kNoFlow when the table is full at
  // that place (counted by the caller).
  uint32_t insert(const Key& key, uint64_t hash);
  void erase(uint32_t index);

  Record& at(uint32_t index);
  const Record& at(uint32_t index) const;
  bool occupied(uint32_t index) const;
  uint32_t index_end() const;  // indices are below this

  // Idle timeout of each class, milliseconds.
  void set_idle(uint32_t idle_class, uint32_t timeout_ms);

  // Examines up to `records` positions from where the last call stopped; calls
  // `expired(index, record)` for each whose idle time is over (now - last_seen >= timeout, modular)
  // and then erases it. Returns how many it erased.
  template <class Expired>
  uint32_t sweep(uint32_t now_ms, uint32_t positions, Expired&& expired);

  void clear();
};

}  // namespace gwlb::flow
