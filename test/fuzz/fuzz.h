// For fuzz targets: a check that stays on and names what was wrong, and an input to take from.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <vector>

#define FUZZ_CHECK(...)                                                                         \
  do {                                                                                          \
    if (!(__VA_ARGS__)) {                                                                       \
      std::fprintf(stderr, "%s:%d: FUZZ_CHECK(%s): false\n", __FILE__, __LINE__, #__VA_ARGS__); \
      std::abort();                                                                             \
    }                                                                                           \
  } while (0)

// What a target does, a byte at a time; nothing but zeros behind its end.
class Input {
 public:
  Input(const uint8_t* data, size_t size) : data_(data), size_(size) {}
  bool more() const { return at_ < size_; }
  size_t left() const { return size_ - at_; }
  const uint8_t* rest() const { return data_ + at_; }
  void skip(size_t n) { at_ += n < left() ? n : left(); }

  uint8_t byte() { return more() ? data_[at_++] : 0; }
  uint32_t number() {
    const uint32_t high = byte();
    return high << 8 | byte();
  }
  // So many, or what is left.
  std::vector<uint8_t> bytes(size_t n) {
    const size_t count = n < left() ? n : left();
    std::vector<uint8_t> out(rest(), rest() + count);
    skip(count);
    return out;
  }

 private:
  const uint8_t* data_;
  size_t size_;
  size_t at_ = 0;
};

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size);
