// Tables that are built from another one, held to tables that are built from nothing.
#include <algorithm>
#include <random>
#include <tuple>
#include <vector>

#include "select/row_contest.h"
#include "select/target_table.h"
#include "test/native/test.h"

using namespace gwlb;
using base::kNoTarget;
using select::TargetSpec;
using select::TargetTable;

namespace {

constexpr uint8_t kBoth = select::kRegistered | select::kEligible;

std::vector<uint16_t> rows_of(const TargetTable& table, uint16_t zone) {
  std::vector<uint16_t> rows;
  for (uint32_t row = 0; row < table.rows(); ++row) rows.push_back(table.choose(zone, row));
  return rows;
}

// Everything a table answers.
void check_same(const TargetTable& got, const TargetTable& expected, uint32_t zones) {
  REQUIRE(got.rows() == expected.rows());
  for (uint32_t zone = 0; zone < zones; ++zone) {
    const auto number = static_cast<uint16_t>(zone);
    CHECK(rows_of(got, number) == rows_of(expected, number));
    const auto a = got.rank(number, 77);
    const auto b = expected.rank(number, 77);
    REQUIRE(a.size() == b.size());
    for (size_t i = 0; i < a.size(); ++i) {
      CHECK_EQ(a[i].slot, b[i].slot);
      CHECK_EQ(a[i].score, b[i].score);
    }
  }
  for (uint32_t slot = 0; slot < base::kTargetsMax; slot += 7) {
    const TargetSpec& spec = expected.target(static_cast<uint16_t>(slot));
    CHECK_EQ(got.target(static_cast<uint16_t>(slot)).flags, spec.flags);
    CHECK_EQ(got.target(static_cast<uint16_t>(slot)).generation, spec.generation);
    CHECK_EQ(got.slot_of(spec.address), expected.slot_of(spec.address));
  }
}

// A target group that changes at random: what a control plane does, and what it never should.
class Group {
 public:
  Group(uint64_t seed, uint32_t zones) : random_(seed), zones_(zones) {}

  const std::vector<TargetSpec>& specs() const { return specs_; }

  void change() {
    switch (random_() % 10) {
      case 0:
      case 1:
      case 2:
        return add();
      case 3:
        return remove();
      case 4:
        return set_weight(1 + below(20));
      case 5:
        return set_weight(1 + below(base::kWeightMax));
      case 6:
        return toggle(select::kEligible);
      case 7:
        return toggle(select::kRegistered);
      case 8:
        return move();
      default:
        return touch();
    }
  }

 private:
  uint32_t below(uint32_t n) { return static_cast<uint32_t>(random_() % n); }

  void add() {
    TargetSpec spec;
    do {
      spec.slot = static_cast<uint16_t>(below(3) == 0 ? below(base::kTargetsMax) : below(200));
    } while (std::any_of(specs_.begin(), specs_.end(),
                         [&](const TargetSpec& other) { return other.slot == spec.slot; }));
    // Equal identities now and then: every score of theirs ties.
    spec.identity = below(6) == 0 ? below(3) : random_();
    spec.weight = below(2) == 0 ? 10 : 1 + below(base::kWeightMax);
    spec.zone = static_cast<uint16_t>(below(zones_));
    spec.flags = kBoth;
    spec.address = 0x0a000000u + below(1000);
    specs_.insert(specs_.begin() + below(static_cast<uint32_t>(specs_.size()) + 1), spec);
  }
  TargetSpec* any() {
    return specs_.empty() ? nullptr : &specs_[below(static_cast<uint32_t>(specs_.size()))];
  }
  void remove() {
    if (specs_.empty()) return;
    specs_.erase(specs_.begin() + below(static_cast<uint32_t>(specs_.size())));
  }
  void set_weight(uint32_t weight) {
    if (TargetSpec* spec = any()) spec->weight = weight;
  }
  void toggle(uint8_t flag) {
    if (TargetSpec* spec = any()) spec->flags ^= flag;
  }
  // Another slot's identity, zone or both: a slot that is used again.
  void move() {
    TargetSpec* spec = any();
    if (spec == nullptr) return;
    if (below(2) == 0) spec->zone = static_cast<uint16_t>(below(zones_));
    if (below(2) == 0) spec->identity = below(4) == 0 ? any()->identity : random_();
  }
  // Nothing that rows depend on.
  void touch() {
    TargetSpec* spec = any();
    if (spec == nullptr) return;
    spec->generation = (spec->generation + 1) % base::kGenerations;
    spec->address = 0x0a000000u + below(1000);
    std::shuffle(specs_.begin(), specs_.end(), random_);
  }

  std::mt19937_64 random_;
  uint32_t zones_;
  std::vector<TargetSpec> specs_;
};

std::vector<TargetSpec> targets(uint32_t n, uint32_t weight = 10) {
  std::vector<TargetSpec> out(n);
  for (uint32_t i = 0; i < n; ++i) {
    out[i].slot = static_cast<uint16_t>(i);
    out[i].identity = uint64_t{0x9e3779b97f4a7c15} * (i + 1);
    out[i].weight = weight;
    out[i].flags = kBoth;
  }
  return out;
}

std::shared_ptr<const TargetTable> build(const std::vector<TargetSpec>& specs,
                                         const TargetTable* previous = nullptr, uint32_t zones = 1,
                                         bool cross_zone = false, uint64_t seed = 7) {
  return TargetTable::build(specs, zones, cross_zone, seed, previous);
}

}  // namespace

TEST(a_changed_table_is_the_table_built_anew) {
  for (uint64_t seed = 0; seed < 12; ++seed) {
    const uint32_t zones = seed % 3 == 0 ? 3 : 1;
    const bool cross_zone = seed % 6 == 0;
    Group group(seed, zones);
    auto table = build({}, nullptr, zones, cross_zone, seed);
    // Some sequences reach the larger table and come back.
    const uint32_t first = seed % 4 == 1 ? 96 : seed % 8;
    while (group.specs().size() < first) group.change();
    for (uint32_t step = 0; step < 25; ++step) {
      for (uint32_t n = 1u << (step % 4); n > 0; --n) group.change();
      const auto expected = build(group.specs(), nullptr, zones, cross_zone, seed);
      table = build(group.specs(), table.get(), zones, cross_zone, seed);
      check_same(*table, *expected, zones);
    }
  }
}

TEST(a_table_of_another_kind_is_no_help_and_no_harm) {
  auto specs = targets(20);
  for (uint32_t i = 0; i < 20; ++i) specs[i].zone = static_cast<uint16_t>(i % 4);
  const auto expected = build(specs, nullptr, 4);
  check_same(*build(specs, build(specs, nullptr, 4, true).get(), 4), *expected, 4);
  check_same(*build(specs, build(specs, nullptr, 4, false, 8).get(), 4), *expected, 4);
  check_same(*build(specs, build({}, nullptr, 1).get(), 4), *expected, 4);
  const auto fewer = std::vector<TargetSpec>(specs.begin(), specs.begin() + 1);
  check_same(*build(fewer, expected.get(), 1), *build(fewer, nullptr, 1), 1);
  check_same(*build({}, expected.get(), 2), *build({}, nullptr, 2), 2);
}

TEST(a_few_of_many_targets_change) {
  auto specs = targets(300);
  auto table = build(specs);
  std::mt19937_64 random(3);
  for (int round = 0; round < 4; ++round) {
    specs.erase(specs.begin() + static_cast<long>(random() % specs.size()));
    specs[random() % specs.size()].weight = static_cast<uint32_t>(1 + random() % 30);
    specs[random() % specs.size()].identity = random();
    table = build(specs, table.get());
    check_same(*table, *build(specs), 1);
  }
}

TEST(scores_that_tie_are_told_apart_by_the_integers) {
  // The rows of select_test.cc, in both orders of coming.
  const struct {
    uint64_t seed;
    uint32_t row;
    uint16_t winner, loser;
  } ties[] = {{7, 154005, 21, 55}, {9, 81684, 30, 44}, {11, 62406, 27, 51}, {49, 30306, 6, 28}};
  std::vector<TargetSpec> specs = targets(101);
  for (uint32_t i = 0; i < 101; ++i) specs[i].identity = 1000 + i;
  for (const auto& tie : ties) {
    for (uint16_t late : {tie.winner, tie.loser}) {
      std::vector<TargetSpec> others = specs;
      others[late].flags = select::kRegistered;
      const auto before = build(others, nullptr, 1, false, tie.seed);
      CHECK(before->choose(0, tie.row) != late);
      const auto after = build(specs, before.get(), 1, false, tie.seed);
      CHECK_EQ(after->choose(0, tie.row), tie.winner);
      const auto back = build(others, after.get(), 1, false, tie.seed);
      CHECK_EQ(back->choose(0, tie.row), before->choose(0, tie.row));
    }
  }
}

TEST(zones_without_a_change_share_their_rows) {
  auto specs = targets(8);
  for (uint32_t i = 0; i < 8; ++i) specs[i].zone = static_cast<uint16_t>(i % 2);
  const auto before = build(specs, nullptr, 2);
  specs[0].weight = 1;
  const auto after = build(specs, before.get(), 2);
  CHECK(after->row_data(0) != before->row_data(0));
  CHECK(after->row_data(1) == before->row_data(1));
  CHECK(build(specs, after.get(), 2)->row_data(0) == after->row_data(0));
}

TEST(what_a_change_takes_is_known_before) {
  const auto scores = [](const std::vector<TargetSpec>& specs, const TargetTable* previous,
                         uint32_t zones = 1, bool cross_zone = false) {
    return TargetTable::scores_for(specs, zones, cross_zone, 7, previous);
  };
  auto specs = targets(300);
  const auto table = build(specs);
  const uint64_t rows = table->rows();
  CHECK_EQ(scores(specs, nullptr), 301 * rows);
  CHECK_EQ(scores(specs, table.get()), 0u);
  // Another kind of table is no help.
  CHECK_EQ(TargetTable::scores_for(specs, 1, false, 8, table.get()), 301 * rows);
  CHECK_EQ(scores(specs, table.get(), 1, true), 301 * rows);
  // One that leaves: its rows, for all others, and every row is copied.
  auto fewer = specs;
  fewer.pop_back();
  CHECK_EQ(scores(fewer, table.get()), rows / 300 * 299 + rows);
  // One that comes: every row, against the best of before.
  CHECK_EQ(scores(specs, build(fewer).get()), 3 * rows);
  // A mass failure takes longer than the table of those that are left.
  const std::vector<TargetSpec> half(specs.begin(), specs.begin() + 150);
  CHECK(scores(half, table.get()) >= 75 * rows);
  // What rows do not depend on.
  for (TargetSpec& spec : specs) ++spec.generation, ++spec.port;
  CHECK_EQ(scores(specs, table.get()), 0u);
  // Nothing is to do exactly where the rows stay, or there are none.
  Group group(5, 1);
  auto before = build(group.specs());
  for (uint32_t step = 0; step < 200; ++step) {
    group.change();
    const auto after = build(group.specs(), before.get());
    const bool stays = after->row_data(0) == before->row_data(0);
    CHECK_EQ(scores(group.specs(), before.get()) == 0, stays || after->row_data(0) == nullptr);
    before = after;
  }
}

// Near ties on purpose: many targets of one weight and a few rows, so that bounds overlap; and
// weights a thousand times apart.
TEST(contests_say_what_the_scores_say) {
  std::mt19937_64 random(11);
  for (int round = 0; round < 30; ++round) {
    std::vector<select::Competitor> all;
    const uint32_t n = 1 + static_cast<uint32_t>(random() % 400);
    for (uint32_t i = 0; i < n; ++i) {
      const uint64_t identity = random() % 5 == 0 ? random() % 10 : random();
      const auto weight =
          static_cast<uint32_t>(round % 2 == 0 ? 10 : 1 + random() % base::kWeightMax);
      all.push_back({select::target_key(5, identity), identity, weight, static_cast<uint16_t>(i)});
    }
    const select::RowContest contest(all, 5);
    select::RowContest::Block block{};
    const uint32_t count = 1 + static_cast<uint32_t>(random() % select::RowContest::kRows);
    for (uint32_t i = 0; i < count; ++i) {
      select::RowContest::add(&block, static_cast<uint32_t>(random()));
    }
    const uint32_t half = n / 2;
    contest.offer(&block, 0, half);
    if (half > 0 && round % 3 == 0) contest.settle(&block);
    contest.offer(&block, half, n);
    for (uint32_t i = 0; i < count; ++i) {
      std::tuple<uint64_t, uint64_t, uint16_t> best{~uint64_t{0}, 0, 0};
      for (const auto& one : all) {
        best = std::min(best, {select::score(5, one.identity, block.row[i], one.weight),
                               one.identity, one.slot});
      }
      CHECK_EQ(contest.competitor(block.best[i]).slot, std::get<2>(best));
    }
  }
}
