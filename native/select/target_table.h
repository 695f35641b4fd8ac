// Contract: the immutable snapshot of a target group that the data plane decides by. Built off the
// packet path, swapped between batches.
//
// For every zone, 2^16 rows (2^18 above 100 targets) each name the target with the best weighted
// rendezvous score for that row: removing or adding a target moves only its own rows. Scores are
// integer fixed-point of -log2(u) / weight, so every machine and compiler computes the same rows.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "base/limits.h"
#include "base/siphash.h"

namespace gwlb::select {

enum TargetFlags : uint8_t {
  kRegistered = 1,   // accepts returns from it; live flows may be pinned to it
  kEligible = 2,     // takes new flows (healthy, or the fallback when none is)
  kResetFlows = 4,   // existing TCP flows get a RST on their next packet (next issue)
};

struct TargetSpec {
  uint16_t slot = 0;
  uint16_t zone = 0;
  uint16_t port = 6081;
  uint8_t flags = 0;
  uint8_t generation = 0;  // flows pinned under another generation choose again
  uint32_t address = 0;    // host order
  uint32_t weight = 1;     // 1..kWeightMax; eligible targets only
  uint64_t identity = 0;   // what the scores are computed from: stable across restarts and nodes
};

class TargetTable {
 public:
  // `zones` is how many zone numbers are in use. With cross_zone every zone sees all targets.
  static std::shared_ptr<const TargetTable> build(const std::vector<TargetSpec>& targets,
                                                  uint32_t zones, bool cross_zone, uint64_t seed);

  // Slot of the target for a new flow, or kNoTarget where the zone has none eligible.
  uint16_t choose(uint16_t zone, uint64_t hash) const;
  uint32_t row(uint64_t hash) const;
  uint32_t rows() const;

  // nullptr-free: an unregistered slot has flags 0.
  const TargetSpec& target(uint16_t slot) const;
  // Slot of the registered target with this address and port of its own (any source port is
  // accepted: R6), or kNoTarget. Constant time.
  uint16_t slot_of(uint32_t address) const;

  // Ranked slots of a row, best first, with their scores; for explain and preview.
  struct Ranked {
    uint16_t slot;
    uint64_t score;  // lower is better
  };
  std::vector<Ranked> rank(uint16_t zone, uint32_t row) const;
};

// -log2((u + 1) / 2^32) in Q26, integers only; monotonic, exact at powers of two. Test vectors in
// test/native/select_test.cc and in the TypeScript model.
uint64_t neg_log2_q26(uint32_t u);
// The score of one target for one row: neg_log2_q26(hash(seed, identity, row)) << 24 / weight.
uint64_t score(uint64_t seed, uint64_t identity, uint32_t row, uint32_t weight);

}  // namespace gwlb::select
