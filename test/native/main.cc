// Runs the registered tests: `test [--list] [PART-OF-A-NAME...]`.
// Prints each failure with file, line and values; the last line is "N passed, N failed". Exit code
// 0 when none failed and at least one ran, 1 otherwise.
#include <algorithm>
#include <atomic>
#include <cstdio>
#include <mutex>
#include <string>
#include <string_view>
#include <vector>

#include "test/native/test.h"

namespace gwlb::test {
namespace {

struct Case {
  std::string name;
  Function function;
};

// Inside a function: registrations run before main, in no order across files.
std::vector<Case>& cases() {
  static std::vector<Case> list;
  return list;
}

std::string current_test;
std::atomic<uint32_t> failures_of_test{0};
bool skipped = false;
std::mutex output;

// A loop that goes wrong would otherwise bury the first, telling lines.
constexpr uint32_t kFailuresShown = 20;

std::string topic_of(const char* file) {
  std::string topic(file);
  topic = topic.substr(topic.find_last_of('/') + 1);
  for (const char* suffix : {".cc", "_test"}) {
    const std::string end(suffix);
    if (topic.size() > end.size() &&
        topic.compare(topic.size() - end.size(), end.size(), end) == 0) {
      topic.resize(topic.size() - end.size());
    }
  }
  return topic;
}

}  // namespace

Registration::Registration(const char* file, const char* name, Function function) {
  cases().push_back({topic_of(file) + "." + name, function});
}

void report_failure(const char* file, int line, std::string_view message) {
  const uint32_t count = ++failures_of_test;
  const std::lock_guard<std::mutex> lock(output);
  if (count <= kFailuresShown) {
    std::printf("FAIL %s\n  %s:%d: %.*s\n", current_test.c_str(), file, line,
                static_cast<int>(message.size()), message.data());
  } else if (count == kFailuresShown + 1) {
    std::printf("  ... more failures of %s are not shown\n", current_test.c_str());
  }
  std::fflush(stdout);
}

void check_numbers(const Comparison& comparison, Number a, Number b) {
  if (a.bits == b.bits && a.negative == b.negative) return;
  report_unequal(comparison, show_number(a), show_number(b));
}

void check_texts(const Comparison& comparison, std::string_view a, std::string_view b) {
  if (a != b) report_unequal(comparison, show_text(a), show_text(b));
}

void report_unequal(const Comparison& comparison, const std::string& a, const std::string& b) {
  const auto& [file, line, text_a, text_b] = comparison;
  report_failure(file, line,
                 std::string("CHECK_EQ(") + text_a + ", " + text_b + "): " + a + " != " + b);
}

std::string show_bool(bool value) { return value ? "true" : "false"; }

std::string show_number(Number value) {
  char text[64];
  const auto bits = static_cast<unsigned long long>(value.bits);
  std::snprintf(text, sizeof text, value.negative ? "%lld (0x%llx)" : "%llu (0x%llx)", bits, bits);
  return text;
}

std::string show_real(double value) { return std::to_string(value); }

std::string show_text(std::string_view value) { return '"' + std::string(value) + '"'; }

std::string show_address(const void* value) {
  char text[32];
  std::snprintf(text, sizeof text, "%p", value);
  return text;
}

std::string show_size(size_t bytes) { return "(a value of " + std::to_string(bytes) + " bytes)"; }

void report_skip(const char* reason) {
  skipped = true;
  std::printf("SKIP %s: %s\n", current_test.c_str(), reason);
}

}  // namespace gwlb::test

int main(int argc, char** argv) {
  using namespace gwlb::test;
  std::vector<std::string> filters;
  bool list = false;
  for (int i = 1; i < argc; ++i) {
    const std::string argument(argv[i]);
    if (argument == "--list") {
      list = true;
    } else {
      filters.push_back(argument);
    }
  }
  std::stable_sort(cases().begin(), cases().end(),
                   [](const Case& a, const Case& b) { return a.name < b.name; });
  uint32_t passed = 0;
  uint32_t failed = 0;
  uint32_t skips = 0;
  for (const Case& test : cases()) {
    const bool chosen = filters.empty() ||
                        std::any_of(filters.begin(), filters.end(), [&](const std::string& part) {
                          return test.name.find(part) != std::string::npos;
                        });
    if (!chosen) continue;
    if (list) {
      std::printf("%s\n", test.name.c_str());
      continue;
    }
    current_test = test.name;
    failures_of_test = 0;
    skipped = false;
    test.function();
    if (failures_of_test > 0) {
      ++failed;
    } else if (skipped) {
      ++skips;
    } else {
      ++passed;
    }
  }
  if (list) return 0;
  if (passed + failed + skips == 0) std::printf("no test has such a name\n");
  if (skips > 0) std::printf("%u skipped\n", skips);
  std::printf("%u passed, %u failed\n", passed, failed);
  return failed == 0 && passed + skips > 0 ? 0 : 1;
}
