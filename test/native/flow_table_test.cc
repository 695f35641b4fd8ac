#include "flow/flow_table.h"

#include <algorithm>
#include <cstring>
#include <memory>
#include <random>
#include <unordered_set>
#include <vector>

#include "test/native/flow_rig.h"
#include "test/native/test.h"

using namespace gwlb;
using namespace gwlb::test;
using flow::FlowKey4;
using flow::FlowKey6;
using flow::FlowTable;
using flow::kNoFlow;

namespace {

template <class Key>
struct Filled {
  std::unique_ptr<FlowTable<Key>> table;
  std::vector<Key> keys;
  std::vector<uint64_t> hashes;
  std::vector<uint32_t> indices;
};

template <class Key>
Filled<Key> fill(uint32_t capacity) {
  Filled<Key> out;
  out.table = FlowTable<Key>::create(capacity);
  for (uint32_t i = 0; i < capacity; ++i) {
    out.keys.push_back(numbered<Key>(i));
    out.hashes.push_back(flow::hash_key(kKey, out.keys.back()));
    out.indices.push_back(out.table->insert(out.keys.back(), out.hashes.back()));
  }
  return out;
}

template <class Key>
uint32_t batch_mismatches(const Filled<Key>& filled, uint32_t batch) {
  uint32_t wrong = 0;
  std::vector<uint32_t> index(batch);
  const auto total = static_cast<uint32_t>(filled.keys.size());
  for (uint32_t at = 0; at < total; at += batch) {
    const uint32_t n = total - at < batch ? total - at : batch;
    filled.table->lookup(&filled.keys[at], &filled.hashes[at], n, index.data());
    for (uint32_t i = 0; i < n; ++i) wrong += index[i] != filled.indices[at + i];
  }
  return wrong;
}

template <class Key>
void check_full_fill(uint32_t capacity) {
  Filled<Key> filled = fill<Key>(capacity);
  FlowTable<Key>& table = *filled.table;
  std::unordered_set<uint32_t> seen;
  for (uint32_t index : filled.indices) {
    REQUIRE(index < table.index_end());
    REQUIRE(seen.insert(index).second);
  }
  CHECK_EQ(table.size(), capacity);
  const Key more = numbered<Key>(capacity);
  CHECK_EQ(table.insert(more, flow::hash_key(kKey, more)), kNoFlow);
  CHECK_EQ(table.size(), capacity);
  for (uint32_t batch : {1u, 63u, 64u, 65u, 256u}) CHECK_EQ(batch_mismatches(filled, batch), 0u);

  // Keys that are not there.
  uint32_t index[256];
  for (uint32_t at = capacity; at < capacity + 20000; at += 256) {
    Key keys[256];
    uint64_t hashes[256];
    for (uint32_t i = 0; i < 256; ++i) {
      keys[i] = numbered<Key>(at + i);
      hashes[i] = flow::hash_key(kKey, keys[i]);
    }
    table.lookup(keys, hashes, 256, index);
    for (uint32_t i = 0; i < 256; ++i) CHECK_EQ(index[i], kNoFlow);
  }
}

}  // namespace

TEST(tag_searches_agree) {
  std::mt19937_64 random(1);
  const uint16_t special[] = {0, 1, 2, 0x7fff, 0x8000, 0x8001, 0xfffe, 0xffff};
  for (int round = 0; round < 20000; ++round) {
    flow::TagLine line{};
    for (uint16_t& tag : line.tag) {
      tag = random() % 2 == 0 ? special[random() % 8] : static_cast<uint16_t>(random());
    }
    line.bloom = static_cast<uint8_t>(random());
    line.overflow = static_cast<uint8_t>(random());
    const uint16_t wanted = random() % 4 == 0
                                ? static_cast<uint16_t>(line.bloom | line.overflow << 8)
                                : line.tag[random() % 31];
    uint32_t expected = 0;
    for (uint32_t i = 0; i < 31; ++i) expected |= uint32_t{line.tag[i] == wanted} << i;
    CHECK_EQ(flow::match_tags(line, wanted), expected);
    CHECK_EQ(flow::match_tags_portable(line, wanted), expected);
  }
}

// What the machine has of the bulk searches, each against the portable comparison.
TEST(bulk_tag_searches_agree) {
  constexpr uint32_t kLines = 8;
  std::mt19937_64 random(2);
  flow::TagLine lines[kLines];
  uint8_t records[kLines * flow::kTagsPerLine * 32];
  for (const base::Simd simd : {base::Simd::portable, base::simd_of_machine()}) {
    const flow::Search search = flow::search_version(simd);
    REQUIRE(search != nullptr);
    for (int round = 0; round < 5000; ++round) {
      for (flow::TagLine& line : lines) {
        for (uint16_t& tag : line.tag) tag = static_cast<uint16_t>(random() % 16);
        line.bloom = static_cast<uint8_t>(random() % 16);
        line.overflow = 0;
      }
      const auto n = static_cast<uint32_t>(random() % 65);
      uint32_t bucket[64], matches[64];
      uint64_t hashes[64];
      const void* candidate[64];
      for (uint32_t i = 0; i < n; ++i) {
        bucket[i] = static_cast<uint32_t>(random() % kLines);
        hashes[i] = (random() % 18) << 48 | random() >> 16;
      }
      search(lines, records, 5, bucket, hashes, n, matches, candidate);
      for (uint32_t i = 0; i < n; ++i) {
        const flow::TagLine& line = lines[bucket[i]];
        const uint32_t expected = flow::match_tags_portable(line, flow::stored_tag(hashes[i]));
        CHECK_EQ(matches[i], expected);
        const void* record = records + (bucket[i] * flow::kTagsPerLine +
                                        static_cast<uint32_t>(__builtin_ctz(expected | 1u << 31))) *
                                           size_t{32};
        CHECK(candidate[i] == (expected != 0 ? record : &line));
      }
    }
  }
}

TEST(ipv4_fills_to_its_capacity) {
  for (uint32_t capacity : {1u, 24u, 25u, 100u, 1024u, 20000u, 300000u}) {
    check_full_fill<FlowKey4>(capacity);
  }
}
TEST(ipv6_fills_to_its_capacity) {
  for (uint32_t capacity : {1u, 25u, 1024u, 100000u}) check_full_fill<FlowKey6>(capacity);
}

TEST(memory_a_flow_is_within_the_bar) {
  for (uint32_t capacity : {base::kFlowsMin, 65536u, 1000000u}) {
    // Whole pages and whole buckets, and the object itself, spread over the flows of a small table.
    const double slack = (4096.0 + 2064.0 + 256.0) / capacity;
    const auto ipv4 = FlowTable<FlowKey4>::create(capacity);
    CHECK(static_cast<double>(ipv4->memory_bytes()) / capacity <= 43.3 + slack);
    CHECK(static_cast<double>(ipv4->memory_bytes()) >=
          static_cast<double>(ipv4->index_end()) * (32 + 64.0 / 31));
    const auto ipv6 = FlowTable<FlowKey6>::create(capacity);
    CHECK(static_cast<double>(ipv6->memory_bytes()) / capacity <= 83.3 + slack);
    if (capacity < 65536) continue;
    CHECK(ipv4->memory_bytes() <= 45.0 * capacity);
    CHECK(ipv6->memory_bytes() <= 85.0 * capacity);
  }
}

TEST(few_records_are_away_from_home) {
  const Filled<FlowKey4> filled = fill<FlowKey4>(200000);
  const auto spread = filled.table->spread();
  // What the header says: about 1.2 of 100 records, about 10 of 100 buckets.
  CHECK(spread.displaced > 2000 && spread.displaced < 2800);
  CHECK(spread.overflowed * 100 < 12 * (filled.table->index_end() / 31));
}

TEST(blooms_are_clear_again_when_all_is_erased) {
  Filled<FlowKey4> filled = fill<FlowKey4>(50000);
  CHECK(filled.table->spread().overflowed > 0);
  for (uint32_t index : filled.indices) filled.table->erase(index);
  CHECK_EQ(filled.table->size(), 0u);
  CHECK_EQ(filled.table->spread().overflowed, 0u);
  CHECK_EQ(filled.table->spread().displaced, 0u);
}

TEST(a_table_that_churns_comes_to_a_steady_state) {
  Filled<FlowKey4> filled = fill<FlowKey4>(20000);
  std::mt19937_64 random(3);
  for (uint64_t next = 1'000'000; next < 1'400'000; ++next) {
    const size_t at = random() % filled.keys.size();
    filled.table->erase(filled.indices[at]);
    filled.keys[at] = numbered<FlowKey4>(next);
    filled.hashes[at] = flow::hash_key(kKey, filled.keys[at]);
    filled.indices[at] = filled.table->insert(filled.keys[at], filled.hashes[at]);
    REQUIRE(filled.indices[at] != kNoFlow);
  }
  CHECK_EQ(batch_mismatches(filled, 64), 0u);
  // Twenty times its flows later, always full: the steady state of the header, not a slow decay.
  const auto spread = filled.table->spread();
  CHECK(spread.displaced * 100 > 4 * filled.table->size());
  CHECK(spread.displaced * 100 < 8 * filled.table->size());
  CHECK(spread.overflowed * 100 < 60 * (filled.table->index_end() / 31));
}

TEST(insert_zeroes_the_state_and_indices_stay) {
  auto table = FlowTable<FlowKey6>::create(1024);
  const auto key = numbered<FlowKey6>(1);
  const uint64_t hash = flow::hash_key(kKey, key);
  const uint32_t first = table->insert(key, hash);
  REQUIRE(first != kNoFlow);
  std::memset(&table->at(first).state, 0xff, sizeof(flow::FlowState));
  table->at(first).spare = ~0ull;
  table->erase(first);
  CHECK(!table->occupied(first));
  CHECK_EQ(table->find(key, hash), kNoFlow);
  const uint32_t again = table->insert(key, hash);
  CHECK(table->occupied(again));
  CHECK_EQ(table->at(again).state.cookie, 0u);
  CHECK_EQ(table->at(again).state.idle, 0u);
  CHECK_EQ(table->at(again).spare, 0u);
  for (uint64_t i = 2; i < 1000; ++i) {
    const auto other = numbered<FlowKey6>(i);
    REQUIRE(table->insert(other, flow::hash_key(kKey, other)) != kNoFlow);
  }
  CHECK_EQ(table->find(key, hash), again);
  CHECK(!table->occupied(table->index_end()));
  CHECK(!table->occupied(kNoFlow));
}

TEST(many_are_erased_at_once) {
  Filled<FlowKey6> filled = fill<FlowKey6>(5000);
  filled.table->erase(filled.indices.data() + 100, 4000);
  filled.table->erase(filled.indices.data(), 0);
  CHECK_EQ(filled.table->size(), 1000u);
  for (uint32_t i = 0; i < 5000; ++i) {
    CHECK_EQ(filled.table->find(filled.keys[i], filled.hashes[i]),
             i < 100 || i >= 4100 ? filled.indices[i] : kNoFlow);
  }
}

TEST(a_lookup_of_nothing_writes_nothing) {
  const Filled<FlowKey4> filled = fill<FlowKey4>(1024);
  uint32_t index[1] = {7};
  filled.table->lookup(filled.keys.data(), filled.hashes.data(), 0, index);
  CHECK_EQ(index[0], 7u);
}

TEST(one_bucket_under_attack_stays_right_and_recovers) {
  // An attacker who knew the hash: everything to one bucket, one tag, one step. (Keyed hashes do
  // not allow it.) 16 buckets of 31 take 496 of them; the count of the home bucket is beyond its
  // maximum.
  auto table = FlowTable<FlowKey4>::create(20000);
  const uint32_t buckets = table->index_end() / 31;
  const uint64_t hash = hash_for(buckets - 3, buckets, 0x0042);  // probes wrap around the end
  std::vector<uint32_t> indices;
  for (uint64_t i = 0; i < 600; ++i) {
    const uint32_t index = table->insert(numbered<FlowKey4>(i), hash);
    if (i < 496) {
      REQUIRE(index != kNoFlow);
      indices.push_back(index);
    } else {
      CHECK_EQ(index, kNoFlow);
    }
  }
  for (uint64_t i = 0; i < 600; ++i) {
    CHECK_EQ(table->find(numbered<FlowKey4>(i), hash), i < 496 ? indices[i] : kNoFlow);
  }
  // Others are not disturbed.
  const uint64_t other = hash_for(buckets / 2, buckets, 0x0042);
  CHECK(table->insert(numbered<FlowKey4>(1000), other) != kNoFlow);

  // Erase from the front: those left are the ones furthest from home.
  for (size_t i = 0; i < 480; ++i) {
    table->erase(indices[i]);
    if (i % 60 != 0) continue;
    for (uint64_t k = i + 1; k < 496; ++k) {
      REQUIRE(table->find(numbered<FlowKey4>(k), hash) == indices[k]);
    }
  }
  CHECK(table->spread().overflowed > 0);
  const auto never = [](uint32_t, auto&) {};
  table->sweep(0, table->index_end(), never);  // recounts what had reached its maximum
  for (uint64_t k = 480; k < 496; ++k)
    CHECK_EQ(table->find(numbered<FlowKey4>(k), hash), indices[k]);
  for (size_t i = 480; i < 496; ++i) table->erase(indices[i]);
  CHECK_EQ(table->spread().overflowed, 0u);
  CHECK_EQ(table->size(), 1u);
}

TEST(tags_that_collide_are_told_apart_by_key) {
  auto table = FlowTable<FlowKey6>::create(1024);
  const uint32_t buckets = table->index_end() / 31;
  // Tag 0 is stored as 1 and must not be confused with a free place.
  for (uint16_t tag : {uint16_t{0}, uint16_t{1}}) {
    for (uint64_t i = 0; i < 12; ++i) {
      REQUIRE(table->insert(numbered<FlowKey6>(tag * 100u + i), hash_for(5, buckets, tag)) !=
              kNoFlow);
    }
  }
  FlowKey6 keys[26];
  uint64_t hashes[26];
  uint32_t index[26];
  for (uint32_t i = 0; i < 26; ++i) {  // 12 and 112 are not there
    keys[i] = numbered<FlowKey6>(i < 13 ? i : 100 + i - 13);
    hashes[i] = hash_for(5, buckets, i < 13 ? 0 : 1);
  }
  table->lookup(keys, hashes, 26, index);
  for (uint32_t i = 0; i < 26; ++i) {
    if (i % 13 == 12) {
      CHECK_EQ(index[i], kNoFlow);
      continue;
    }
    REQUIRE(index[i] != kNoFlow);
    CHECK_EQ(std::memcmp(&table->at(index[i]).key, &keys[i], sizeof keys[i]), 0);
  }
}

TEST(sweep_ends_what_is_idle_across_the_wrap) {
  auto table = FlowTable<FlowKey4>::create(1024);
  table->set_idle(0, 1000);
  table->set_idle(1, 5000);
  const uint32_t start = 0xfffffe00;  // 512 ms before the wrap
  uint32_t index[4];
  for (uint32_t i = 0; i < 4; ++i) {
    const auto key = numbered<FlowKey4>(i);
    index[i] = table->insert(key, flow::hash_key(kKey, key));
    table->at(index[i]).state.last_seen_ms = start;
    table->at(index[i]).state.idle = static_cast<uint8_t>(i);  // classes 2, 3 were never set
  }
  std::vector<uint32_t> ended;
  const auto record = [&](uint32_t at, flow::FlowRecord<FlowKey4>& flow) {
    CHECK(table->occupied(at));
    CHECK_EQ(flow.state.last_seen_ms, start);
    ended.push_back(at);
  };
  const uint32_t all = table->index_end();
  CHECK_EQ(table->sweep(start - 1, all, record), 0u);  // a clock that is 1 ms behind ends nothing
  CHECK_EQ(table->sweep(start + 999, all, record), 0u);
  CHECK_EQ(table->sweep(start + 1000, all, record), 1u);
  CHECK_EQ(table->sweep(start + 4999, all, record), 0u);
  CHECK_EQ(table->sweep(start + 5000, all, record), 1u);
  CHECK_EQ(table->sweep(start + 0x7fffffff, all, record), 0u);
  REQUIRE(ended.size() == 2);
  CHECK_EQ(ended[0], index[0]);
  CHECK_EQ(ended[1], index[1]);
  CHECK_EQ(table->size(), 2u);
}

TEST(sweep_goes_round_in_steps_of_any_size) {
  Filled<FlowKey4> filled = fill<FlowKey4>(1024);
  FlowTable<FlowKey4>& table = *filled.table;
  table.set_idle(0, 1);
  std::unordered_set<uint32_t> ended;
  const auto record = [&](uint32_t at, auto&) { ended.insert(at); };
  uint32_t examined = 0;
  uint32_t reported = 0;
  for (uint32_t step = 1; examined < table.index_end(); step = step * 3 % 97 + 1) {
    const uint32_t positions = std::min(step, table.index_end() - examined);
    const uint32_t before = table.size();
    const uint32_t erased = table.sweep(5, positions, record);
    CHECK(erased <= positions);
    CHECK_EQ(before - table.size(), erased);
    reported += erased;
    examined += positions;
  }
  CHECK_EQ(reported, 1024u);
  CHECK_EQ(ended.size(), 1024u);
  CHECK_EQ(table.size(), 0u);
  // More than a round is a round.
  CHECK_EQ(table.sweep(5, 0xffffffff, record), 0u);
  CHECK_EQ(table.sweep(5, 0, record), 0u);
}

TEST(clear_forgets_flows_and_keeps_timeouts) {
  Filled<FlowKey4> filled = fill<FlowKey4>(5000);
  filled.table->set_idle(0, 10);
  filled.table->clear();
  CHECK_EQ(filled.table->size(), 0u);
  CHECK_EQ(filled.table->find(filled.keys[0], filled.hashes[0]), kNoFlow);
  CHECK_EQ(filled.table->spread().overflowed, 0u);
  for (size_t i = 0; i < filled.keys.size(); ++i) {
    REQUIRE(filled.table->insert(filled.keys[i], filled.hashes[i]) != kNoFlow);
  }
  CHECK_EQ(filled.table->sweep(10, filled.table->index_end(), [](uint32_t, auto&) {}), 5000u);
}
