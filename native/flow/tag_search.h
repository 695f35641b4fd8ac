// The middle stage of a bulk lookup: many tags in as many lines. It has a version for each
// instruction set; the stages around it (flow_table.cc) have one.
#pragma once

#include <cstdint>

#include "base/cpu.h"
#include "flow/flow_key.h"
#include "flow/tag_line.h"

namespace gwlb::flow {

// A tag of 0 is a free position.
inline uint16_t stored_tag(uint64_t hash) {
  const uint16_t tag = hash_tag(hash);
  return tag != 0 ? tag : 1;
}

// matches[i]: the positions in lines[bucket[i]] whose tag is that of hashes[i]. candidate[i]: the
// record of the first of them, prefetched; without one the line itself, which is here already.
// Records are 2^record_shift bytes.
using Search = void (*)(const TagLine* lines, const uint8_t* records, uint32_t record_shift,
                        const uint32_t* bucket, const uint64_t* hashes, uint32_t n,
                        uint32_t* matches, const void** candidate);

// The version for a machine of this level; the caller sees to it that this one has it.
Search search_version(base::Simd simd);

}  // namespace gwlb::flow
