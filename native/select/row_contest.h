// Who is the best target of each of some rows: rows by the hundred, targets one after the other.
//
// A score (score.h) costs a logarithm from a table and a division of 64 bits; a row's hash costs a
// few vector instructions. So rows keep bounds of their best score so far, as floats, and almost
// every offer is refused by a comparison with a lower bound of its score that needs no logarithm.
// An offer that passes gets bounds of its own by a series; where they overlap with the best's (near
// ties: a few rows of a million offers) the integer scores decide. What comes out is therefore what
// the integers say, whatever the machine's vectors are, and whatever the order of offers.
#pragma once

#include <cstdint>
#include <vector>

namespace gwlb::select {

struct Competitor {
  uint64_t key;  // target_key
  uint64_t identity;
  uint32_t weight;
  uint16_t slot;
};

class RowContest {
 public:
  // Rows of a block: their bounds stay in the first cache.
  static constexpr uint32_t kRows = 512;

  struct Block {
    alignas(64) uint32_t row[kRows];
    alignas(64) float low[kRows];      // bounds of the best's score
    alignas(64) float high[kRows];     // infinite where nobody was offered yet
    alignas(64) uint32_t best[kRows];  // index of the competitor
    uint32_t count = 0;                // rows in use
  };

  // `seed` is the one that the competitors' keys were made with.
  RowContest(std::vector<Competitor> competitors, uint64_t seed);

  const Competitor& competitor(uint32_t i) const { return competitors_[i]; }
  uint32_t size() const { return static_cast<uint32_t>(competitors_.size()); }

  // Appends a row that nobody was offered yet, or whose best is `best`: the best of all that were
  // offered so far. The latter counts after `settle` only.
  static void add(Block* block, uint32_t row);
  static void add(Block* block, uint32_t row, uint32_t best);
  // Computes the bounds of rows that were added with their best.
  void settle(Block* block) const;
  // The rows' best of what was offered before and competitors first..last-1.
  void offer(Block* block, uint32_t first, uint32_t last) const;
  void offer(Block* block, const std::vector<uint32_t>& which) const;

 private:
  // What a competitor needs for bounds.
  struct Scale {
    float per_weight;  // 1 / weight
    float limit;  // from a score's bound to one of the complement of a hash, see row_contest.cc
  };
  template <uint32_t kLanes>
  void offer_one(Block* block, uint32_t which) const;
  template <uint32_t kLanes, class Words>
  void offer_vector(Block* block, uint32_t first, uint32_t which, const Words& hash) const;
  template <uint32_t kLanes>
  void settle_lanes(Block* block) const;
  void settle_portable(Block* block) const;
  void settle_avx2(Block* block) const;
  void offer_portable(Block* block, const uint32_t* which, uint32_t count) const;
  void offer_avx2(Block* block, const uint32_t* which, uint32_t count) const;
  void offer_all(Block* block, const uint32_t* which, uint32_t count) const;
  bool beats(uint32_t challenger, uint32_t best, uint32_t row) const;

  std::vector<Competitor> competitors_;
  std::vector<Scale> scales_;
  std::vector<uint32_t> everyone_;
  uint64_t seed_;
};

}  // namespace gwlb::select
