// Canonical flow keys: both directions of a flow have the same key, and the same hash.
#pragma once

#include <cstdint>

#include "base/limits.h"
#include "base/siphash.h"
#include "wire/inner.h"

namespace gwlb::flow {

// What makes packets one flow. Protocols without ports have the 3-tuple also under `five_tuple`.
enum class Stickiness : uint8_t { five_tuple = 5, three_tuple = 3, two_tuple = 2 };

// The lower (address, port) end comes first, compared as big-endian numbers, address before port.
// Fields keep network order; `scope` is the endpoint's index, or 0xffff where flows of all
// endpoints are one space. Every byte is defined: keys are hashed and compared as memory.
struct FlowKey4 {
  uint8_t low[4];
  uint8_t high[4];
  uint8_t low_port[2];
  uint8_t high_port[2];
  uint8_t protocol;  // 0 under two_tuple
  uint8_t kind;      // Stickiness of this key: 5, 3 or 2
  uint16_t scope;
};
static_assert(sizeof(FlowKey4) == 16);

struct FlowKey6 {
  uint8_t low[16];
  uint8_t high[16];
  uint8_t low_port[2];
  uint8_t high_port[2];
  uint8_t protocol;
  uint8_t kind;
  uint16_t scope;
};
static_assert(sizeof(FlowKey6) == 40);

inline constexpr uint16_t kScopeGateway = 0xffff;

// Builds the key and says whether the packet runs from the low end to the high end (true) or the
// other way (false). For a fragment or quote whose ports are needed but not there, the caller
// supplies them in `packet` (from the fragment table) or accepts the 3-tuple.
bool make_key(const wire::InnerPacket& packet, Stickiness stickiness, uint16_t scope,
              FlowKey4* out);
bool make_key(const wire::InnerPacket& packet, Stickiness stickiness, uint16_t scope,
              FlowKey6* out);

inline uint64_t hash_key(const base::HashKey& key, const FlowKey4& flow) {
  return base::siphash13<sizeof(FlowKey4)>(key, &flow);
}
inline uint64_t hash_key(const base::HashKey& key, const FlowKey6& flow) {
  return base::siphash13<sizeof(FlowKey6)>(key, &flow);
}

// One hash, four uses, on bits that do not overlap where it matters:
//   row 0..17   source port 18..33   bucket 16..47 (multiply-shift)   tag 48..63
inline uint32_t hash_row(uint64_t hash, uint32_t row_bits) {
  return static_cast<uint32_t>(hash) & ((1u << row_bits) - 1);
}
inline uint16_t hash_source_port(uint64_t hash) { return static_cast<uint16_t>(hash >> 18); }
inline uint32_t hash_bucket(uint64_t hash, uint32_t buckets) {
  return static_cast<uint32_t>(((hash >> 16 & 0xffffffff) * buckets) >> 32);
}
inline uint16_t hash_tag(uint64_t hash) { return static_cast<uint16_t>(hash >> 48); }

// The worker that owns a packet's flow: from the two addresses alone, so that fragments and ICMP
// errors land on the worker that has their flow without anyone asking around.
uint32_t owner_of(const base::HashKey& key, const wire::InnerPacket& packet, uint32_t workers);

}  // namespace gwlb::flow
