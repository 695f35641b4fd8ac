// Flow-table lookups: random hits, batches of 64, hashes computed before (they have a row of their
// own), last_seen_ms written to every flow that was found. Keys and hashes of a round are put into
// the second cache first, where a batch's are after parsing. Beside
//   limit          independent random cache lines, prefetched 64 at a time, over as much memory
//   unordered_map  std::unordered_map from key to a 32-bit value, a multiply hash
// and, to see what a flow costs otherwise: misses, inserts and erases, the sweep, the keyed hash.
#include <cstdlib>
#include <memory>
#include <random>
#include <unordered_map>

#include "bench/native/bench.h"
#include "flow/flow_table.h"

using namespace gwlb;
using flow::FlowTable;

namespace {

constexpr uint32_t kBatch = 64;
constexpr uint32_t kRoundLookups = 4096;
constexpr base::HashKey kKey{0x243f6a8885a308d3, 0x13198a2e03707344};

template <class Key>
Key numbered(uint64_t number) {
  Key key{};
  const uint64_t mixed = number * 0x9e3779b97f4a7c15;
  std::memcpy(key.low, &mixed, 4);
  std::memcpy(key.high, &number, 4);
  std::memcpy(key.low_port, &mixed, 2);
  key.protocol = 6;
  key.kind = 5;
  return key;
}

template <class Key>
struct QuickHash {
  size_t operator()(const Key& key) const {
    uint64_t hash = kKey.k0;
    const auto* bytes = reinterpret_cast<const uint8_t*>(&key);
    for (size_t at = 0; at < sizeof key; at += 8) {
      __extension__ typedef unsigned __int128 Wide;
      const Wide product =
          static_cast<Wide>(base::load<uint64_t>(bytes + at) ^ hash) * (kKey.k1 | 1);
      hash = static_cast<uint64_t>(product) ^ static_cast<uint64_t>(product >> 64);
    }
    return hash;
  }
};
template <class Key>
struct SameKey {
  bool operator()(const Key& a, const Key& b) const { return std::memcmp(&a, &b, sizeof a) == 0; }
};

template <class Key>
struct Bench {
  uint32_t flows;
  std::unique_ptr<FlowTable<Key>> table;
  std::unordered_map<Key, uint32_t, QuickHash<Key>, SameKey<Key>> map;
  flow::Pages lines;  // as much memory as the table has
  std::mt19937_64 random;
  // Input of one round.
  std::vector<Key> keys = std::vector<Key>(kRoundLookups);
  std::vector<uint64_t> hashes = std::vector<uint64_t>(kRoundLookups);
  std::vector<uint32_t> line_numbers = std::vector<uint32_t>(kRoundLookups);

  explicit Bench(uint32_t n)
      : flows(n),
        table(FlowTable<Key>::create(n)),
        lines(flow::Pages::map(table->memory_bytes())),
        random(n) {
    map.reserve(n);
    for (uint32_t i = 0; i < n; ++i) {
      const Key key = numbered<Key>(i);
      const uint32_t index = table->insert(key, flow::hash_key(kKey, key));
      if (index == flow::kNoFlow) std::abort();
      map.emplace(key, index);
    }
    // The input proved right before anything is timed.
    for (uint32_t round = 0; round < 16; ++round) {
      present(round);
      uint32_t index[kBatch];
      for (uint32_t at = 0; at < kRoundLookups; at += kBatch) {
        table->lookup(&keys[at], &hashes[at], kBatch, index);
        for (uint32_t i = 0; i < kBatch; ++i) {
          if (map.find(keys[at + i])->second != index[i]) std::abort();
        }
      }
    }
  }

  void choose(uint32_t first) {
    const auto line_count = static_cast<uint32_t>(lines.bytes() / 64);
    for (uint32_t i = 0; i < kRoundLookups; ++i) {
      keys[i] = numbered<Key>(first + random() % flows);
      hashes[i] = flow::hash_key(kKey, keys[i]);
      line_numbers[i] = static_cast<uint32_t>(random() % line_count);
    }
  }
  void present(uint32_t) { choose(0); }
  void absent(uint32_t) { choose(flows); }

  uint64_t lookup(uint32_t round) {
    uint32_t index[kBatch];
    for (uint32_t at = 0; at < kRoundLookups; at += kBatch) {
      table->lookup(&keys[at], &hashes[at], kBatch, index);
      for (uint32_t found : index) table->at(found).state.last_seen_ms = round;
    }
    return kRoundLookups;
  }

  uint64_t miss(uint32_t) {
    uint32_t index[kBatch];
    for (uint32_t at = 0; at < kRoundLookups; at += kBatch) {
      table->lookup(&keys[at], &hashes[at], kBatch, index);
      bench::use(index[0]);
    }
    return kRoundLookups;
  }

  uint64_t limit(uint32_t) {
    const auto* memory = static_cast<const uint8_t*>(lines.data());
    uint64_t sum = 0;
    for (uint32_t at = 0; at < kRoundLookups; at += kBatch) {
      for (uint32_t i = 0; i < kBatch; ++i) {
        __builtin_prefetch(memory + size_t{line_numbers[at + i]} * 64);
      }
      for (uint32_t i = 0; i < kBatch; ++i) {
        sum += base::load<uint64_t>(memory + size_t{line_numbers[at + i]} * 64);
      }
    }
    bench::use(sum);
    return kRoundLookups;
  }

  uint64_t unordered(uint32_t) {
    uint64_t sum = 0;
    for (uint32_t at = 0; at < kRoundLookups; ++at) sum += map.find(keys[at])->second;
    bench::use(sum);
    return kRoundLookups;
  }

  uint64_t hash(uint32_t) {
    for (uint32_t at = 0; at < kRoundLookups; ++at) {
      bench::use(flow::hash_key(kKey, keys[at]));
    }
    return kRoundLookups;
  }

  uint64_t replace(uint32_t) {  // one erase and one insert
    for (uint32_t at = 0; at < kRoundLookups; ++at) {
      const uint32_t index = table->find(keys[at], hashes[at]);
      table->erase(index);
      bench::use(table->insert(keys[at], hashes[at]));
    }
    return kRoundLookups;
  }

  uint64_t sweep(uint32_t round) {
    const uint32_t positions = std::min(table->index_end(), kRoundLookups);
    bench::use(table->sweep(round, positions, [](uint32_t, auto&) {}));
    return positions;
  }
};

template <class Key>
void run(bench::Suite& suite, const char* family, uint32_t flows, const char* size) {
  const std::string tail = std::string(family) + " " + size;
  const char* kinds[] = {"lookup ", "miss ", "replace ", "sweep ", "hash "};
  bool any = false;
  for (const char* kind : kinds) any |= suite.wanted(kind + tail);
  if (!any) return;
  Bench<Key> bench(flows);
  using Round = uint64_t (Bench<Key>::*)(uint32_t);
  const auto contender = [&](const char* name, Round body, bool present = true) {
    return bench::Contender{name, [&bench, body](uint32_t round) { return (bench.*body)(round); },
                            [&bench, present](uint32_t round) {
                              present ? bench.present(round) : bench.absent(round);
                            }};
  };
  const bench::Contender limit = contender("limit", &Bench<Key>::limit);
  const bench::Contender map = contender("unordered_map", &Bench<Key>::unordered);
  const auto one = [&](const char* kind, const bench::Contender& ours,
                       std::vector<bench::Contender> others) {
    if (!suite.wanted(kind + tail)) return;
    others.insert(others.begin(), ours);
    suite.run(kind + tail, "ns", 301, 1, others);
  };
  one("lookup ", contender("ours", &Bench<Key>::lookup), {limit, map});
  one("miss ", contender("ours", &Bench<Key>::miss, false), {limit});
  one("replace ", contender("ours", &Bench<Key>::replace), {limit});
  one("sweep ", contender("ours", &Bench<Key>::sweep), {});
  one("hash ", contender("ours", &Bench<Key>::hash), {});
}

}  // namespace

int main(int argc, char** argv) {
  bench::Options options;
  if (!bench::parse_options(argc, argv, &options)) return 2;
  bench::Suite suite("lookup", options);
  const struct {
    uint32_t flows;
    const char* name;
  } sizes[] = {{10'000, "10k"}, {100'000, "100k"}, {1'000'000, "1m"}};
  for (const auto& size : sizes) {
    if (options.quick && size.flows > 100'000) continue;
    run<flow::FlowKey4>(suite, "ipv4", size.flows, size.name);
    run<flow::FlowKey6>(suite, "ipv6", size.flows, size.name);
  }
  return 0;
}
