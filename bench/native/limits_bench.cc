// What this machine can do at best: memory, system calls, pages. Nothing of ours is in here; it is
// what our figures are to be held against.
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <memory>
#include <random>

#include "base/bytes.h"
#include "base/prefetch.h"
#include "bench/native/bench.h"
#include "flow/pages.h"

using namespace gwlb;

namespace {

constexpr uint32_t kReads = 4096;
constexpr uint32_t kBatch = 64;
constexpr uint32_t kLine = 64;

// Memory that is touched; on huge pages where asked and granted.
class Memory {
 public:
  Memory(size_t bytes, bool huge) : bytes_(bytes) {
    if (huge) {
      pages_ = std::make_unique<flow::Pages>(flow::Pages::map(bytes));
      data_ = static_cast<uint8_t*>(pages_->data());
    } else {
      void* raw = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
      bench::prove(raw != MAP_FAILED, "there is memory");
      madvise(raw, bytes, MADV_NOHUGEPAGE);
      data_ = static_cast<uint8_t*>(raw);
      std::memset(data_, 1, bytes);
    }
    bench::prove(data_ != nullptr, "there is memory");
  }
  ~Memory() {
    if (!pages_) munmap(data_, bytes_);
  }
  uint8_t* data() const { return data_; }
  size_t bytes() const { return bytes_; }

 private:
  std::unique_ptr<flow::Pages> pages_;
  uint8_t* data_;
  size_t bytes_;
};

struct Size {
  size_t bytes;
  const char* name;
};
constexpr Size kSizes[] = {{16u << 10, "16 KiB"},
                           {512u << 10, "512 KiB"},
                           {8u << 20, "8 MiB"},
                           {64u << 20, "64 MiB"},
                           {512u << 20, "512 MiB"}};

// One cycle through all lines in random order: each read says where the next one is.
void dependent(bench::Suite& suite, const Size& size, bool huge) {
  const std::string name =
      "dependent read, " + std::string(size.name) + (huge ? "" : ", 4 KiB pages");
  if (!suite.wanted(name)) return;
  const Memory memory(size.bytes, huge);
  const auto lines = static_cast<uint32_t>(size.bytes / kLine);
  std::vector<uint32_t> order(lines);
  for (uint32_t i = 0; i < lines; ++i) order[i] = i;
  std::shuffle(order.begin(), order.end(), std::mt19937(1));
  for (uint32_t i = 0; i < lines; ++i) {
    base::store(memory.data() + size_t{order[i]} * kLine, order[(i + 1) % lines]);
  }
  uint32_t at = order[0];
  suite.run(name, "ns", 101, 1, {{"ours", [&](uint32_t) -> uint64_t {
                                    for (uint32_t i = 0; i < kReads; ++i) {
                                      at = base::load<uint32_t>(memory.data() + size_t{at} * kLine);
                                    }
                                    bench::use(at);
                                    return kReads;
                                  }}});
}

// As a batched lookup would have it that needs one line a packet and waits for none.
void prefetched(bench::Suite& suite, const Size& size, bool huge) {
  const std::string name =
      "prefetched read, " + std::string(size.name) + (huge ? "" : ", 4 KiB pages");
  if (!suite.wanted(name)) return;
  const Memory memory(size.bytes, huge);
  std::mt19937_64 random(1);
  std::vector<uint32_t> lines(kReads);
  const auto choose = [&](uint32_t) {
    for (uint32_t& line : lines) line = static_cast<uint32_t>(random() % (size.bytes / kLine));
  };
  const auto read = [&](uint32_t) -> uint64_t {
    uint64_t sum = 0;
    for (uint32_t at = 0; at < kReads; at += kBatch) {
      for (uint32_t i = 0; i < kBatch; ++i) {
        base::prefetch(memory.data() + size_t{lines[at + i]} * kLine);
      }
      for (uint32_t i = 0; i < kBatch; ++i) {
        sum += base::load<uint64_t>(memory.data() + size_t{lines[at + i]} * kLine);
      }
    }
    bench::use(sum);
    return kReads;
  };
  suite.run(name, "ns", 201, 1, {{"ours", read, choose}});
}

// The lines in front of a packet's first byte: 68 bytes of headers go there, or are read there.
void headers(bench::Suite& suite, bool store, bool cold) {
  const std::string name = std::string(store ? "store to" : "load of") + " 68 B of header lines, " +
                           (cold ? "cold" : "hot");
  if (!suite.wanted(name)) return;
  constexpr size_t kStride = 2240;
  const size_t packets = cold ? 65'536 : 256;
  const Memory memory(packets * kStride, true);
  std::mt19937_64 random(1);
  std::vector<uint32_t> order(kReads);
  const auto choose = [&](uint32_t) {
    for (uint32_t i = 0; i < kReads; ++i) {
      order[i] = static_cast<uint32_t>(cold ? random() % packets : i % packets);
    }
  };
  const auto touch = [&](uint32_t) -> uint64_t {
    uint64_t sum = 0;
    for (const uint32_t packet : order) {
      uint8_t* at = memory.data() + packet * kStride + 60;
      if (store) {
        std::memset(at, static_cast<int>(packet), 68);
        bench::use(*at);
      } else {
        for (uint32_t i = 0; i < 64; i += 16) {
          sum += base::load<uint64_t>(at + i) + base::load<uint64_t>(at + i + 8);
        }
        sum += base::load<uint32_t>(at + 64);
      }
    }
    bench::use(sum);
    return kReads;
  };
  suite.run(name, "ns", 201, 1, {{"ours", touch, choose}});
}

void system_calls(bench::Suite& suite) {
  if (!suite.wanted("system call, getppid")) return;
  suite.run("system call, getppid", "ns", 101, 1, {{"ours", [](uint32_t) -> uint64_t {
                                                      for (uint32_t i = 0; i < 1000; ++i) {
                                                        bench::use(syscall(SYS_getppid));
                                                      }
                                                      return 1000;
                                                    }}});
}

// What a table that is not touched at the start would pay on the packet path.
void first_touch(bench::Suite& suite, bool huge) {
  const std::string name = std::string("first touch of a page of ") + (huge ? "2 MiB" : "4 KiB");
  if (!suite.wanted(name)) return;
  constexpr size_t kBytes = 16u << 20;
  constexpr size_t kHuge = 2u << 20;
  const size_t page = huge ? kHuge : 4096;
  uint8_t* raw = nullptr;
  uint8_t* start = nullptr;
  const auto release = [&] {
    if (raw != nullptr) munmap(raw, kBytes + kHuge);
  };
  const auto map = [&](uint32_t) {
    release();
    void* at =
        mmap(nullptr, kBytes + kHuge, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    bench::prove(at != MAP_FAILED, "there is memory");
    raw = static_cast<uint8_t*>(at);
    start = raw + (kHuge - reinterpret_cast<uintptr_t>(raw) % kHuge);
    madvise(start, kBytes, huge ? MADV_HUGEPAGE : MADV_NOHUGEPAGE);
  };
  const auto touch = [&](uint32_t) -> uint64_t {
    for (size_t at = 0; at < kBytes; at += page) start[at] = 1;
    return kBytes / page;
  };
  suite.run(name, "us", 21, 1e-3, {{"ours", touch, map}});
  release();
}

}  // namespace

int main(int argc, char** argv) {
  bench::Options options;
  if (!bench::parse_options(argc, argv, &options)) return 2;
  bench::Suite suite("limits", options);
  const Size& largest = kSizes[std::size(kSizes) - 1];
  for (const Size& size : kSizes) {
    if (!options.quick || size.bytes < largest.bytes) dependent(suite, size, true);
  }
  for (const Size& size : kSizes) {
    if (!options.quick || size.bytes < largest.bytes) prefetched(suite, size, true);
  }
  if (!options.quick) {
    dependent(suite, largest, false);
    prefetched(suite, largest, false);
  }
  for (const bool cold : {false, true}) {
    for (const bool store : {true, false}) headers(suite, store, cold);
  }
  system_calls(suite);
  first_touch(suite, false);
  first_touch(suite, true);
  return 0;
}
