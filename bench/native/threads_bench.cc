// What a second worker brings. Each has a gateway, flows and packets of its own, as workers do;
// nothing is shared but the machine. How much that gives is what the limit shows: two threads that
// read independent, prefetched lines of as much memory. Scaling is twice the time one takes alone,
// divided by the time each takes beside the other; 2 is perfect. CPU time of each thread.
#include <atomic>
#include <random>
#include <thread>

#include "base/prefetch.h"
#include "bench/native/bench.h"
#include "bench/native/gateway_rig.h"
#include "flow/pages.h"

using namespace gwlb;

namespace {

constexpr uint32_t kFlows = 64 * 1024;
constexpr uint64_t kNow = 1000;

// Work of one thread; made on its core, so that its memory is.
class Worker {
 public:
  virtual ~Worker() = default;
  virtual void prepare() = 0;
  virtual uint64_t run() = 0;  // returns operations
};

class Passes : public Worker {
 public:
  Passes() : rig_(kFlows, bench::packet4, kFlows * 5 / 4) { rig_.open(kNow); }
  void prepare() override { rig_.fill(); }
  uint64_t run() override {
    rig_.to_targets(kNow);
    return kFlows;
  }

 private:
  bench::GatewayRig rig_;
};

class Reads : public Worker {
 public:
  Reads() : pages_(flow::Pages::map(size_t{kFlows} * 48)) {
    bench::prove(pages_.data() != nullptr, "there is memory");
  }
  void prepare() override {
    for (uint32_t& line : lines_) {
      line = static_cast<uint32_t>(random_() % (pages_.bytes() / 64));
    }
  }
  uint64_t run() override {
    const auto* memory = static_cast<const uint8_t*>(pages_.data());
    uint64_t sum = 0;
    for (size_t at = 0; at < lines_.size(); at += 64) {
      for (size_t i = 0; i < 64; ++i) base::prefetch(memory + size_t{lines_[at + i]} * 64);
      for (size_t i = 0; i < 64; ++i) {
        sum += base::load<uint64_t>(memory + size_t{lines_[at + i]} * 64);
      }
    }
    bench::use(sum);
    return lines_.size();
  }

 private:
  flow::Pages pages_;
  std::vector<uint32_t> lines_ = std::vector<uint32_t>(size_t{4} * kFlows);
  std::minstd_rand random_{1};
};

void stay_on(uint32_t thread) {
  cpu_set_t allowed, one;
  if (sched_getaffinity(0, sizeof allowed, &allowed) != 0) return;
  uint32_t seen = 0;
  for (int core = 0; core < CPU_SETSIZE; ++core) {
    if (!CPU_ISSET(core, &allowed) || seen++ != thread) continue;
    CPU_ZERO(&one);
    CPU_SET(core, &one);
    sched_setaffinity(0, sizeof one, &one);
  }
}

// Nanoseconds an operation of thread 0: alone, and beside thread 1, in turn.
template <class Work>
std::vector<double> scaling(uint32_t rounds) {
  constexpr uint32_t kThreads = 2;
  std::atomic<uint32_t> arrived{0};
  std::vector<double> alone(rounds), beside[kThreads];
  for (auto& of : beside) of.resize(rounds);
  // All threads leave together; the n-th time when n times all have come.
  const auto meet = [&](uint32_t n) {
    arrived.fetch_add(1);
    while (arrived.load() < n * kThreads) sched_yield();
  };
  const auto body = [&](uint32_t thread) {
    stay_on(thread);
    Work work;
    const auto timed = [&] {
      const double start = bench::cpu_ns();
      const uint64_t operations = work.run();
      return (bench::cpu_ns() - start) / static_cast<double>(operations);
    };
    work.prepare();
    work.run();
    uint32_t n = 0;
    for (uint32_t round = 0; round < rounds; ++round) {
      work.prepare();
      meet(++n);
      if (thread == 0) alone[round] = timed();
      work.prepare();
      meet(++n);
      beside[thread][round] = timed();
    }
  };
  std::thread other(body, 1);
  body(0);
  other.join();
  std::vector<double> samples(rounds);
  for (uint32_t i = 0; i < rounds; ++i) {
    samples[i] = 4 * alone[i] / (beside[0][i] + beside[1][i]);
  }
  return samples;
}

}  // namespace

int main(int argc, char** argv) {
  bench::Options options;
  if (!bench::parse_options(argc, argv, &options)) return 2;
  bench::Suite suite("threads", options, bench::Cores::all);
  const std::string name = "two workers, pass to targets";
  if (!suite.wanted(name)) return 0;
  const uint32_t rounds = options.quick ? 5 : 61;
  bench::About about;
  about.less_is_better = false;
  suite.report(name, "x", {{"ours", scaling<Passes>(rounds)}, {"limit", scaling<Reads>(rounds)}},
               about);
  return 0;
}
