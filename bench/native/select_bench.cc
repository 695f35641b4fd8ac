// Target tables: building one, and choosing from it. Beside a plain modulo (which moves nearly
// every flow when a target leaves, and is as cheap as it gets) and, for the build, the definition
// itself: every score of every row.
#include <cstdlib>
#include <random>

#include "bench/native/bench.h"
#include "select/target_table.h"

using namespace gwlb;
using select::TargetTable;

namespace {

std::vector<select::TargetSpec> targets(uint32_t n, bool weighted) {
  std::vector<select::TargetSpec> out(n);
  for (uint32_t i = 0; i < n; ++i) {
    out[i].slot = static_cast<uint16_t>(i);
    out[i].identity = 0x0a000000u + i;
    out[i].weight = weighted ? 1 + i % 10 : 1;
    out[i].flags = select::kRegistered | select::kEligible;
  }
  return out;
}

// Rows as score.h defines them, for the first `rows` rows only.
uint64_t by_definition(const std::vector<select::TargetSpec>& specs, uint32_t rows) {
  uint64_t sum = 0;
  for (uint32_t row = 0; row < rows; ++row) {
    uint64_t best = ~uint64_t{0};
    for (const auto& spec : specs) {
      best = std::min(best, select::score(1, spec.identity, row, spec.weight));
    }
    sum += best;
  }
  return sum;
}

void build(bench::Suite& suite, uint32_t n, bool weighted) {
  const std::string name =
      std::string("select build ") + std::to_string(n) + (weighted ? " weights" : " equal");
  if (!suite.wanted(name)) return;
  const auto specs = targets(n, weighted);
  const auto table = TargetTable::build(specs, 1, false, 1);
  for (uint32_t row = 0; row < 100; ++row) {
    if (table->rank(0, row)[0].slot != table->choose(0, row)) std::abort();
  }
  const uint64_t rows = table->rows();
  const auto ours = [&](uint32_t) {
    bench::use(TargetTable::build(specs, 1, false, 1).get());
    return rows * n;
  };
  const auto definition = [&](uint32_t) {
    const uint32_t some = 200'000 / n + 1;
    bench::use(by_definition(specs, some));
    return uint64_t{some} * n;
  };
  // Milliseconds for the whole table.
  suite.run(name, "ms", 11, static_cast<double>(rows * n) / 1e6,
            {{"ours", ours}, {"all scores", definition}});
}

// One target added to n - 1, removed from n, and made heavier: the table that is there is changed.
// Beside it the same table built from nothing.
void change(bench::Suite& suite, uint32_t n, const char* what) {
  const std::string name = std::string("change ") + std::to_string(n) + " " + what;
  if (!suite.wanted(name)) return;
  const auto all = targets(n, false);
  auto others = all;
  if (std::string(what) == "weight") {
    others[n / 2].weight = 2;
  } else {
    others.erase(others.begin() + n / 2);
  }
  const bool add = std::string(what) == "add";
  const auto& from = add ? others : all;
  const auto& to = add ? all : others;
  const auto before = TargetTable::build(from, 1, false, 1);
  const auto changed = TargetTable::build(to, 1, false, 1, before.get());
  const auto anew = TargetTable::build(to, 1, false, 1);
  for (uint32_t row = 0; row < anew->rows(); ++row) {
    if (changed->choose(0, row) != anew->choose(0, row)) std::abort();
  }
  const auto ours = [&](uint32_t) {
    bench::use(TargetTable::build(to, 1, false, 1, before.get()).get());
    return uint64_t{1};
  };
  const auto full = [&](uint32_t) {
    bench::use(TargetTable::build(to, 1, false, 1).get());
    return uint64_t{1};
  };
  suite.run(name, "ms", 11, 1e-6, {{"ours", ours}, {"built anew", full}});
}

void choose(bench::Suite& suite, uint32_t n) {
  const std::string name = "select choose " + std::to_string(n);
  if (!suite.wanted(name)) return;
  const auto table = TargetTable::build(targets(n, false), 1, false, 1);
  std::mt19937_64 random(1);
  std::vector<uint64_t> hashes(65536);
  for (uint64_t& hash : hashes) hash = random();
  const auto ours = [&](uint32_t) {
    uint64_t sum = 0;
    for (uint64_t hash : hashes) sum += table->choose(0, hash);
    bench::use(sum);
    return uint64_t{hashes.size()};
  };
  const auto modulo = [&](uint32_t) {
    uint64_t sum = 0;
    for (uint64_t hash : hashes) sum += hash % n;
    bench::use(sum);
    return uint64_t{hashes.size()};
  };
  suite.run(name, "ns", 101, 1, {{"ours", ours}, {"modulo", modulo}});
}

}  // namespace

int main(int argc, char** argv) {
  bench::Options options;
  if (!bench::parse_options(argc, argv, &options)) return 2;
  bench::Suite suite("select", options);
  for (uint32_t n : {10u, 100u, 300u, 4096u}) {
    if (options.quick && n > 300) continue;
    build(suite, n, false);
    if (n < 4096) build(suite, n, true);
  }
  for (uint32_t n : {100u, 300u, 4096u}) {
    if (options.quick && n > 300) continue;
    for (const char* what : {"add", "remove", "weight"}) change(suite, n, what);
  }
  for (uint32_t n : {10u, 300u}) choose(suite, n);
  return 0;
}
