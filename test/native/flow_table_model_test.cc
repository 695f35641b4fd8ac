// The flow table against a std::unordered_map on random sequences of operations.
#include <algorithm>
#include <memory>
#include <random>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "flow/flow_table.h"
#include "test/native/flow_rig.h"
#include "test/native/test.h"

using namespace gwlb;
using namespace gwlb::test;
using flow::FlowKey4;
using flow::FlowKey6;
using flow::FlowTable;
using flow::kNoFlow;

namespace {

// The same operations on the table and on a std::unordered_map.
template <class Key>
class ModelRun {
 public:
  ModelRun(uint32_t capacity, uint32_t keys_in_play, bool bad_hash, uint64_t seed)
      : table_(FlowTable<Key>::create(capacity)),
        keys_(keys_in_play),
        bad_hash_(bad_hash),
        random_(seed) {
    for (uint32_t c = 0; c < flow::kIdleClasses; ++c) table_->set_idle(c, 1000 * (c + 1));
  }

  void run(uint32_t steps) {
    for (uint32_t i = 0; i < steps; ++i) {
      switch (random_() % 8) {
        case 0:
        case 1:
        case 2:
          for (uint32_t n = 0; n < 16; ++n) insert(random_() % keys_);
          break;
        case 3:
          for (uint32_t n = 0; n < 8; ++n) erase(random_() % keys_);
          break;
        case 4:
        case 5:
          lookup();
          break;
        case 6:
          sweep(static_cast<uint32_t>(random_() % 400));
          break;
        default:
          pass_time();
          break;
      }
      CHECK_EQ(table_->size(), model_.size());
    }
    lookup_everything();
  }
  uint32_t refused = 0;

 private:
  struct Entry {
    uint32_t index;
    uint32_t last_seen_ms;
    uint16_t idle;
  };

  Key key(uint64_t number) const { return numbered<Key>(number); }
  uint64_t hash(uint64_t number) const {
    if (!bad_hash_) return flow::hash_key(kKey, key(number));
    // Two buckets, two tags.
    return hash_for(static_cast<uint32_t>(number % 2), table_->index_end() / 31,
                    static_cast<uint16_t>(number / 2 % 2 * 9));
  }

  void insert(uint64_t number) {
    if (model_.count(number) != 0) return;
    const uint32_t index = table_->insert(key(number), hash(number));
    if (index == kNoFlow) {
      ++refused;
      CHECK(bad_hash_ || table_->size() == table_->capacity());
      return;
    }
    auto& state = table_->at(index).state;
    state.last_seen_ms = now_ms_;
    state.idle = static_cast<uint8_t>(random_() % flow::kIdleClasses);
    state.cookie = static_cast<uint32_t>(number);
    model_[number] = {index, now_ms_, state.idle};
  }

  void erase(uint64_t number) {
    const auto entry = model_.find(number);
    if (entry == model_.end()) return;
    if (random_() % 2 == 0) {
      table_->erase(&entry->second.index, 1);
    } else {
      table_->erase(entry->second.index);
    }
    model_.erase(entry);
  }

  void lookup() {
    const auto n = static_cast<uint32_t>(random_() % (base::kBatchPacketsMax + 1));
    std::vector<uint64_t> numbers;
    for (uint32_t i = 0; i < n; ++i) numbers.push_back(random_() % keys_);
    check(numbers, true);
  }

  void lookup_everything() {
    for (uint64_t at = 0; at < keys_; at += 256) {
      std::vector<uint64_t> numbers;
      for (uint64_t i = at; i < at + 256 && i < keys_; ++i) numbers.push_back(i);
      check(numbers, false);
    }
  }

  void check(const std::vector<uint64_t>& numbers, bool touch) {
    Key keys[base::kBatchPacketsMax];
    uint64_t hashes[base::kBatchPacketsMax];
    uint32_t index[base::kBatchPacketsMax];
    const auto n = static_cast<uint32_t>(numbers.size());
    for (uint32_t i = 0; i < n; ++i) {
      keys[i] = key(numbers[i]);
      hashes[i] = hash(numbers[i]);
    }
    if (random_() % 2 == 0) {
      table_->lookup(keys, hashes, n, index);
    } else {
      table_->lookup_with(base::Simd::portable, keys, hashes, n, index);
    }
    for (uint32_t i = 0; i < n; ++i) {
      const auto entry = model_.find(numbers[i]);
      const uint32_t expected = entry != model_.end() ? entry->second.index : kNoFlow;
      CHECK_EQ(index[i], expected);
      CHECK_EQ(table_->find(keys[i], hashes[i]), expected);
      if (expected == kNoFlow) continue;
      CHECK(table_->holds(index[i], keys[i]));
      CHECK_EQ(table_->at(index[i]).state.cookie, static_cast<uint32_t>(numbers[i]));
      if (!touch) continue;
      table_->at(index[i]).state.last_seen_ms = now_ms_;
      entry->second.last_seen_ms = now_ms_;
    }
  }

  void sweep(uint32_t positions) {
    positions = std::min(positions, table_->index_end());
    std::unordered_set<uint32_t> expected;  // indices in the window whose time is over
    for (const auto& [number, entry] : model_) {
      const uint32_t ahead = (entry.index + table_->index_end() - cursor_) % table_->index_end();
      const uint32_t idle = now_ms_ - entry.last_seen_ms;
      if (ahead < positions && idle >= 1000u * (entry.idle + 1u)) expected.insert(entry.index);
    }
    const size_t due = expected.size();
    const uint32_t erased = table_->sweep(now_ms_, positions, [&](uint32_t index, auto& record) {
      CHECK_EQ(expected.erase(index), 1u);
      CHECK_EQ(model_.erase(record.state.cookie), 1u);
    });
    CHECK_EQ(erased, due);
    CHECK(expected.empty());
    cursor_ = (cursor_ + positions) % table_->index_end();
  }

  void pass_time() {
    const uint64_t kind = random_() % 20;
    now_ms_ += static_cast<uint32_t>(random_() % (kind == 0 ? 3000 : 60));
  }

  std::unique_ptr<FlowTable<Key>> table_;
  uint64_t keys_;
  bool bad_hash_;
  std::mt19937_64 random_;
  std::unordered_map<uint64_t, Entry> model_;
  uint32_t now_ms_ = 0xffffd000;  // wraps soon
  uint32_t cursor_ = 0;
};

template <class Key>
void check_against_model(uint32_t capacity, uint32_t steps, uint32_t keys_in_play, bool bad_hash) {
  ModelRun<Key> run(capacity, keys_in_play, bad_hash, capacity + keys_in_play);
  run.run(steps);
  CHECK(run.refused > 0);  // it was full at times
}

}  // namespace

TEST(ipv4_agrees_with_a_model) {
  check_against_model<FlowKey4>(30, 20000, 200, false);  // two buckets
  check_against_model<FlowKey4>(1000, 20000, 1500, false);
  check_against_model<FlowKey4>(600, 20000, 4000, false);
}
TEST(ipv6_agrees_with_a_model) {
  check_against_model<FlowKey6>(30, 20000, 200, false);
  check_against_model<FlowKey6>(1000, 20000, 1500, false);
}
TEST(colliding_hashes_agree_with_a_model) {
  check_against_model<FlowKey4>(4000, 10000, 4000, true);
}
