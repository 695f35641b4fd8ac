#include <algorithm>
#include <cmath>
#include <map>
#include <random>
#include <tuple>
#include <vector>

#include "select/target_table.h"
#include "test/native/test.h"

using namespace gwlb;
using base::kNoTarget;
using select::TargetSpec;
using select::TargetTable;

namespace {

constexpr uint8_t kBoth = select::kRegistered | select::kEligible;

TargetSpec target(uint16_t slot, uint64_t identity, uint32_t weight = 1, uint16_t zone = 0) {
  TargetSpec spec;
  spec.slot = slot;
  spec.identity = identity;
  spec.weight = weight;
  spec.zone = zone;
  spec.flags = kBoth;
  spec.address = 0x0a000000u + slot;
  return spec;
}

std::vector<TargetSpec> targets(uint32_t n) {
  std::vector<TargetSpec> out;
  for (uint32_t i = 0; i < n; ++i) {
    out.push_back(target(static_cast<uint16_t>(i), uint64_t{0x9e3779b97f4a7c15} * (i + 1)));
  }
  return out;
}

std::shared_ptr<const TargetTable> build(const std::vector<TargetSpec>& specs, uint32_t zones = 1,
                                         bool cross_zone = false, uint64_t seed = 7) {
  return TargetTable::build(specs, zones, cross_zone, seed);
}

std::vector<uint16_t> rows_of(const TargetTable& table, uint16_t zone = 0) {
  std::vector<uint16_t> rows;
  for (uint32_t row = 0; row < table.rows(); ++row) rows.push_back(table.choose(zone, row));
  return rows;
}

uint64_t fnv1a(const std::vector<uint16_t>& rows) {
  uint64_t hash = 0xcbf29ce484222325;
  for (uint16_t slot : rows) {
    for (uint8_t byte : {static_cast<uint8_t>(slot), static_cast<uint8_t>(slot >> 8)}) {
      hash = (hash ^ byte) * 0x100000001b3;
    }
  }
  return hash;
}

// What the header says, word for word.
uint16_t best_by_definition(const std::vector<TargetSpec>& specs, uint64_t seed, uint32_t row) {
  using Rank = std::tuple<uint64_t, uint64_t, uint16_t>;  // score, identity, slot
  Rank best{~uint64_t{0}, ~uint64_t{0}, kNoTarget};
  for (const TargetSpec& spec : specs) {
    if ((spec.flags & select::kEligible) == 0) continue;
    const uint64_t score = select::score(seed, spec.identity, row, spec.weight);
    best = std::min(best, Rank{score, spec.identity, spec.slot});
  }
  return std::get<2>(best);
}

}  // namespace

// The vectors here and below were computed by a program of its own (Python, big integers; the table
// of logarithms from decimals of 60 digits instead of repeated squaring).
TEST(logarithm_vectors) {
  const struct {
    uint32_t u;
    uint64_t expected;
  } vectors[] = {
      {0x00000000u, 2147483648u}, {0x00000001u, 2080374784u}, {0x00000002u, 2041118615u},
      {0x00000003u, 2013265920u}, {0x7fffffffu, 67108864u},   {0x80000000u, 67108864u},
      {0xfffffffeu, 0u},          {0xffffffffu, 0u},          {0x00003039u, 1235356338u},
      {0xdeadbeefu, 13500980u},   {0x12345678u, 255938524u},  {0xc0000000u, 27852695u},
      {0xfff00000u, 23640u},
  };
  for (const auto& vector : vectors) CHECK_EQ(select::neg_log2_q26(vector.u), vector.expected);
}

TEST(logarithm_is_exact_at_powers_of_two) {
  for (uint32_t k = 0; k <= 32; ++k) {
    const auto u = static_cast<uint32_t>((uint64_t{1} << k) - 1);
    CHECK_EQ(select::neg_log2_q26(u), uint64_t{32 - k} << 26);
  }
}

TEST(logarithm_is_close_and_never_rises) {
  long double worst_above = 0;
  long double worst_below = 0;
  const auto examine = [&](uint64_t first, uint64_t last) {
    uint64_t before = ~0ull;
    for (uint64_t u = first; u <= last; ++u) {
      const uint64_t got = select::neg_log2_q26(static_cast<uint32_t>(u));
      REQUIRE(got <= before);
      before = got;
      const long double exact = (32 - std::log2(static_cast<long double>(u + 1))) * (1ll << 26);
      worst_above = std::max(worst_above, static_cast<long double>(got) - exact);
      worst_below = std::max(worst_below, exact - static_cast<long double>(got));
    }
  };
  examine(0, 100000);
  examine(0xffffffffull - 100000, 0xffffffffull);
  for (uint32_t k = 17; k < 32; ++k) examine((1ull << k) - 2000, (1ull << k) + 2000);
  // Around the joints of the table's 4,096 pieces, at the largest scale.
  for (uint64_t i = 0; i < 4096; i += 5) {
    const uint64_t joint = (1ull << 31) + (i << 19);
    examine(joint - 3, joint + 3);
    examine(joint + (1 << 18) - 3, joint + (1 << 18) + 3);
  }
  CHECK(worst_above < 1.26L);
  CHECK(worst_below < 0.51L);
}

TEST(score_vectors) {
  const struct {
    uint64_t seed, identity;
    uint32_t row, weight;
    uint64_t expected;
  } vectors[] = {
      {0x0000000000000000u, 0x0000000000000000u, 0u, 1u, 415600027369472u},
      {0x0000000000000000u, 0x0000000000000001u, 0u, 1u, 932447751503872u},
      {0x0000000000000001u, 0x0000000000000000u, 0u, 1u, 360317171269632u},
      {0x0000000000000001u, 0x0000000000000000u, 1u, 1u, 747516224077824u},
      {0x0123456789abcdefu, 0xfedcba9876543210u, 65535u, 1u, 295168976617472u},
      {0x0123456789abcdefu, 0xfedcba9876543210u, 65535u, 1000u, 295168976617u},
      {0xffffffffffffffffu, 0xffffffffffffffffu, 262143u, 7u, 159700003848192u},
      {0x000000000000002au, 0x000000000a000102u, 4096u, 10u, 54988925986406u},
      {0x000000000000002au, 0x000000000a000102u, 4097u, 999u, 4763197192878u},
      {0x9e3779b97f4a7c15u, 0x0000000000000003u, 70000u, 3u, 200044840659626u},
  };
  for (const auto& v : vectors) {
    CHECK_EQ(select::score(v.seed, v.identity, v.row, v.weight), v.expected);
  }
}

TEST(row_vectors) {
  const std::vector<TargetSpec> specs = {target(0, 101), target(1, 102), target(2, 103, 2),
                                         target(3, 104, 5), target(4, ~0ull)};
  const auto rows = rows_of(*build(specs));
  REQUIRE(rows.size() == 65536);
  const char* expected = "1432210343302223333310333424040231333313332342022303032203431333";
  for (uint32_t row = 0; row < 64; ++row) CHECK_EQ(rows[row], expected[row] - '0');
  CHECK_EQ(fnv1a(rows), 0x29df1791e4f22f4u);
}

TEST(build_does_what_the_scores_say) {
  std::mt19937_64 random(5);
  for (int round = 0; round < 6; ++round) {
    std::vector<TargetSpec> specs;
    const uint32_t n = round == 5 ? 130 : 1 + random() % 40;
    for (uint32_t i = 0; i < n; ++i) {
      // Equal identities now and then: every score ties, the lower slot decides.
      const uint64_t identity = random() % 8 == 0 ? 77 : random();
      specs.push_back(
          target(static_cast<uint16_t>(i * 3), identity, round % 2 == 0 ? 3 : 1 + random() % 1000));
      if (random() % 8 == 0) specs.back().flags = select::kRegistered;
    }
    std::shuffle(specs.begin(), specs.end(), random);
    const uint64_t seed = random();
    const auto table = build(specs, 1, false, seed);
    for (uint32_t i = 0; i < 5000; ++i) {
      const auto row = static_cast<uint32_t>(random() % table->rows());
      const uint16_t expected = best_by_definition(specs, seed, row);
      CHECK_EQ(table->choose(0, row), expected);
      CHECK_EQ(table->choose(0, row | 0xdeadbeef00000000 | uint64_t{table->rows()} * 5), expected);
    }
  }
}

TEST(scores_that_tie_go_to_the_lower_identity) {
  // Rows whose two best targets have the same score, found by search. In some the lower identity
  // has the higher hash, in some the lower one; the slots run against the identities.
  const struct {
    uint64_t seed;
    uint32_t row;
    uint64_t winner, loser;
  } ties[] = {{7, 154005, 1021, 1055}, {9, 81684, 1030, 1044},  {11, 62406, 1027, 1051},
              {42, 80124, 1045, 1095}, {49, 30306, 1006, 1028}, {54, 229196, 1063, 1084}};
  std::vector<TargetSpec> specs;
  for (uint16_t i = 0; i < 101; ++i)
    specs.push_back(target(static_cast<uint16_t>(200 - i), 1000 + i));
  for (const auto& tie : ties) {
    const auto table = build(specs, 1, false, tie.seed);
    const auto ranked = table->rank(0, tie.row);
    REQUIRE(ranked.size() == 101);
    CHECK_EQ(ranked[0].score, ranked[1].score);
    CHECK_EQ(table->target(ranked[0].slot).identity, tie.winner);
    CHECK_EQ(table->target(ranked[1].slot).identity, tie.loser);
    CHECK_EQ(table->choose(0, tie.row), ranked[0].slot);
    // Equal identities as well: the lower slot.
    std::vector<TargetSpec> twins = specs;
    for (TargetSpec& spec : twins) spec.identity = 5;
    CHECK_EQ(build(twins, 1, false, tie.seed)->choose(0, tie.row), 100);
  }
}

TEST(scores_that_tie_between_weights_go_to_the_lower_identity) {
  // As above, with weights 1 and 2 in turn: a target of weight 2 ties with one of weight 1 and has
  // the lower identity.
  const struct {
    uint64_t seed;
    uint32_t row;
    uint64_t winner, loser;
  } ties[] = {{21, 56177, 1075, 1098}, {177, 120560, 1021, 1026}, {338, 184390, 1063, 1082}};
  std::vector<TargetSpec> specs;
  for (uint32_t i = 0; i < 101; ++i) {
    specs.push_back(target(static_cast<uint16_t>(200 - i), 1000 + i, 1 + i % 2));
  }
  for (const auto& tie : ties) {
    const auto table = build(specs, 1, false, tie.seed);
    const auto ranked = table->rank(0, tie.row);
    REQUIRE(ranked.size() == 101);
    CHECK_EQ(ranked[0].score, ranked[1].score);
    CHECK_EQ(table->target(ranked[0].slot).identity, tie.winner);
    CHECK_EQ(table->target(ranked[1].slot).identity, tie.loser);
    CHECK_EQ(table->choose(0, tie.row), ranked[0].slot);
  }
}

TEST(removing_a_target_moves_only_its_rows) {
  for (uint32_t n : {2u, 10u, 100u}) {
    auto specs = targets(n);
    const auto before = rows_of(*build(specs));
    const uint16_t gone = static_cast<uint16_t>(n / 2);
    specs.erase(specs.begin() + gone);
    const auto after = rows_of(*build(specs));
    uint32_t moved = 0;
    for (size_t row = 0; row < before.size(); ++row) {
      if (before[row] == gone) {
        CHECK(after[row] != gone && after[row] != kNoTarget);
        ++moved;
      } else {
        CHECK_EQ(after[row], before[row]);
      }
    }
    // The same, read backwards: adding a target moves rows only to it. Its share is fair.
    const double share = 65536.0 / n;
    CHECK(std::abs(moved - share) < 5 * std::sqrt(share));
  }
}

TEST(order_and_slots_do_not_matter) {
  auto specs = targets(20);
  const auto rows = rows_of(*build(specs));
  std::mt19937_64 random(1);
  std::shuffle(specs.begin(), specs.end(), random);
  CHECK(rows_of(*build(specs)) == rows);
  for (TargetSpec& spec : specs) spec.slot = static_cast<uint16_t>(spec.slot * 7 + 100);
  const auto renumbered = rows_of(*build(specs));
  for (size_t row = 0; row < rows.size(); ++row) CHECK_EQ(renumbered[row], rows[row] * 7 + 100);
}

TEST(shares_follow_the_weights) {
  std::vector<TargetSpec> specs;
  const uint32_t weights[] = {1, 2, 3, 10, 10, 50, 100, 1000};
  uint32_t sum = 0;
  for (uint32_t weight : weights) {
    specs.push_back(target(static_cast<uint16_t>(specs.size()), 1000 + specs.size(), weight));
    sum += weight;
  }
  for (uint64_t seed = 0; seed < 4; ++seed) {
    std::map<uint16_t, uint32_t> count;
    for (uint16_t slot : rows_of(*build(specs, 1, false, seed))) ++count[slot];
    for (size_t i = 0; i < specs.size(); ++i) {
      const double share = 65536.0 * weights[i] / sum;
      CHECK(std::abs(count[static_cast<uint16_t>(i)] - share) < 5 * std::sqrt(share));
    }
  }
}

TEST(equal_targets_share_evenly_whatever_their_identities) {
  // Consecutive identities, as slots or addresses would give.
  for (uint64_t seed : {0ull, 1ull, 0xffffffffffffffffull}) {
    std::vector<TargetSpec> specs;
    for (uint16_t i = 0; i < 64; ++i) specs.push_back(target(i, 0x0a000000u + i));
    std::map<uint16_t, uint32_t> count;
    for (uint16_t slot : rows_of(*build(specs, 1, false, seed))) ++count[slot];
    double chi_square = 0;
    for (const auto& [slot, n] : count) chi_square += (n - 1024.0) * (n - 1024.0) / 1024;
    CHECK(chi_square < 120);  // 63 degrees of freedom: beyond 1e-5
    CHECK(chi_square > 25);   // nor better than chance
  }
}

TEST(second_choices_are_spread_as_well) {
  // When a target fails its rows must go to all others, not to one.
  const auto specs = targets(20);
  const auto table = build(specs);
  std::map<uint16_t, uint32_t> second;
  for (uint32_t row = 0; row < 65536; ++row) {
    const auto ranked = table->rank(0, row);
    if (ranked[0].slot == 4) ++second[ranked[1].slot];
  }
  CHECK_EQ(second.size(), 19u);
  for (const auto& [slot, n] : second) CHECK(n > 110 && n < 240);  // 65536 / 20 / 19 = 172
}

TEST(raising_a_weight_only_pulls_rows_to_that_target) {
  auto specs = targets(12);
  for (TargetSpec& spec : specs) spec.weight = 100;
  specs[5].weight = 10;
  auto before = rows_of(*build(specs));
  uint32_t last_count = 0;
  for (uint32_t weight :
       {10u, 30u, 50u, 70u, 99u, 100u, 101u, 1000u, 10'000u}) {  // slow start, and further
    specs[5].weight = weight;
    const auto after = rows_of(*build(specs));
    uint32_t count = 0;
    for (size_t row = 0; row < after.size(); ++row) {
      if (after[row] != 5) CHECK_EQ(after[row], before[row]);
      if (before[row] == 5) CHECK_EQ(after[row], 5);
      count += after[row] == 5;
    }
    CHECK(count >= last_count);
    last_count = count;
    before = after;
  }
}

TEST(zones_are_apart_unless_crossed) {
  std::vector<TargetSpec> specs = {target(0, 10, 1, 0), target(1, 11, 1, 0), target(2, 12, 1, 1),
                                   target(3, 13, 1, 1), target(4, 14, 1, 3)};
  specs[4].flags = select::kRegistered;
  const auto apart = build(specs, 4);
  for (uint16_t slot : rows_of(*apart, 0)) CHECK(slot <= 1);
  for (uint16_t slot : rows_of(*apart, 1)) CHECK(slot == 2 || slot == 3);
  for (uint16_t zone : {uint16_t{2}, uint16_t{3}, uint16_t{4}, uint16_t{0xffff}}) {
    CHECK_EQ(apart->choose(zone, 0), kNoTarget);  // none there, none eligible, no such zone
    CHECK(apart->rank(zone, 0).empty());
  }
  const auto crossed = build(specs, 4, true);
  const auto rows = rows_of(*crossed, 0);
  for (uint16_t zone = 1; zone < 4; ++zone) CHECK(rows_of(*crossed, zone) == rows);
  CHECK_EQ(crossed->choose(4, 0), kNoTarget);
  std::map<uint16_t, uint32_t> count;
  for (uint16_t slot : rows) ++count[slot];
  CHECK_EQ(count.size(), 4u);
  // A zone's rows do not depend on the other zones' targets.
  const std::vector<TargetSpec> own = {specs[0], specs[1]};
  CHECK(rows_of(*build(own, 1), 0) == rows_of(*apart, 0));
}

TEST(row_counts_are_those_of_the_rows) {
  std::vector<TargetSpec> specs = targets(12);
  for (uint16_t slot = 0; slot < 12; ++slot) specs[slot].zone = slot % 3;
  specs[4].flags = select::kRegistered;
  for (const bool cross_zone : {false, true}) {
    const auto table = build(specs, 4, cross_zone);
    std::vector<uint32_t> expected(base::kTargetsMax);
    for (uint16_t zone = 0; zone < (cross_zone ? 1 : 3); ++zone) {
      for (const uint16_t slot : rows_of(*table, zone)) ++expected[slot];
    }
    CHECK(table->row_counts() == expected);
    CHECK_EQ(table->row_counts()[4], 0u);
  }
  const auto none = build({}, 1);
  CHECK(none->row_counts() == std::vector<uint32_t>(base::kTargetsMax));
}

TEST(no_targets_at_all) {
  const auto table = build({}, 3);
  REQUIRE(table != nullptr);
  CHECK_EQ(table->choose(0, 12345), kNoTarget);
  CHECK_EQ(table->choose(2, 12345), kNoTarget);
  CHECK_EQ(table->slot_of(0), kNoTarget);
  CHECK_EQ(table->slot_of(0x0a000001), kNoTarget);
  CHECK_EQ(table->target(0).flags, 0);
  CHECK_EQ(table->target(0xffff).flags, 0);
  CHECK_EQ(table->rows(), 65536u);
}

TEST(rows_grow_above_a_hundred_targets_of_a_zone) {
  auto specs = targets(base::kTargetsForLargeTable);
  CHECK_EQ(build(specs)->rows(), 1u << base::kRowBits);
  specs.push_back(target(500, 1));
  CHECK_EQ(build(specs)->rows(), 1u << base::kRowBitsLarge);
  specs.back().flags = select::kRegistered;  // unhealthy: no reason to move everybody's rows
  CHECK_EQ(build(specs)->rows(), 1u << base::kRowBitsLarge);
  specs.back().flags = 0;
  CHECK_EQ(build(specs)->rows(), 1u << base::kRowBits);
  specs.back().flags = kBoth;
  specs.back().zone = 1;
  CHECK_EQ(build(specs, 2)->rows(), 1u << base::kRowBits);
  CHECK_EQ(build(specs, 2, true)->rows(), 1u << base::kRowBitsLarge);
}

TEST(the_most_targets) {
  const auto specs = targets(base::kTargetsMax);
  const auto table = build(specs);
  REQUIRE(table != nullptr);
  CHECK_EQ(table->rows(), 1u << base::kRowBitsLarge);
  std::vector<uint32_t> count(base::kTargetsMax);
  for (uint16_t slot : rows_of(*table)) ++count[slot];
  CHECK(*std::min_element(count.begin(), count.end()) > 20);  // 64 on average, deviation 8
  CHECK(*std::max_element(count.begin(), count.end()) < 120);
  for (const TargetSpec& spec : specs) {
    CHECK_EQ(table->slot_of(spec.address), spec.slot);
    CHECK_EQ(table->target(spec.slot).identity, spec.identity);
  }
  CHECK_EQ(table->slot_of(0x0a000000u + base::kTargetsMax), kNoTarget);
}

TEST(addresses_lead_to_slots) {
  auto specs = targets(4);
  specs[1].flags = select::kRegistered;  // draining: still answers
  specs[2].flags = 0;                    // gone
  specs[3].address = specs[0].address;   // a second port of one appliance
  const auto table = build(specs);
  CHECK_EQ(table->slot_of(specs[0].address), 0);
  CHECK_EQ(table->slot_of(specs[1].address), 1);
  CHECK_EQ(table->slot_of(specs[2].address), kNoTarget);
  CHECK_EQ(table->slot_of(0), kNoTarget);
  CHECK_EQ(table->slot_of(0xffffffff), kNoTarget);
  CHECK_EQ(table->target(1).flags, select::kRegistered);
  CHECK_EQ(table->target(4).flags, 0);
}

TEST(rank_lists_all_eligible_best_first) {
  auto specs = targets(30);
  for (uint32_t i = 0; i < 30; ++i) specs[i].weight = 1 + i % 4;
  specs[3].flags = select::kRegistered;
  const auto table = build(specs);
  for (uint32_t row = 0; row < 2000; ++row) {
    const auto ranked = table->rank(0, row);
    REQUIRE(ranked.size() == 29);
    CHECK_EQ(ranked[0].slot, table->choose(0, row));
    for (size_t i = 0; i < ranked.size(); ++i) {
      const TargetSpec& spec = specs[ranked[i].slot];
      CHECK_EQ(ranked[i].score, select::score(7, spec.identity, row, spec.weight));
      if (i > 0) CHECK(ranked[i].score >= ranked[i - 1].score);
    }
  }
  CHECK(table->rank(0, table->rows()).empty());
}

TEST(build_refuses_what_makes_no_sense) {
  const auto refused = [](TargetSpec spec, uint32_t zones = 2) {
    return build({target(1, 1), spec}, zones) == nullptr;
  };
  CHECK(!refused(target(2, 2)));
  CHECK(refused(target(1, 2)));  // the slot twice
  CHECK(refused(target(base::kTargetsMax, 2)));
  CHECK(refused(target(2, 2, 1, 2)));  // zones are 0 and 1
  CHECK(refused(target(2, 2, 0)));
  CHECK(refused(target(2, 2, base::kWeightMax + 1)));
  TargetSpec draining = target(2, 2, 0);
  draining.flags = select::kRegistered;  // its weight does not count
  CHECK(!refused(draining));
  CHECK(refused(target(2, 2), 0));
  CHECK(refused(target(2, 2), base::kZonesMax + 1));
}
