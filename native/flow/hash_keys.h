// SipHash-1-3 of many flow keys: the versions of hash_keys(), for tests.
#pragma once

#include <cstdint>

#include "base/cpu.h"
#include "flow/flow_key.h"

namespace gwlb::flow {

template <class Key>
using HashKeys = void (*)(const base::HashKey& key, const Key* flows, uint32_t n, uint64_t* out);

// The version for a machine of this level; the caller sees to it that this one has it.
template <class Key>
HashKeys<Key> hash_keys_version(base::Simd simd);

}  // namespace gwlb::flow
