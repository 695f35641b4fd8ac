// Compiled filters from arbitrary words: read() takes only what ends, and matches() then agrees
// with a second evaluation that walks from test to test by the words alone.
//
//   input: number of tests | 48 bytes each | packet ...
#include <cstring>
#include <vector>

#include "appliance/filter.h"
#include "test/fuzz/fuzz.h"

namespace {

using gwlb::appliance::Filter;
using gwlb::wire::InnerPacket;

constexpr uint32_t kAccept = 0xffff;
constexpr uint32_t kReject = 0xfffe;

uint32_t word_at(const uint8_t* address, uint32_t k) {
  return static_cast<uint32_t>(address[4 * k] << 24 | address[4 * k + 1] << 16 |
                               address[4 * k + 2] << 8 | address[4 * k + 3]);
}

bool is_filter(const std::vector<uint32_t>& words) {
  const size_t tests = words.size() / 12;
  for (size_t i = 0; i < tests; ++i) {
    const uint32_t* w = &words[12 * i];
    const uint32_t kind = w[0] & 255;
    const uint32_t direction = w[0] >> 8 & 255;
    const uint32_t version = w[0] >> 16;
    const bool has_version = version == 4 || version == 6;
    const bool has_direction = direction >= 1 && direction <= 4;
    if (kind == 0 && (!has_version || direction != 0)) return false;
    if (kind == 1 && (version != 0 || direction != 0)) return false;
    if (kind == 2 && (!has_version || !has_direction)) return false;
    if (kind == 3 && (version != 0 || !has_direction)) return false;
    if (kind > 3) return false;
    for (const uint32_t next : {w[1] & 0xffff, w[1] >> 16}) {
      if (next < kReject && (next <= i || next >= tests)) return false;
    }
  }
  return true;
}

bool test_holds(const uint32_t* w, const InnerPacket& p) {
  const uint32_t low = w[2] & 0xffff;
  const uint32_t high = w[2] >> 16;
  bool source = false;
  bool destination = false;
  switch (w[0] & 255) {
    case 0:
      return p.version == w[0] >> 16;
    case 1:
      return low <= p.protocol && p.protocol <= high;
    case 2:
      if (p.version != w[0] >> 16) return false;
      source = destination = true;
      for (uint32_t k = 0; k < (p.version == 4 ? 1u : 4u); ++k) {
        source = source && (word_at(p.source, k) & w[8 + k]) == (w[4 + k] & w[8 + k]);
        destination =
            destination && (word_at(p.destination, k) & w[8 + k]) == (w[4 + k] & w[8 + k]);
      }
      break;
    default:
      if ((p.flags & gwlb::wire::kHasPorts) == 0) return false;
      source = low <= p.source_port && p.source_port <= high;
      destination = low <= p.destination_port && p.destination_port <= high;
  }
  const bool by_direction[] = {source, destination, source || destination, source && destination};
  return by_direction[(w[0] >> 8 & 255) - 1];
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size < 1) return 0;
  const size_t tests = data[0] % 16;
  if (size < 1 + tests * 48) return 0;
  std::vector<uint32_t> words(tests * 12);
  if (tests > 0) std::memcpy(words.data(), data + 1, tests * 48);
  Filter filter;
  const bool good = Filter::read(words.data(), words.size(), &filter);
  FUZZ_CHECK(good == is_filter(words));
  if (!good) {
    // Most random words are no filter: make one of them, so that evaluation is tested too.
    for (size_t i = 0; i < tests; ++i) {
      uint32_t* w = &words[12 * i];
      const uint32_t kind = w[0] & 3;
      w[0] = kind | (kind >= 2 ? (1 + (w[0] >> 8 & 3)) << 8 : 0) |
             (kind % 2 == 0 ? (w[0] >> 16 & 1 ? 4u : 6u) << 16 : 0);
      const auto forward = [&](uint32_t next) {
        if (i + 1 == tests || next % 4 == 0) return next & 64 ? kAccept : kReject;
        return static_cast<uint32_t>(i + 1 + next % (tests - i - 1));
      };
      w[1] = forward(w[1] & 0xffff) | forward(w[1] >> 16) << 16;
    }
    FUZZ_CHECK(Filter::read(words.data(), words.size(), &filter));
  }
  // Exactly as large as it is, for the address sanitizer.
  const std::vector<uint8_t> packet(data + 1 + tests * 48, data + size);
  InnerPacket inner;
  if (!gwlb::wire::parse_inner(packet.data(), packet.size(), &inner).ok()) return 0;
  uint32_t at = tests == 0 ? kAccept : 0;
  uint32_t steps = 0;
  while (at < kReject) {
    FUZZ_CHECK(++steps <= tests);
    at =
        test_holds(&words[12 * at], inner) ? words[12 * at + 1] & 0xffff : words[12 * at + 1] >> 16;
  }
  FUZZ_CHECK(filter.matches(inner) == (at == kAccept));
  return 0;
}
