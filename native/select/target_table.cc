#include "select/target_table.h"

#include <algorithm>
#include <tuple>

#include "base/assert.h"
#include "select/row_contest.h"

namespace gwlb::select {
namespace {

constexpr uint32_t kNobody = 0xffffffff;

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
                                                      uint64_t seed, const TargetTable* previous) {
  if (!valid(targets, zones)) return nullptr;
  std::shared_ptr<TargetTable> table(new TargetTable);
  table->seed_ = seed;
  table->zones_ = zones;
  table->cross_zone_ = cross_zone;
  table->tables_.resize(cross_zone ? 1 : zones);

  table->row_bits_ = row_bits_for(targets, zones, cross_zone);
  for (const TargetSpec& target : targets) {
    if (target.slot >= table->targets_.size()) table->targets_.resize(target.slot + 1u);
    table->targets_[target.slot] = target;
    const uint32_t pool = cross_zone ? 0 : target.zone;
    if ((target.flags & kEligible) != 0) table->tables_[pool].eligible.push_back(target.slot);
  }
  table->slots_ = static_cast<uint32_t>(table->targets_.size());
  table->index_addresses();

  const std::vector<TargetSpec>& by_slot = table->targets_;
  for (ZoneTable& zone : table->tables_) {
    std::sort(zone.eligible.begin(), zone.eligible.end(), [&](uint16_t a, uint16_t b) {
      return std::tie(by_slot[a].identity, a) < std::tie(by_slot[b].identity, b);
    });
  }
  const bool alike = previous != nullptr && previous->seed_ == seed &&
                     previous->cross_zone_ == cross_zone && previous->row_bits_ == table->row_bits_;
  for (size_t i = 0; i < table->tables_.size(); ++i) {
    const bool has = alike && i < previous->tables_.size();
    table->fill_rows(&table->tables_[i], has ? &previous->tables_[i] : nullptr, previous);
  }
  return table;
}

uint32_t TargetTable::row_bits_for(const std::vector<TargetSpec>& targets, uint32_t zones,
                                   bool cross_zone) {
  std::vector<uint32_t> registered(cross_zone ? 1 : zones);
  for (const TargetSpec& target : targets) {
    if ((target.flags & kRegistered) != 0) ++registered[cross_zone ? 0 : target.zone];
  }
  const uint32_t most = *std::max_element(registered.begin(), registered.end());
  return most > base::kTargetsForLargeTable ? base::kRowBitsLarge : base::kRowBits;
}

// As fill_rows() does it, with the rows that lose their target by its share of the weight.
uint64_t TargetTable::scores_for(const std::vector<TargetSpec>& targets, uint32_t zones,
                                 bool cross_zone, uint64_t seed, const TargetTable* previous) {
  if (!valid(targets, zones)) return 0;
  struct Pool {
    uint64_t eligible = 0, better = 0;
    uint64_t weight = 0, lost = 0;  // of the table before
  };
  std::vector<Pool> pools(base::kZonesMax);
  const auto pool_of = [&](const TargetSpec& target) -> Pool& {
    return pools[cross_zone ? 0 : target.zone];
  };
  const uint32_t bits = row_bits_for(targets, zones, cross_zone);
  const bool alike = previous != nullptr && previous->seed_ == seed &&
                     previous->cross_zone_ == cross_zone && previous->row_bits_ == bits;
  std::vector<const TargetSpec*> now(base::kTargetsMax, &kUnused);
  for (const TargetSpec& target : targets) now[target.slot] = &target;
  for (uint16_t slot = 0; slot < base::kTargetsMax; ++slot) {
    const TargetSpec& is = *now[slot];
    const TargetSpec& was = alike ? previous->target(slot) : kUnused;
    const bool takes = (is.flags & kEligible) != 0;
    const bool took = (was.flags & kEligible) != 0;
    const bool same =
        takes && took && is.identity == was.identity && (cross_zone || is.zone == was.zone);
    if (took) pool_of(was).weight += was.weight;
    if (took && !(same && is.weight >= was.weight)) pool_of(was).lost += was.weight;
    if (takes) ++pool_of(is).eligible;
    if (takes && !(same && is.weight <= was.weight)) ++pool_of(is).better;
  }
  uint64_t scores = 0;
  for (const Pool& pool : pools) {
    const uint64_t rows = uint64_t{1} << bits;
    const uint64_t open = pool.weight == 0 ? rows : rows * pool.lost / pool.weight;
    if (pool.eligible == 0) continue;
    scores += open * pool.eligible;
    if (pool.better != 0) scores += (rows - open) * (1 + pool.better);
    if (pool.lost != 0 || pool.better != 0) scores += rows;  // each is copied
  }
  return scores;
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

// Rows of a table that differs in a few targets cost one hash for each row and target that got
// better, and one for each target and row of those that got worse.
void TargetTable::fill_rows(ZoneTable* table, const ZoneTable* before,
                            const TargetTable* previous) const {
  if (table->eligible.empty()) return;
  std::vector<Competitor> competitors;
  for (uint16_t slot : table->eligible) {
    const TargetSpec& target = targets_[slot];
    competitors.push_back(
        {target_key(seed_, target.identity), target.identity, target.weight, slot});
  }
  const RowContest contest(std::move(competitors), seed_);
  std::vector<uint32_t> of_slot(base::kTargetsMax, kNobody);
  for (uint32_t i = 0; i < contest.size(); ++i) of_slot[contest.competitor(i).slot] = i;

  const bool anew = before == nullptr || before->rows == nullptr;
  std::vector<bool> worse(base::kTargetsMax);
  std::vector<bool> known(contest.size());
  std::vector<uint32_t> better;
  bool changed = false;
  if (!anew) {
    for (uint16_t slot : before->eligible) {
      const uint32_t i = of_slot[slot];
      const TargetSpec& was = previous->target(slot);
      const bool same = i != kNobody && contest.competitor(i).identity == was.identity;
      worse[slot] = !same || contest.competitor(i).weight < was.weight;
      if (worse[slot]) changed = true;
      if (same) known[i] = contest.competitor(i).weight <= was.weight;
    }
    for (uint32_t i = 0; i < contest.size(); ++i) {
      if (!known[i]) better.push_back(i);
    }
    if (!changed && better.empty()) {
      table->rows = before->rows;
      return;
    }
  }

  std::shared_ptr<uint16_t[]> out(new uint16_t[rows()]);
  RowContest::Block open{};   // rows for everybody
  RowContest::Block taken{};  // rows whose best stays, unless one that got better beats it
  const auto write = [&](RowContest::Block* block) {
    for (uint32_t i = 0; i < block->count; ++i) {
      out[block->row[i]] = contest.competitor(block->best[i]).slot;
    }
    block->count = 0;
  };
  const auto finish_open = [&] {
    contest.offer(&open, 0, contest.size());
    write(&open);
  };
  const auto finish_taken = [&] {
    contest.settle(&taken);
    contest.offer(&taken, better);
    write(&taken);
  };
  for (uint32_t row = 0; row < rows(); ++row) {
    const uint16_t owner = anew ? base::kNoTarget : before->rows[row];
    if (anew || worse[owner]) {
      RowContest::add(&open, row);
      if (open.count == RowContest::kRows) finish_open();
    } else if (better.empty()) {
      out[row] = owner;
    } else {
      RowContest::add(&taken, row, of_slot[owner]);
      if (taken.count == RowContest::kRows) finish_taken();
    }
  }
  finish_open();
  finish_taken();
  table->rows = std::move(out);
}

std::vector<uint32_t> TargetTable::row_counts() const {
  std::vector<uint32_t> counts(base::kTargetsMax);
  for (const ZoneTable& zone : tables_) {
    if (zone.rows == nullptr) continue;
    for (uint32_t row = 0; row < rows(); ++row) ++counts[zone.rows[row]];
  }
  return counts;
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
