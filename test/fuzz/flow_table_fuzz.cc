// A flow table, driven by the input, against a std::unordered_map: insert, erase, lookup in
// batches, sweep, time jumps (across 2^32 as well), clear. The first byte picks the key's size, the
// capacity and whether hashes are good ones or collide.
#include <algorithm>
#include <cstring>
#include <memory>
#include <unordered_map>
#include <vector>

#include "flow/flow_table.h"
#include "test/fuzz/fuzz.h"

using namespace gwlb;
using flow::FlowTable;
using flow::kNoFlow;

namespace {

constexpr base::HashKey kKey{0x5851f42d4c957f2d, 0x14057b7ef767814f};

template <class Key>
class Run {
 public:
  Run(Input input, uint32_t capacity, bool colliding)
      : input_(input), table_(FlowTable<Key>::create(capacity)), colliding_(colliding) {
    FUZZ_CHECK(table_ != nullptr);
    for (uint32_t c = 0; c < flow::kIdleClasses; ++c) table_->set_idle(c, timeout(c));
  }

  void run() {
    while (input_.more()) {
      switch (input_.byte() % 8) {
        case 0:
          insert(input_.number() % kNumbers);
          break;
        case 1:
          insert_run();
          break;
        case 2:
          erase_run();
          break;
        case 3:
          lookup();
          break;
        case 4:
          sweep(input_.number());
          break;
        case 5:
          now_ms_ += input_.byte();
          break;
        case 6:
          now_ms_ += input_.number() << 12;
          break;  // up to 2^28
        default:
          rarely();
          break;
      }
      FUZZ_CHECK(table_->size() == model_.size());
    }
    check_everything();
  }

 private:
  static constexpr uint32_t kNumbers = 700;

  struct Entry {
    uint32_t index;
    uint32_t last_seen_ms;
    uint16_t idle;
  };

  static uint32_t timeout(uint32_t idle_class) { return idle_class * idle_class * 50; }

  Key key(uint32_t number) const {
    Key key{};
    base::store_be32(key.high, number);
    key.protocol = static_cast<uint8_t>(number);
    key.kind = 5;
    return key;
  }
  uint64_t hash(uint32_t number) const {
    if (!colliding_) return flow::hash_key(kKey, key(number));
    return uint64_t{number % 3 * 8} << 48 | uint64_t{number % 2 * 0xc0000000} << 16;
  }

  void insert(uint32_t number) {
    if (model_.count(number) != 0) return;
    const uint32_t index = table_->insert(key(number), hash(number));
    if (index == kNoFlow) {
      FUZZ_CHECK(colliding_ || table_->size() == table_->capacity());
      return;
    }
    FUZZ_CHECK(index < table_->index_end() && table_->occupied(index));
    flow::FlowState& state = table_->at(index).state;
    FUZZ_CHECK(state.cookie == 0 && state.last_seen_ms == 0 && state.idle == 0);
    state.cookie = number;
    state.last_seen_ms = now_ms_;
    state.idle = static_cast<uint8_t>(number % flow::kIdleClasses);
    model_[number] = {index, now_ms_, state.idle};
  }

  void insert_run() {
    const uint32_t first = input_.number();
    for (uint32_t n = input_.byte() % 64 + 1u; n > 0; --n) insert((first + n) % kNumbers);
  }

  void erase_run() {
    const uint32_t first = input_.number();
    for (uint32_t n = input_.byte() % 64 + 1u; n > 0; --n) {
      const auto entry = model_.find((first + n * 7) % kNumbers);
      if (entry == model_.end()) continue;
      table_->erase(entry->second.index);
      FUZZ_CHECK(!table_->occupied(entry->second.index));
      model_.erase(entry);
    }
  }

  void lookup() {
    const uint32_t first = input_.number();
    const uint32_t stride = input_.byte();
    const uint32_t n = input_.byte();
    const bool portable = input_.byte() % 2 != 0;
    check(first, stride, n, portable);
  }

  void check(uint32_t first, uint32_t stride, uint32_t n, bool portable) {
    std::vector<Key> keys(n);
    std::vector<uint64_t> hashes(n);
    std::vector<uint32_t> index(n);
    for (uint32_t i = 0; i < n; ++i) {
      keys[i] = key((first + i * stride) % kNumbers);
      hashes[i] = hash((first + i * stride) % kNumbers);
    }
    const base::Simd simd = portable ? base::Simd::portable : base::simd_of_machine();
    table_->lookup_with(simd, keys.data(), hashes.data(), n, index.data());
    for (uint32_t i = 0; i < n; ++i) {
      const auto entry = model_.find((first + i * stride) % kNumbers);
      const uint32_t expected = entry == model_.end() ? kNoFlow : entry->second.index;
      FUZZ_CHECK(table_->find(keys[i], hashes[i]) == expected);
      FUZZ_CHECK(index[i] == expected);
      if (index[i] == kNoFlow) continue;
      FUZZ_CHECK(std::memcmp(&table_->at(index[i]).key, &keys[i], sizeof(Key)) == 0);
      table_->at(index[i]).state.last_seen_ms = now_ms_;
      entry->second.last_seen_ms = now_ms_;
    }
  }

  void sweep(uint32_t positions) {
    const uint32_t end = table_->index_end();
    positions = std::min(positions, end);
    uint32_t due = 0;
    for (const auto& [number, entry] : model_) due += over(entry, positions);
    const uint32_t erased = table_->sweep(now_ms_, positions, [&](uint32_t index, auto& record) {
      const auto entry = model_.find(record.state.cookie);
      FUZZ_CHECK(entry != model_.end() && entry->second.index == index);
      FUZZ_CHECK(over(entry->second, positions));
      model_.erase(entry);
    });
    FUZZ_CHECK(erased == due);
    cursor_ = (cursor_ + positions) % end;
  }

  bool over(const Entry& entry, uint32_t positions) const {
    const uint32_t end = table_->index_end();
    const uint32_t idle = now_ms_ - entry.last_seen_ms;
    return (entry.index + end - cursor_) % end < positions && idle < 1u << 31 &&
           idle >= timeout(entry.idle);
  }

  void rarely() {
    const uint8_t what = input_.byte();
    if (what == 0) {
      table_->clear();
      model_.clear();
      cursor_ = 0;
    }
    if (what == 1) now_ms_ = 0xffffffff;
    if (what == 2) check_everything();
  }

  void check_everything() {
    for (uint32_t first = 0; first < kNumbers; first += 175) check(first, 1, 175, 0);
    static_assert(kNumbers % 175 == 0);
    uint32_t occupied = 0;
    for (uint32_t index = 0; index < table_->index_end(); ++index) {
      occupied += table_->occupied(index);
    }
    FUZZ_CHECK(occupied == model_.size());
    if (model_.empty()) {
      // Whatever had reached its maximum is counted anew; then nothing may be left behind.
      // (A whole round: the next sweep starts where it would have.)
      table_->sweep(now_ms_, table_->index_end(), [](uint32_t, auto&) {});
      FUZZ_CHECK(table_->spread().displaced == 0 && table_->spread().overflowed == 0);
    }
  }

  Input input_;
  std::unique_ptr<FlowTable<Key>> table_;
  bool colliding_;
  std::unordered_map<uint32_t, Entry> model_;
  uint32_t now_ms_ = 0xffff0000;
  uint32_t cursor_ = 0;
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) return 0;
  constexpr uint32_t kCapacities[] = {1, 25, 60, 100, 250, 450, 500, 600};
  const uint32_t capacity = kCapacities[data[0] % 8];
  const bool colliding = (data[0] & 0x40) != 0;
  const Input input(data + 1, size - 1);
  if ((data[0] & 0x80) == 0) {
    Run<flow::FlowKey4>(input, capacity, colliding).run();
  } else {
    Run<flow::FlowKey6>(input, capacity, colliding).run();
  }
  return 0;
}
