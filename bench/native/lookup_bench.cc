// Flow tables: ours and those that others would take. Batches of 64; keys and hashes of a round are
// put into the second cache first, where a batch's are after parsing. Hashes are computed before
// (they have a row of their own), but for "rte_hash", which computes its own. All tables are on
// huge pages and touched before. Every hit writes the time the flow was seen. Beside the peers:
//   limit   independent random cache lines, prefetched 64 at a time, over as much memory as ours
//   has
// An insert includes finding out that the key is not there, a delete finding it.
#include <memory>
#include <random>
#include <type_traits>

#include "base/prefetch.h"
#include "bench/native/bench.h"
#include "bench/native/peers/peer.h"
#include "flow/flow_table.h"

using namespace gwlb;
using bench::Peer;
using flow::FlowTable;

namespace {

constexpr uint32_t kBatch = 64;
constexpr uint32_t kRound = 4096;  // keys
constexpr uint32_t kRounds = 201;
constexpr base::HashKey kKey{0x243f6a8885a308d3, 0x13198a2e03707344};

template <class Key>
Key numbered(uint32_t number) {
  Key key{};
  const uint64_t mixed = number * 0x9e3779b97f4a7c15;
  std::memcpy(key.low, &mixed, 4);
  std::memcpy(key.high, &number, 4);
  std::memcpy(key.low_port, &mixed, 2);
  key.protocol = 6;
  key.kind = 5;
  return key;
}

// Our table behind the same functions as the others.
template <class Key>
struct Ours {
  static FlowTable<Key>& of(void* table) { return *static_cast<FlowTable<Key>*>(table); }
  static const Key* at(const void* keys, uint32_t i) { return static_cast<const Key*>(keys) + i; }

  static void* create(uint32_t flows) { return FlowTable<Key>::create(flows).release(); }
  static void destroy(void* table) { delete &of(table); }
  static uint64_t memory_bytes(void* table) { return of(table).memory_bytes(); }

  static uint32_t insert(void* table, const void* keys, const uint64_t* hashes, uint32_t n,
                         uint32_t* values) {
    uint32_t added = 0;
    uint32_t index[kBatch];
    for (uint32_t from = 0; from < n; from += kBatch) {
      const uint32_t count = std::min(kBatch, n - from);
      of(table).lookup(at(keys, from), hashes + from, count, index);
      for (uint32_t i = 0; i < count; ++i) {
        if (index[i] != flow::kNoFlow) continue;
        values[from + i] = of(table).insert(*at(keys, from + i), hashes[from + i]);
        added += values[from + i] != flow::kNoFlow;
      }
    }
    return added;
  }
  static uint32_t erase(void* table, const void* keys, const uint64_t* hashes, uint32_t n) {
    uint32_t erased = 0;
    uint32_t index[kBatch];
    for (uint32_t from = 0; from < n; from += kBatch) {
      const uint32_t count = std::min(kBatch, n - from);
      of(table).lookup(at(keys, from), hashes + from, count, index);
      const auto found =
          static_cast<uint32_t>(std::remove(index, index + count, flow::kNoFlow) - index);
      of(table).erase(index, found);
      erased += found;
    }
    return erased;
  }
  static uint32_t lookup(void* table, const void* keys, const uint64_t* hashes, uint32_t n,
                         uint32_t now, uint32_t* values) {
    uint32_t found = 0;
    of(table).lookup(at(keys, 0), hashes, n, values);
    for (uint32_t i = 0; i < n; ++i) {
      if (values[i] == flow::kNoFlow) continue;
      of(table).at(values[i]).state.last_seen_ms = now;
      ++found;
    }
    return found;
  }
  // By position in the table; those that are not taken cost as well.
  static uint32_t sweep(void* table, uint32_t n, uint32_t now) {
    const uint64_t positions = std::min(of(table).index_end(), n);
    bench::use(of(table).sweep(now, static_cast<uint32_t>(positions), [](uint32_t, auto&) {}));
    return static_cast<uint32_t>(positions * of(table).size() / of(table).index_end());
  }

  static constexpr Peer peer() {
    return {"ours",       "",     true,  sizeof(Key), create, destroy,
            memory_bytes, insert, erase, lookup,      sweep};
  }
};

template <class Key>
constexpr Peer kOurs = Ours<Key>::peer();

// Keys of a round.
template <class Key>
struct Input {
  std::vector<Key> keys = std::vector<Key>(kRound);
  std::vector<uint64_t> hashes = std::vector<uint64_t>(kRound);
  std::vector<uint32_t> values = std::vector<uint32_t>(kRound);
  void set(uint32_t i, uint32_t number) {
    keys[i] = numbered<Key>(number);
    hashes[i] = flow::hash_key(kKey, keys[i]);
  }
};

// A table with flows 0 to n - 1 in it. Updates replace some of them by ever new ones.
template <class Key>
class Contestant {
 public:
  Contestant(const Peer& peer, uint32_t flows) : peer_(peer), flows_(flows), next_(flows) {
    table_ = peer.create(flows);
    bench::prove(table_ != nullptr, "there is memory for every table");
    std::vector<uint32_t> values(flows);
    for (uint32_t from = 0; from < flows; from += kRound) {
      const uint32_t count = std::min(kRound, flows - from);
      for (uint32_t i = 0; i < count; ++i) {
        input_.set(i, from + i);
        values[from + i] = from + i;
      }
      bench::prove(peer.insert(table_, input_.keys.data(), input_.hashes.data(), count,
                               &values[from]) == count,
                   "every flow is in every table");
    }
    prove(values);
  }
  ~Contestant() { peer_.destroy(table_); }

  const Peer& peer() const { return peer_; }
  double bytes_a_flow() const { return static_cast<double>(peer_.memory_bytes(table_)) / flows_; }

  uint64_t lookup(const Input<Key>& input, uint32_t round, bool present) {
    uint32_t found = 0;
    uint32_t values[kBatch];
    for (uint32_t at = 0; at < kRound; at += kBatch) {
      found += peer_.lookup(table_, &input.keys[at], &input.hashes[at], kBatch, round, values);
      bench::use(values[0]);
    }
    bench::prove(found == (present ? kRound : 0), "a key is found where it should be");
    return kRound;
  }

  // Takes kRound flows out, and makes keys of as many new ones.
  void make_room() {
    choose();
    erase();
    renew();
  }
  // The keys of kRound flows that are there.
  void make_full() {
    if (out_) insert();
    choose();
  }
  uint64_t insert() {
    out_ = false;
    bench::prove(peer_.insert(table_, input_.keys.data(), input_.hashes.data(), kRound,
                              input_.values.data()) == kRound,
                 "new flows have room");
    return kRound;
  }
  uint64_t erase() {
    bench::prove(peer_.erase(table_, input_.keys.data(), input_.hashes.data(), kRound) == kRound,
                 "flows that are there can be deleted");
    out_ = true;
    return kRound;
  }
  // After a round of deletes: as many new ones for the next.
  void renew() {
    for (uint32_t i = 0; i < kRound; ++i) {
      live_[i] = next_++;
      input_.set(i, live_[i]);
    }
  }
  void restore() {
    if (!out_) return;
    renew();
    insert();
  }
  uint64_t sweep(uint32_t round) { return peer_.sweep(table_, kRound, round); }

  // Parts of a round, for contenders that go back and forth between two tables.
  void choose_some_absent() {
    for (uint32_t i = 0; i < kRound; ++i) {
      input_.set(i, static_cast<uint32_t>(random_() % flows_) + (i % 10 == 0 ? next_ : 0));
    }
  }
  void lookup_part(uint32_t from, uint32_t n, uint32_t round) {
    bench::use(peer_.lookup(table_, &input_.keys[from], &input_.hashes[from], n, round,
                            &input_.values[from]));
  }
  void insert_part(uint32_t from, uint32_t n) {
    out_ = false;
    bench::prove(peer_.insert(table_, &input_.keys[from], &input_.hashes[from], n,
                              &input_.values[from]) == n,
                 "new flows have room");
  }

 private:
  void prove(const std::vector<uint32_t>& values) {
    uint32_t found = 0, absent = 0, wrong = 0;
    for (uint32_t at = 0; at < flows_; at += kBatch) {
      const uint32_t count = std::min(kBatch, flows_ - at);
      for (uint32_t i = 0; i < count; ++i) input_.set(i, at + i);
      found += look(count);
      for (uint32_t i = 0; i < count; ++i) wrong += input_.values[i] != values[at + i];
      for (uint32_t i = 0; i < count; ++i) input_.set(i, flows_ + at + i);
      absent += look(count);
    }
    bench::prove(found == flows_, "every table finds every flow");
    bench::prove(wrong == 0, "and gives what was stored with it");
    bench::prove(absent == 0, "and no other");
  }
  uint32_t look(uint32_t count) {
    return peer_.lookup(table_, input_.keys.data(), input_.hashes.data(), count, 1,
                        input_.values.data());
  }

  // kRound of those that are there, at random, to the front of live_.
  void choose() {
    if (live_.empty()) {
      live_.resize(flows_);
      for (uint32_t i = 0; i < flows_; ++i) live_[i] = i;
    }
    for (uint32_t i = 0; i < kRound; ++i) {
      std::swap(live_[i], live_[i + random_() % (flows_ - i)]);
      input_.set(i, live_[i]);
    }
  }

  const Peer& peer_;
  void* table_;
  uint32_t flows_;
  uint32_t next_;
  bool out_ = false;
  std::vector<uint32_t> live_;
  std::mt19937_64 random_{11};
  Input<Key> input_;
};

template <class Key>
class Rig {
 public:
  explicit Rig(uint32_t flows) : flows_(flows), random_(flows) {
    for (const Peer* peer :
         {&kOurs<Key>, &bench::rte_hash_bulk(sizeof(Key)),
          &bench::rte_hash_with_hash_bulk(sizeof(Key)), &bench::boost_flat_map(sizeof(Key)),
          &bench::absl_flat_hash_map(sizeof(Key))}) {
      if (peer->installed) {
        tables_.push_back(std::make_unique<Contestant<Key>>(*peer, flows));
      } else {
        about_.missing.push_back({peer->name, peer->package});
      }
    }
    lines_ = std::make_unique<flow::Pages>(
        flow::Pages::map(static_cast<size_t>(tables_[0]->bytes_a_flow() * flows)));
  }

  const bench::About& about() const { return about_; }

  std::vector<bench::Contender> lookups(bool present) {
    const auto body = [this, present](Contestant<Key>& table, uint32_t round) {
      return table.lookup(input_, round, present);
    };
    // What fits the cache is in it, whoever was there in between.
    const auto prepare = [this, present](Contestant<Key>& table) {
      for (uint32_t i = 0; i < warm_rounds(); ++i) {
        choose(present ? 0 : flows_);
        table.lookup(input_, i, present);
      }
      choose(present ? 0 : flows_);
    };
    std::vector<bench::Contender> all = contenders(body, prepare);
    all.insert(all.begin() + 1, {"limit", [this](uint32_t) { return limit(); },
                                 [this](uint32_t) {
                                   for (uint32_t i = 0; i < warm_rounds(); ++i) {
                                     choose_lines();
                                     limit();
                                   }
                                   choose_lines();
                                 }});
    return all;
  }
  std::vector<bench::Contender> inserts() {
    return contenders([](auto& table, uint32_t) { return table.insert(); },
                      [](auto& table) { table.make_room(); });
  }
  std::vector<bench::Contender> deletes() {
    return contenders([](auto& table, uint32_t) { return table.erase(); },
                      [](auto& table) {
                        table.restore();
                        table.make_full();
                      });
  }
  std::vector<bench::Contender> sweeps() {
    return contenders([](auto& table, uint32_t round) { return table.sweep(round); }, [](auto&) {});
  }
  std::vector<bench::Samples> memory() const {
    std::vector<bench::Samples> samples;
    for (auto& table : tables_) samples.push_back({table->peer().name, {table->bytes_a_flow()}});
    return samples;
  }

 private:
  template <class Body, class Prepare>
  std::vector<bench::Contender> contenders(Body body, Prepare prepare) {
    std::vector<bench::Contender> all;
    for (auto& table : tables_) {
      Contestant<Key>* one = table.get();
      all.push_back({one->peer().name, [=](uint32_t round) { return body(*one, round); },
                     [=](uint32_t) { prepare(*one); }});
    }
    return all;
  }

  uint32_t warm_rounds() const { return flows_ <= 10'000 ? 8 : 1; }
  void choose(uint32_t first) {
    for (uint32_t i = 0; i < kRound; ++i) {
      input_.set(i, first + static_cast<uint32_t>(random_() % flows_));
    }
  }
  void choose_lines() {
    const uint64_t count = lines_->bytes() / 64;
    for (uint32_t& line : line_numbers_) line = static_cast<uint32_t>(random_() % count);
  }
  uint64_t limit() {
    const auto* memory = static_cast<const uint8_t*>(lines_->data());
    uint64_t sum = 0;
    for (uint32_t at = 0; at < kRound; at += kBatch) {
      for (uint32_t i = 0; i < kBatch; ++i) {
        base::prefetch(memory + size_t{line_numbers_[at + i]} * 64);
      }
      for (uint32_t i = 0; i < kBatch; ++i) {
        sum += base::load<uint64_t>(memory + size_t{line_numbers_[at + i]} * 64);
      }
    }
    bench::use(sum);
    return kRound;
  }

  uint32_t flows_;
  std::mt19937_64 random_;
  bench::About about_;
  std::vector<std::unique_ptr<Contestant<Key>>> tables_;
  std::unique_ptr<flow::Pages> lines_;
  std::vector<uint32_t> line_numbers_ = std::vector<uint32_t>(kRound);
  Input<Key> input_;
};

template <class Key>
void run(bench::Suite& suite, const std::string& family, uint32_t flows, const char* size) {
  const std::string tail = family + " " + size;
  const auto wanted = [&](const char* kind) { return suite.wanted(kind + tail); };
  const bool lookup = wanted("lookup "), miss = wanted("miss ");
  const bool sweep = wanted("sweep "), memory = wanted("memory ");
  // Ten million flows are for what each packet does.
  const bool updates = flows <= 1'000'000;
  const bool insert = updates && wanted("insert "), erase = updates && wanted("delete ");
  if (!lookup && !miss && !sweep && !memory && !insert && !erase) return;

  Rig<Key> rig(flows);
  const auto one = [&](const char* kind, const std::vector<bench::Contender>& contenders) {
    suite.run(kind + tail, "ns", kRounds, 1, contenders, rig.about());
  };
  if (lookup) one("lookup ", rig.lookups(true));
  if (miss) one("miss ", rig.lookups(false));
  if (sweep) one("sweep ", rig.sweeps());
  if (memory) suite.report("memory " + tail, "B/flow", rig.memory(), rig.about());
  if (insert) one("insert ", rig.inserts());
  if (erase) one("delete ", rig.deletes());
}

// Batches of both families against batches of one: half a million flows each, every tenth packet of
// a flow that is not there.
void mixed(bench::Suite& suite) {
  const std::string size = suite.options().quick ? " mixed 10k" : " mixed 1m";
  const bool lookup = suite.wanted("lookup" + size), insert = suite.wanted("insert" + size);
  if (!lookup && !insert) return;
  const uint32_t flows = suite.options().quick ? 5'000 : 500'000;
  Contestant<flow::FlowKey4> four(kOurs<flow::FlowKey4>, flows);
  Contestant<flow::FlowKey6> six(kOurs<flow::FlowKey6>, flows);
  const auto in_parts = [](uint32_t n, auto part4, auto part6) -> uint64_t {
    for (uint32_t from = 0; from < kRound; from += n) {
      part4(from, n);
      part6(from, n);
    }
    return 2 * kRound;
  };
  const auto contenders = [&](auto body, auto prepare) -> std::vector<bench::Contender> {
    return {{"ours", [=](uint32_t round) { return body(kBatch / 2, round); }, prepare},
            {"uniform", [=](uint32_t round) { return body(kBatch, round); }, prepare}};
  };
  const auto look_up = [&](uint32_t n, uint32_t round) {
    return in_parts(
        n, [&](uint32_t from, uint32_t m) { four.lookup_part(from, m, round); },
        [&](uint32_t from, uint32_t m) { six.lookup_part(from, m, round); });
  };
  const auto add = [&](uint32_t n, uint32_t) {
    return in_parts(
        n, [&](uint32_t from, uint32_t m) { four.insert_part(from, m); },
        [&](uint32_t from, uint32_t m) { six.insert_part(from, m); });
  };
  if (lookup) {
    suite.run("lookup" + size, "ns", kRounds, 1, contenders(look_up, [&](uint32_t) {
                four.choose_some_absent();
                six.choose_some_absent();
              }));
  }
  if (insert) {
    suite.run("insert" + size, "ns", kRounds, 1, contenders(add, [&](uint32_t) {
                four.make_room();
                six.make_room();
              }));
  }
}

template <class Key>
void hash(bench::Suite& suite, const std::string& family) {
  if (!suite.wanted("hash " + family)) return;
  Input<Key> input;
  for (uint32_t i = 0; i < kRound; ++i) input.set(i, i);
  const auto body = [&](uint32_t) -> uint64_t {
    for (uint32_t at = 0; at < kRound; at += kBatch) {
      flow::hash_keys(kKey, &input.keys[at], kBatch, &input.hashes[at]);
    }
    return kRound;
  };
  suite.run("hash " + family, "ns", kRounds, 1, {{"ours", body}});
}

}  // namespace

int main(int argc, char** argv) {
  bench::Options options;
  if (!bench::parse_options(argc, argv, &options)) return 2;
  bench::Suite suite("lookup", options);
  hash<flow::FlowKey4>(suite, "ipv4");
  hash<flow::FlowKey6>(suite, "ipv6");
  const struct {
    uint32_t flows;
    const char* name;
  } sizes[] = {{10'000, "10k"}, {100'000, "100k"}, {1'000'000, "1m"}, {10'000'000, "10m"}};
  for (const auto& size : sizes) {
    if (options.quick && size.flows > 10'000) continue;
    run<flow::FlowKey4>(suite, "ipv4", size.flows, size.name);
    run<flow::FlowKey6>(suite, "ipv6", size.flows, size.name);
  }
  mixed(suite);
  return 0;
}
