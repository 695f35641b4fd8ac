// The native benchmark harness: contenders run in turn, round after round, so that a noisy moment
// hits all of them; what counts is the median of the rounds, and ratios inside one case.
//
//   npm run bench -- --filter 'lookup ipv4'               with everything else there is
//   make -C native bench BENCH='lookup --filter ipv4'     one program alone: --json --quick --list
//
// Time is CPU time of the thread: a round that was preempted is not charged for it (its caches were
// cold afterwards all the same). A program is one thread on one core, unless it says otherwise.
// --json prints one row a line, as bench/row.ts has it.
#pragma once

#include <sched.h>

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
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
  bool list = false;   // print the names of the cases, run none
  std::string filter;
};

inline bool parse_options(int argc, char** argv, Options* out) {
  for (int i = 1; i < argc; ++i) {
    const std::string argument = argv[i];
    if (argument == "--json") {
      out->json = true;
    } else if (argument == "--quick") {
      out->quick = true;
    } else if (argument == "--list") {
      out->list = true;
    } else if (argument == "--filter" && i + 1 < argc) {
      out->filter = argv[++i];
    } else {
      std::fprintf(stderr, "usage: %s [--json] [--quick] [--list] [--filter TEXT]\n", argv[0]);
      return false;
    }
  }
  return true;
}

// The input is right, or this program ends with an error instead of a figure.
inline void prove(bool right, const char* what) {
  if (right) return;
  std::fprintf(stderr, "proof of input failed: %s\n", what);
  std::exit(1);
}

// The last core this process may use: the first one has most of the interrupts.
inline void pin_to_one_core() {
  cpu_set_t allowed;
  if (sched_getaffinity(0, sizeof allowed, &allowed) != 0) return;
  for (int core = CPU_SETSIZE - 1; core >= 0; --core) {
    if (!CPU_ISSET(core, &allowed)) continue;
    CPU_ZERO(&allowed);
    CPU_SET(core, &allowed);
    sched_setaffinity(0, sizeof allowed, &allowed);
    return;
  }
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

// Ours comes first, "limit" (what the hardware does at best) and peers as they are named. A body
// does one round and returns how many operations that was; what `prepare` does is not timed.
struct Contender {
  std::string name;
  std::function<uint64_t(uint32_t round)> body;
  std::function<void(uint32_t round)> prepare = nullptr;
};

// Figures that are not times of a body: bytes, ratios, or times taken by the caller. Ours first.
struct Samples {
  std::string name;
  std::vector<double> values;
};

struct Missing {
  std::string peer;
  std::string package;  // Debian's
};

struct About {
  std::vector<Missing> missing = {};  // peers that are not installed
  std::string note = {};              // printable ASCII without quotes
  bool less_is_better = true;
};

enum class Cores : uint8_t { one, all };

class Suite {
 public:
  Suite(std::string name, Options options, Cores cores = Cores::one)
      : name_(std::move(name)), options_(std::move(options)) {
    if (cores == Cores::one) pin_to_one_core();
  }

  const Options& options() const { return options_; }

  // Whether to run this case; ask before anything is prepared. Names are unique over all suites.
  bool wanted(const std::string& case_name) const {
    if ((name_ + " " + case_name).find(options_.filter) == std::string::npos) return false;
    if (options_.list) {
      std::printf("{\"suite\":\"%s\",\"case\":\"%s\"}\n", name_.c_str(), case_name.c_str());
    }
    return !options_.list;
  }

  // Each round times every contender once; a figure is nanoseconds an operation times `scale`.
  void run(const std::string& case_name, const std::string& unit, uint32_t rounds, double scale,
           const std::vector<Contender>& contenders, const About& about = {}) {
    if (options_.quick) rounds = std::min(rounds, 5u);
    std::vector<Samples> samples;
    for (const Contender& contender : contenders) samples.push_back({contender.name, {}});
    for (uint32_t round = 0; round <= rounds; ++round) {
      for (size_t i = 0; i < contenders.size(); ++i) {
        if (contenders[i].prepare) contenders[i].prepare(round);
        const double start = cpu_ns();
        const uint64_t operations = contenders[i].body(round);
        const double each = (cpu_ns() - start) / static_cast<double>(operations) * scale;
        if (round > 0) samples[i].values.push_back(each);  // the first one warms up
      }
    }
    report(case_name, unit, samples, about);
  }

  void report(const std::string& case_name, const std::string& unit,
              const std::vector<Samples>& samples, const About& about = {}) const {
    std::vector<Summary> of;
    for (const Samples& each : samples) of.push_back(summarize(each.values));
    options_.json ? print_json(case_name, unit, samples, of, about)
                  : print_line(case_name, unit, samples, of, about);
    std::fflush(stdout);
  }

 private:
  static std::string text(double value) {
    char out[64];
    std::snprintf(out, sizeof out, "%.5g", value);
    return out;
  }
  static std::string text(const Summary& of) {
    return "{\"median\":" + text(of.median) + ",\"p10\":" + text(of.p10) +
           ",\"p90\":" + text(of.p90) + "}";
  }
  static void member(std::string* object, const std::string& name, const std::string& value) {
    *object += (object->empty() ? "\"" : ",\"") + name + "\":" + value;
  }

  void print_json(const std::string& case_name, const std::string& unit,
                  const std::vector<Samples>& samples, const std::vector<Summary>& of,
                  const About& about) const {
    std::string peers, ratios, missing, limit = "null";
    for (size_t i = 1; i < of.size(); ++i) {
      if (samples[i].name == "limit") {
        limit = text(of[i]);
      } else {
        member(&peers, samples[i].name, text(of[i]));
      }
      member(&ratios, samples[i].name, text(of[0].median / of[i].median));
    }
    for (const Missing& peer : about.missing) {
      member(&missing, peer.peer, "\"" + peer.package + "\"");
    }
    std::printf(
        "{\"suite\":\"%s\",\"case\":\"%s\",\"unit\":\"%s\",\"ours\":%s,\"peers\":{%s},"
        "\"limit\":%s,\"ratios\":{%s},\"lessIsBetter\":%s%s%s}\n",
        name_.c_str(), case_name.c_str(), unit.c_str(), text(of[0]).c_str(), peers.c_str(),
        limit.c_str(), ratios.c_str(), about.less_is_better ? "true" : "false",
        missing.empty() ? "" : (",\"missing\":{" + missing + "}").c_str(),
        about.note.empty() ? "" : (",\"note\":\"" + about.note + "\"").c_str());
  }

  void print_line(const std::string& case_name, const std::string& unit,
                  const std::vector<Samples>& samples, const std::vector<Summary>& of,
                  const About& about) const {
    std::printf("%-22s %8.2f %s (%.2f..%.2f)", case_name.c_str(), of[0].median, unit.c_str(),
                of[0].p10, of[0].p90);
    for (size_t i = 1; i < of.size(); ++i) {
      std::printf("   %.2fx %s (%.2f)", of[0].median / of[i].median, samples[i].name.c_str(),
                  of[i].median);
    }
    for (const Missing& peer : about.missing) {
      std::printf("   %s is missing (%s)", peer.peer.c_str(), peer.package.c_str());
    }
    std::printf("\n");
  }

  std::string name_;
  Options options_;
};

}  // namespace gwlb::bench
