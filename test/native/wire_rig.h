// What the wire tests share: heap blocks of exactly the packet's size, so that AddressSanitizer
// sees a read behind it, and checks that hold for every parser.
#pragma once

#include <cstring>
#include <memory>
#include <string_view>

#include "test/native/packets.h"
#include "test/native/test.h"
#include "wire/parse_error.h"

namespace gwlb::test {

class Exact {
 public:
  explicit Exact(const Bytes& bytes) : Exact(bytes.data(), bytes.size()) {}
  Exact(const uint8_t* data, size_t size) : block_(new uint8_t[size]), size_(size) {
    if (size > 0) std::memcpy(block_.get(), data, size);
  }
  uint8_t* data() { return block_.get(); }
  size_t size() const { return size_; }

 private:
  std::unique_ptr<uint8_t[]> block_;
  size_t size_;
};

// "01 08 01 02" and so on; everything but hex digits is ignored.
inline Bytes hex(std::string_view text) {
  Bytes out;
  int high = -1;
  for (const char c : text) {
    int digit = -1;
    if (c >= '0' && c <= '9') digit = c - '0';
    if (c >= 'a' && c <= 'f') digit = c - 'a' + 10;
    if (digit < 0) continue;
    if (high < 0) {
      high = digit;
    } else {
      out.push_back(static_cast<uint8_t>(high * 16 + digit));
      high = -1;
    }
  }
  return out;
}

inline Bytes operator+(Bytes a, const Bytes& b) {
  a.insert(a.end(), b.begin(), b.end());
  return a;
}

// A packet cut anywhere before `needed` bytes is refused for `reason`, with needed > had.
// `parse` is (const uint8_t*, size_t) -> ParseError.
template <class Parse>
void check_every_cut(const Bytes& packet, size_t needed, base::DropReason reason, Parse parse) {
  for (size_t length = 0; length < needed; ++length) {
    Exact cut(packet.data(), length);
    const wire::ParseError error = parse(cut.data(), cut.size());
    CHECK_EQ(error.reason, reason);
    CHECK(error.needed > error.had);
    CHECK(error.offset <= length);
    CHECK(error.layer < wire::Layer::count);
  }
  Exact whole(packet.data(), needed);
  CHECK_EQ(parse(whole.data(), whole.size()).reason, base::DropReason::none);
}

// `check` sees the packet with each of its first `bytes` bytes' bits flipped, one at a time.
template <class Check>
void with_every_bit_flipped(const Bytes& packet, size_t bytes, Check check) {
  for (size_t bit = 0; bit < bytes * 8; ++bit) {
    Exact flipped(packet);
    flipped.data()[bit / 8] ^= static_cast<uint8_t>(1u << (bit % 8));
    check(flipped.data(), flipped.size(), bit);
  }
}

}  // namespace gwlb::test
