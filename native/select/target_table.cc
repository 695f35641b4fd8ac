#include "select/target_table.h"

#include <algorithm>
#include <tuple>

#include "base/assert.h"

namespace gwlb::select {
namespace {

// Rows that are filled together: their best hashes so far stay in the first cache.
constexpr uint32_t kBlockRows = 512;
static_assert((1u << base::kRowBits) % kBlockRows == 0);

// Rows whose hashes are compared with the best ones at a time: one unlikely branch for all.
constexpr uint32_t kStride = 16;

// A run of targets with equal weights, in tie order.
struct Group {
  uint32_t weight;
  std::vector<uint16_t> slots;
  std::vector<uint64_t> keys;
};

// The best target of each row of a block within one group. Between equal weights the higher row
// hash wins, since neg_log2_q26 never rises; where both have the same logarithm, the earlier in tie
// order stays. So the logarithm is needed only when a hash is the highest so far, which for target
// number t happens in one row of t.
struct Best {
  uint32_t hash[kBlockRows];
  uint16_t at[kBlockRows];  // position in the group
};

inline bool any_above(const uint32_t* hash, const uint32_t* best) {
  uint32_t above = 0;
  for (uint32_t i = 0; i < kStride; ++i) above |= static_cast<uint32_t>(hash[i] > best[i]);
  return above != 0;
}

void offer(const uint32_t* hash, uint32_t first, uint16_t at, Best* best) {
  for (uint32_t i = first; i < first + kStride; ++i) {
    if (hash[i] <= best->hash[i]) continue;
    if (neg_log2_q26(hash[i]) < neg_log2_q26(best->hash[i])) best->at[i] = at;
    best->hash[i] = hash[i];  // the same logarithm: no other score, but a better filter
  }
}

inline __attribute__((always_inline)) void best_of_group_inline(const Group& group,
                                                                uint32_t first_row, Best* best) {
  alignas(64) uint32_t hash[kBlockRows];
  for (uint32_t i = 0; i < kBlockRows; ++i) {
    best->hash[i] = row_hash(group.keys[0], first_row + i);
    best->at[i] = 0;
  }
  for (size_t at = 1; at < group.keys.size(); ++at) {
    const uint64_t key = group.keys[at];
    for (uint32_t i = 0; i < kBlockRows; ++i) hash[i] = row_hash(key, first_row + i);
    for (uint32_t first = 0; first < kBlockRows; first += kStride) {
      if (any_above(hash + first, best->hash + first)) {
        offer(hash, first, static_cast<uint16_t>(at), best);
      }
    }
  }
}

void best_of_group_portable(const Group& group, uint32_t first_row, Best* best) {
  best_of_group_inline(group, first_row, best);
}

#if defined(__x86_64__)
// The same code; eight row hashes to a register instead of (in pieces) four.
__attribute__((target("avx2"))) void best_of_group_avx2(const Group& group, uint32_t first_row,
                                                        Best* best) {
  best_of_group_inline(group, first_row, best);
}
#endif

using BestOfGroup = void (*)(const Group&, uint32_t, Best*);

BestOfGroup best_of_group() {
#if defined(__x86_64__)
  if (__builtin_cpu_supports("avx2")) return best_of_group_avx2;
#endif
  return best_of_group_portable;
}

bool valid(const std::vector<TargetSpec>& targets, uint32_t zones) {
  if (zones < 1 || zones > base::kZonesMax) return false;
  std::vector<bool> seen(base::kTargetsMax);
  for (const TargetSpec& target : targets) {
    if (target.slot >= base::kTargetsMax || seen[target.slot]) return false;
    if (target.zone >= zones) return false;
    const bool weighted = target.weight >= 1 && target.weight <= base::kWeightMax;
    if ((target.flags & kEligible) != 0 && !weighted) return false;
    seen[target.slot] = true;
  }
  return true;
}

}  // namespace

const TargetSpec TargetTable::kUnused;

std::shared_ptr<const TargetTable> TargetTable::build(const std::vector<TargetSpec>& targets,
                                                      uint32_t zones, bool cross_zone,
                                                      uint64_t seed) {
  if (!valid(targets, zones)) return nullptr;
  std::shared_ptr<TargetTable> table(new TargetTable);
  table->seed_ = seed;
  table->zones_ = zones;
  table->cross_zone_ = cross_zone;
  table->tables_.resize(cross_zone ? 1 : zones);

  std::vector<uint32_t> registered(table->tables_.size());
  for (const TargetSpec& target : targets) {
    if (target.slot >= table->targets_.size()) table->targets_.resize(target.slot + 1u);
    table->targets_[target.slot] = target;
    const uint32_t pool = cross_zone ? 0 : target.zone;
    if ((target.flags & kRegistered) != 0) ++registered[pool];
    if ((target.flags & kEligible) != 0) table->tables_[pool].eligible.push_back(target.slot);
  }
  if (*std::max_element(registered.begin(), registered.end()) > base::kTargetsForLargeTable) {
    table->row_bits_ = base::kRowBitsLarge;
  }
  table->index_addresses();

  const std::vector<TargetSpec>& by_slot = table->targets_;
  for (ZoneTable& zone : table->tables_) {
    std::sort(zone.eligible.begin(), zone.eligible.end(), [&](uint16_t a, uint16_t b) {
      return std::tie(by_slot[a].identity, a) < std::tie(by_slot[b].identity, b);
    });
  }
  for (ZoneTable& zone : table->tables_) table->fill_rows(&zone);
  return table;
}

void TargetTable::index_addresses() {
  size_t places = 16;
  while (places < 2 * targets_.size()) places *= 2;
  addresses_.resize(places);
  address_mask_ = static_cast<uint32_t>(places - 1);
  for (size_t slot = 0; slot < targets_.size(); ++slot) {
    if ((targets_[slot].flags & kRegistered) == 0) continue;
    const uint32_t address = targets_[slot].address;
    uint32_t at = address_place(address);
    while (addresses_[at].slot != base::kNoTarget && addresses_[at].address != address) {
      at = (at + 1) & address_mask_;
    }
    if (addresses_[at].slot != base::kNoTarget) continue;  // a lower slot has this address
    addresses_[at] = {address, static_cast<uint16_t>(slot)};
  }
}

void TargetTable::fill_rows(ZoneTable* table) const {
  if (table->eligible.empty()) return;
  std::vector<Group> groups;
  for (uint16_t slot : table->eligible) {
    const TargetSpec& target = targets_[slot];
    auto group = std::find_if(groups.begin(), groups.end(),
                              [&](const Group& g) { return g.weight == target.weight; });
    if (group == groups.end()) group = groups.insert(group, Group{target.weight, {}, {}});
    group->slots.push_back(slot);
    group->keys.push_back(target_key(seed_, target.identity));
  }

  const BestOfGroup find_best = best_of_group();
  table->rows.resize(rows());
  Best best;
  uint64_t scores[kBlockRows];
  for (uint32_t first_row = 0; first_row < rows(); first_row += kBlockRows) {
    uint16_t* rows_of_block = &table->rows[first_row];
    for (const Group& group : groups) {
      find_best(group, first_row, &best);
      const bool only = groups.size() == 1;
      const bool first = &group == groups.data();
      for (uint32_t i = 0; i < kBlockRows; ++i) {
        const uint16_t slot = group.slots[best.at[i]];
        if (only) {
          rows_of_block[i] = slot;
          continue;
        }
        const uint64_t score = (neg_log2_q26(best.hash[i]) << 24) / group.weight;
        const bool wins = first || score < scores[i] ||
                          (score == scores[i] &&
                           std::tie(targets_[slot].identity, slot) <
                               std::tie(targets_[rows_of_block[i]].identity, rows_of_block[i]));
        if (!wins) continue;
        scores[i] = score;
        rows_of_block[i] = slot;
      }
    }
  }
}

std::vector<TargetTable::Ranked> TargetTable::rank(uint16_t zone, uint32_t row) const {
  std::vector<Ranked> ranked;
  if (zone >= zones_ || row >= rows()) return ranked;
  for (uint16_t slot : tables_[cross_zone_ ? 0 : zone].eligible) {
    const TargetSpec& target = targets_[slot];
    ranked.push_back({slot, score(seed_, target.identity, row, target.weight)});
  }
  // Eligible slots are in tie order already.
  std::stable_sort(ranked.begin(), ranked.end(),
                   [](const Ranked& a, const Ranked& b) { return a.score < b.score; });
  return ranked;
}

}  // namespace gwlb::select
