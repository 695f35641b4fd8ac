// Keys and hashes for flow-table tests.
#pragma once

#include "flow/flow_table.h"

namespace gwlb::test {

inline constexpr base::HashKey kKey{0x243f6a8885a308d3, 0x13198a2e03707344};

template <class Key>
Key numbered(uint64_t number) {
  Key key{};
  base::store_be64(key.low, number);  // for IPv4 this covers low and high
  key.kind = 5;
  key.protocol = 6;
  return key;
}

// A hash that goes to `bucket` of a table of `buckets`, with this tag.
inline uint64_t hash_for(uint32_t bucket, uint32_t buckets, uint16_t tag) {
  const uint64_t fraction = ((uint64_t{bucket} << 32) + buckets - 1) / buckets;
  return uint64_t{tag} << 48 | fraction << 16;
}

}  // namespace gwlb::test
