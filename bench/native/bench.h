// A small native benchmark harness: contenders run in turn, round after round, so that a noisy
// moment hits all of them; what counts is the median of the rounds, and ratios inside one case.
//
//   g++ -std=c++20 -O2 -Inative -I. bench/native/lookup_bench.cc native/flow/*.cc -o lookup_bench
//   taskset -c 1 ./lookup_bench [--json] [--quick] [--filter TEXT]
//
// Time is CPU time of the thread: a round that was preempted is not charged for it (its caches were
// cold afterwards all the same). --json prints one object a line:
//   {"suite","case","unit","ours":{"median","p10","p90"},"peers":{name:{...}},
//    "limit":{...} or null,"ratios":{name: ours / other}}
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <ctime>
#include <functional>
#include <string>
#include <utility>
#include <vector>

namespace gwlb::bench {

struct Options {
  bool json = false;
  bool quick = false;  // few rounds, small sizes: proves that it runs, judges nothing
  std::string filter;
};

inline bool parse_options(int argc, char** argv, Options* out) {
  for (int i = 1; i < argc; ++i) {
    const std::string argument = argv[i];
    if (argument == "--json") {
      out->json = true;
    } else if (argument == "--quick") {
      out->quick = true;
    } else if (argument == "--filter" && i + 1 < argc) {
      out->filter = argv[++i];
    } else {
      std::fprintf(stderr, "usage: %s [--json] [--quick] [--filter TEXT]\n", argv[0]);
      return false;
    }
  }
  return true;
}

inline double cpu_ns() {
  timespec now;
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return static_cast<double>(now.tv_sec) * 1e9 + static_cast<double>(now.tv_nsec);
}

// Keeps a result alive without storing it.
template <class T>
inline void use(const T& value) {
  asm volatile("" : : "r,m"(value) : "memory");
}

struct Summary {
  double median = 0, p10 = 0, p90 = 0;
};

inline Summary summarize(std::vector<double> samples) {
  std::sort(samples.begin(), samples.end());
  const auto at = [&](double part) {
    return samples[static_cast<size_t>(part * static_cast<double>(samples.size() - 1) + 0.5)];
  };
  return {at(0.5), at(0.1), at(0.9)};
}

// "ours" comes first, "limit" (what the hardware does at best) and peers as they are named. A body
// does one round and returns how many operations that was; what `prepare` does is not timed.
struct Contender {
  std::string name;
  std::function<uint64_t(uint32_t round)> body;
  std::function<void(uint32_t round)> prepare = nullptr;
};

class Suite {
 public:
  Suite(std::string name, Options options) : name_(std::move(name)), options_(std::move(options)) {}

  const Options& options() const { return options_; }
  bool wanted(const std::string& case_name) const {
    return options_.filter.empty() ||
           (name_ + " " + case_name).find(options_.filter) != std::string::npos;
  }

  void run(const std::string& case_name, const std::string& unit, uint32_t rounds, double scale,
           const std::vector<Contender>& contenders) {
    if (options_.quick) rounds = std::min(rounds, 5u);
    std::vector<std::vector<double>> samples(contenders.size());
    for (uint32_t round = 0; round <= rounds; ++round) {
      for (size_t i = 0; i < contenders.size(); ++i) {
        if (contenders[i].prepare) contenders[i].prepare(round);
        const double start = cpu_ns();
        const uint64_t operations = contenders[i].body(round);
        const double each = (cpu_ns() - start) / static_cast<double>(operations) * scale;
        if (round > 0) samples[i].push_back(each);  // the first one warms up
      }
    }
    std::vector<Summary> summaries;
    for (auto& of : samples) summaries.push_back(summarize(std::move(of)));
    options_.json ? print_json(case_name, unit, contenders, summaries)
                  : print_line(case_name, unit, contenders, summaries);
  }

 private:
  static std::string text(const Summary& summary) {
    char out[128];
    std::snprintf(out, sizeof out, "{\"median\":%.3f,\"p10\":%.3f,\"p90\":%.3f}", summary.median,
                  summary.p10, summary.p90);
    return out;
  }

  void print_json(const std::string& case_name, const std::string& unit,
                  const std::vector<Contender>& contenders, const std::vector<Summary>& of) const {
    std::string peers, ratios, limit = "null";
    for (size_t i = 1; i < of.size(); ++i) {
      const std::string& name = contenders[i].name;
      if (name == "limit") {
        limit = text(of[i]);
      } else {
        peers += (peers.empty() ? "\"" : ",\"") + name + "\":" + text(of[i]);
      }
      char ratio[64];
      std::snprintf(ratio, sizeof ratio, "%.3f", of[0].median / of[i].median);
      ratios += (ratios.empty() ? "\"" : ",\"") + name + "\":" + ratio;
    }
    std::printf(
        "{\"suite\":\"%s\",\"case\":\"%s\",\"unit\":\"%s\",\"ours\":%s,\"peers\":{%s},"
        "\"limit\":%s,\"ratios\":{%s}}\n",
        name_.c_str(), case_name.c_str(), unit.c_str(), text(of[0]).c_str(), peers.c_str(),
        limit.c_str(), ratios.c_str());
    std::fflush(stdout);
  }

  void print_line(const std::string& case_name, const std::string& unit,
                  const std::vector<Contender>& contenders, const std::vector<Summary>& of) const {
    std::printf("%-22s %8.2f %s (%.2f..%.2f)", case_name.c_str(), of[0].median, unit.c_str(),
                of[0].p10, of[0].p90);
    for (size_t i = 1; i < of.size(); ++i) {
      std::printf("   %.2fx %s (%.2f)", of[0].median / of[i].median, contenders[i].name.c_str(),
                  of[i].median);
    }
    std::printf("\n");
    std::fflush(stdout);
  }

  std::string name_;
  Options options_;
};

}  // namespace gwlb::bench
