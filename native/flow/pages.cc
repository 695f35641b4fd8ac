#include "flow/pages.h"

#include <sys/mman.h>

#include <cstdint>

#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23  // Linux 5.14
#endif

namespace gwlb::flow {
namespace {

constexpr size_t kPage = 4096;
constexpr size_t kHugePage = 2u << 20;

size_t round_up(size_t value, size_t unit) { return (value + unit - 1) / unit * unit; }

// Maps `bytes` at an address that is a multiple of `alignment`, and gives the rest back.
uint8_t* map_aligned(size_t bytes, size_t alignment) {
  const size_t slack = alignment > kPage ? alignment : 0;
  void* raw =
      mmap(nullptr, bytes + slack, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (raw == MAP_FAILED) return nullptr;
  auto* start = static_cast<uint8_t*>(raw);
  if (slack == 0) return start;
  const size_t before =
      round_up(reinterpret_cast<uintptr_t>(raw), alignment) - reinterpret_cast<uintptr_t>(raw);
  if (before > 0) munmap(start, before);
  if (before < slack) munmap(start + before + bytes, slack - before);
  return start + before;
}

}  // namespace

Pages Pages::map(size_t bytes) {
  Pages pages;
  const size_t rounded = round_up(bytes > 0 ? bytes : 1, kPage);
  if (rounded < bytes) return pages;
  const bool huge = rounded >= kHugePage;
  uint8_t* start = map_aligned(rounded, huge ? kHugePage : kPage);
  if (start == nullptr) return pages;
  pages.data_ = start;
  pages.bytes_ = rounded;
  // Advice may be refused (no THP in this kernel, or set to never): small pages work as well.
  if (huge) madvise(start, rounded, MADV_HUGEPAGE);
  if (madvise(start, rounded, MADV_POPULATE_WRITE) != 0) {
    for (size_t at = 0; at < rounded; at += kPage) {
      *static_cast<volatile uint8_t*>(start + at) = 0;
    }
  }
  return pages;
}

Pages Pages::reserve(size_t bytes) {
  Pages pages;
  const size_t rounded = round_up(bytes > 0 ? bytes : 1, kPage);
  if (rounded < bytes) return pages;
  pages.data_ = map_aligned(rounded, kPage);
  if (pages.data_ != nullptr) pages.bytes_ = rounded;
  return pages;
}

Pages::~Pages() {
  if (data_ != nullptr) munmap(data_, bytes_);
}

}  // namespace gwlb::flow
