// Compiled filters: which words are a filter, and what the tests mean.
#include "appliance/filter.h"

#include <vector>

#include "test/native/packets.h"
#include "test/native/test.h"

namespace gwlb {
namespace {

using appliance::Filter;
using namespace test;

constexpr uint16_t kYes = Filter::kAccept;
constexpr uint16_t kNo = Filter::kReject;
using Words = std::vector<uint32_t>;

Words row(uint32_t kind, uint32_t direction, uint32_t version, uint16_t on_true, uint16_t on_false,
          uint16_t low = 0, uint16_t high = 0) {
  Words words(Filter::kWords);
  words[0] = kind | direction << 8 | version << 16;
  words[1] = on_true | uint32_t{on_false} << 16;
  words[2] = low | uint32_t{high} << 16;
  return words;
}

bool reads(const Words& words) {
  Filter filter;
  return Filter::read(words.data(), words.size(), &filter);
}

bool matches(const Words& words, const Bytes& packet) {
  Filter filter;
  wire::InnerPacket inner;
  CHECK(Filter::read(words.data(), words.size(), &filter));
  CHECK(wire::parse_inner(packet.data(), packet.size(), &inner).ok());
  return filter.matches(inner);
}

Words operator+(Words a, const Words& b) {
  a.insert(a.end(), b.begin(), b.end());
  return a;
}

TEST(tests_only_lead_forward) {
  CHECK(reads({}));
  CHECK(reads(row(0, 0, 4, kYes, kNo)));
  CHECK(!reads(Words(Filter::kWords - 1)));
  CHECK(!reads(row(0, 0, 4, 0, kNo)));
  CHECK(!reads(row(0, 0, 4, 1, kNo)));
  CHECK(reads(row(0, 0, 4, 1, kNo) + row(0, 0, 4, kYes, kNo)));
  CHECK(!reads(row(0, 0, 4, 1, kNo) + row(0, 0, 4, kYes, 1)));
  CHECK(!reads(row(0, 0, 4, 1, kNo) + row(0, 0, 4, 0, kNo)));
  CHECK(!reads(row(0, 0, 4, 0xfffd, kNo)));
  Words many;
  for (uint32_t i = 0; i < Filter::kTestsMax; ++i) many = many + row(0, 0, 4, kYes, kNo);
  CHECK(reads(many));
  CHECK(!reads(many + row(0, 0, 4, kYes, kNo)));
}

TEST(fields_are_what_they_may_be) {
  CHECK(!reads(row(4, 1, 0, kYes, kNo)));
  CHECK(!reads(row(0, 1, 4, kYes, kNo)));
  CHECK(!reads(row(0, 0, 5, kYes, kNo)));
  CHECK(!reads(row(0, 0, 0, kYes, kNo)));
  CHECK(!reads(row(1, 0, 4, kYes, kNo)));
  CHECK(!reads(row(1, 3, 0, kYes, kNo)));
  CHECK(!reads(row(2, 3, 0, kYes, kNo)));
  CHECK(!reads(row(2, 0, 4, kYes, kNo)));
  CHECK(!reads(row(3, 5, 0, kYes, kNo)));
  CHECK(!reads(row(3, 3, 4, kYes, kNo)));
  for (uint32_t direction = 1; direction <= 4; ++direction) {
    CHECK(reads(row(2, direction, 6, kYes, kNo)));
    CHECK(reads(row(3, direction, 0, kYes, kNo)));
  }
  Filter filter;
  const Words good = row(0, 0, 6, kYes, kNo);
  CHECK(Filter::read(good.data(), good.size(), &filter));
  const Words bad = row(9, 0, 6, kYes, kNo);
  CHECK(!Filter::read(bad.data(), bad.size(), &filter));
  const Bytes packet = ipv6(1, 2, 17, udp(1, 2));
  wire::InnerPacket inner;
  CHECK(wire::parse_inner(packet.data(), packet.size(), &inner).ok());
  CHECK(filter.matches(inner));  // it stayed as it was
}

TEST(ends_are_told_apart) {
  const Bytes packet = ipv4(0x0a000001, 0x0b000001, 17, udp(100, 200));
  const struct {
    uint16_t low, high;
    bool source, destination, either, both;
  } cases[] = {
      {100, 100, true, false, true, false}, {200, 200, false, true, true, false},
      {100, 200, true, true, true, true},   {101, 199, false, false, false, false},
      {0, 65535, true, true, true, true},
  };
  for (const auto& c : cases) {
    CHECK_EQ(matches(row(3, 1, 0, kYes, kNo, c.low, c.high), packet), c.source);
    CHECK_EQ(matches(row(3, 2, 0, kYes, kNo, c.low, c.high), packet), c.destination);
    CHECK_EQ(matches(row(3, 3, 0, kYes, kNo, c.low, c.high), packet), c.either);
    CHECK_EQ(matches(row(3, 4, 0, kYes, kNo, c.low, c.high), packet), c.both);
  }
  Words ten = row(2, 1, 4, kYes, kNo);
  ten[4] = 0x0a000000;
  ten[8] = 0xff000000;
  CHECK(matches(ten, packet));
  ten[0] = 2 | 2 << 8 | 4 << 16;
  CHECK(!matches(ten, packet));
  ten[0] = 2 | 1 << 8 | 6 << 16;
  ten[8] = 0;
  CHECK(!matches(ten, packet));  // of another version
  CHECK(matches(ten, ipv6(1, 2, 17, udp(100, 200))));
}

TEST(every_word_of_an_ipv6_address_counts) {
  const Bytes packet = ipv6(1, 2, 17, udp(1, 2));
  Words words = row(2, 1, 6, kYes, kNo);
  words[4] = 0xfd000000;
  words[7] = 1;
  for (uint32_t k = 0; k < 4; ++k) words[8 + k] = 0xffffffff;
  CHECK(matches(words, packet));
  for (uint32_t k = 0; k < 4; ++k) {
    Words other = words;
    other[4 + k] ^= 1;
    CHECK(!matches(other, packet));
    other[8 + k] ^= 1;
    CHECK(matches(other, packet));
  }
}

TEST(what_has_no_ports_matches_none) {
  const Words any = row(3, 3, 0, kYes, kNo, 0, 65535);
  CHECK(!matches(any, ipv4(1, 2, 1, icmp_echo(false, 1))));
  CHECK(!matches(any, ipv4(1, 2, 17, Bytes(24, 1), 3)));
  CHECK(matches(any, ipv4(1, 2, 17, udp(1, 2, 24), 0x2000)));
  const Bytes quoted = ipv4(2, 1, 17, udp(1, 2));
  Bytes error(8);
  error[0] = error[1] = 3;
  for (size_t i = 0; i < 28; ++i) error.push_back(quoted[i]);
  CHECK(!matches(any, ipv4(1, 2, 1, error)));
}

}  // namespace
}  // namespace gwlb
