#include "io/udp_losses.h"

#include <fcntl.h>
#include <linux/sock_diag.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <string_view>

#include "io/netns.h"

namespace gwlb::io {
namespace {

constexpr size_t kStatisticsBytesMax = 16384;

// The next word of a line, or nothing.
std::string_view next_word(std::string_view* line) {
  const size_t from = line->find_first_not_of(" \t");
  if (from == std::string_view::npos) return {};
  line->remove_prefix(from);
  const std::string_view word = line->substr(0, line->find_first_of(" \t"));
  line->remove_prefix(word.size());
  return word;
}

// Takes the first line that begins with this word off the text, without that word.
std::string_view take_line(std::string_view* text, std::string_view first) {
  while (!text->empty()) {
    const size_t end = std::min(text->find('\n'), text->size());
    std::string_view line = text->substr(0, end);
    text->remove_prefix(std::min(end + 1, text->size()));
    if (next_word(&line) == first) return line;
  }
  return {};
}

}  // namespace

uint64_t SocketDrops::read(int fd) {
  uint32_t memory[SK_MEMINFO_VARS] = {};
  socklen_t bytes = sizeof memory;
  if (getsockopt(fd, SOL_SOCKET, SO_MEMINFO, memory, &bytes) == 0 &&
      bytes > SK_MEMINFO_DROPS * sizeof memory[0]) {
    drops_ += memory[SK_MEMINFO_DROPS] - last_;
    last_ = memory[SK_MEMINFO_DROPS];
  }
  return drops_;
}

UdpLosses::~UdpLosses() {
  if (statistics_ >= 0) close(statistics_);
  if (statistics6_ >= 0) close(statistics6_);
}

void UdpLosses::begin(const std::string& netns, bool ipv6) {
  const OsError error = in_netns(netns, [this, ipv6]() -> OsError {
    // The files of the thread's namespace, and still those when another thread reads them.
    statistics_ = open("/proc/thread-self/net/snmp", O_RDONLY | O_CLOEXEC);
    if (ipv6) statistics6_ = open("/proc/thread-self/net/snmp6", O_RDONLY | O_CLOEXEC);
    return {};
  });
  if (error.ok() && statistics_ >= 0 && read_statistics(&before_)) return;
  if (statistics_ >= 0) close(statistics_);
  statistics_ = -1;
}

bool UdpLosses::read_statistics(Statistics* out) const {
  char bytes[kStatisticsBytesMax + 1];
  const ssize_t got = pread(statistics_, bytes, kStatisticsBytesMax, 0);
  if (got <= 0) return false;
  bytes[got] = 0;
  std::string_view text(bytes, static_cast<size_t>(got));
  std::string_view names = take_line(&text, "Udp:");
  std::string_view values = take_line(&text, "Udp:");
  *out = {};
  bool found = false;
  for (;;) {
    const std::string_view name = next_word(&names);
    const std::string_view value = next_word(&values);
    if (name.empty() || value.empty()) return found && (statistics6_ < 0 || add_ipv6(out));
    const uint64_t count = std::strtoull(value.data(), nullptr, 10);
    if (name == "InCsumErrors") {
      out->bad_checksum = count;
      found = true;
    } else if (name == "RcvbufErrors" || name == "MemErrors") {
      out->no_room += count;
    }
  }
}

// A name and its value in each line.
bool UdpLosses::add_ipv6(Statistics* out) const {
  char bytes[kStatisticsBytesMax + 1];
  const ssize_t got = pread(statistics6_, bytes, kStatisticsBytesMax, 0);
  if (got <= 0) return false;
  bytes[got] = 0;
  const std::string_view text(bytes, static_cast<size_t>(got));
  const auto value_of = [text](const char* name) -> uint64_t {
    std::string_view rest = text;
    std::string_view line = take_line(&rest, name);
    const std::string_view value = next_word(&line);
    return value.empty() ? 0 : std::strtoull(value.data(), nullptr, 10);
  };
  out->bad_checksum += value_of("Udp6InCsumErrors");
  out->no_room += value_of("Udp6RcvbufErrors") + value_of("Udp6MemErrors");
  return true;
}

// The kernel's drops are overflows, or wrong checksums, or both at a time: then as many as there
// was no room for anywhere in the namespace are overflows. What neither explains counts as such
// too.
void UdpLosses::update(uint64_t dropped) {
  Statistics now;
  if (statistics_ < 0 || !read_statistics(&now)) {
    overflow_ = std::max(overflow_, dropped - std::min(dropped, bad_checksum_));
    return;
  }
  bad_checksum_ = std::max(bad_checksum_, now.bad_checksum - before_.bad_checksum);
  const uint64_t unexplained = dropped - std::min(dropped, bad_checksum_);
  overflow_ = std::max({overflow_, unexplained, std::min(dropped, now.no_room - before_.no_room)});
}

}  // namespace gwlb::io
