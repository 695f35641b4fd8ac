#include "flow/fragments.h"

#include <array>
#include <vector>

#include "test/native/test.h"

using namespace gwlb;
using flow::FragmentTable;

namespace {

using Found = flow::FragmentTable::Found;

constexpr base::HashKey kKey{1, 2};
constexpr uint32_t kLifetimeMs = 15000;

struct Fragment {
  std::array<uint8_t, 16> source{10, 0, 0, 1};
  std::array<uint8_t, 16> destination{10, 0, 0, 2};
  uint32_t id = 7;
  uint8_t version = 4;
  uint8_t protocol = wire::kUdp;

  wire::InnerPacket packet() const {
    wire::InnerPacket out;
    out.source = source.data();
    out.destination = destination.data();
    out.version = version;
    out.protocol = protocol;
    out.fragment_id = id;
    return out;
  }
  wire::InnerPacket first(uint16_t source_port, uint16_t destination_port) const {
    wire::InnerPacket out = packet();
    out.flags = wire::kHasPorts | wire::kFirstFragment;
    out.source_port = source_port;
    out.destination_port = destination_port;
    return out;
  }
  wire::InnerPacket later() const {
    wire::InnerPacket out = packet();
    out.flags = wire::kLaterFragment;
    out.fragment_offset = 1480;
    return out;
  }
};

bool known(const FragmentTable& table, const Fragment& fragment, uint16_t scope, uint32_t now_ms) {
  wire::InnerPacket later = fragment.later();
  return table.find(&later, scope, now_ms) == Found::ports;
}

}  // namespace

TEST(later_fragments_get_the_ports_of_the_first) {
  const auto table = FragmentTable::create(64, kLifetimeMs, kKey);
  const Fragment fragment;
  wire::InnerPacket later = fragment.later();
  CHECK(table->find(&later, 0, 100) == Found::unknown);
  CHECK_EQ(later.flags, wire::kLaterFragment);  // nothing changed
  table->bind(fragment.first(5000, 53), 0, 100);
  REQUIRE(table->find(&later, 0, 100) == Found::ports);
  CHECK_EQ(later.source_port, 5000);
  CHECK_EQ(later.destination_port, 53);
  CHECK_EQ(later.flags, wire::kLaterFragment | wire::kHasPorts);
  CHECK_EQ(table->size(100), 1u);
}

TEST(each_part_of_the_ipv4_key_counts) {
  const auto table = FragmentTable::create(64, kLifetimeMs, kKey);
  const Fragment fragment;
  table->bind(fragment.first(1, 2), 3, 0);
  CHECK(known(*table, fragment, 3, 0));
  CHECK(!known(*table, fragment, 4, 0));
  Fragment other = fragment;
  other.id = 8;
  CHECK(!known(*table, other, 3, 0));
  other = fragment;
  other.protocol = wire::kTcp;
  CHECK(!known(*table, other, 3, 0));
  other = fragment;
  other.source[3] = 9;
  CHECK(!known(*table, other, 3, 0));
  other = fragment;
  other.destination[0] = 11;
  CHECK(!known(*table, other, 3, 0));
  // The other direction is another datagram.
  other = fragment;
  std::swap(other.source, other.destination);
  CHECK(!known(*table, other, 3, 0));
  other = fragment;
  other.version = 6;
  CHECK(!known(*table, other, 3, 0));
}

TEST(ipv6_key_is_without_protocol) {
  const auto table = FragmentTable::create(64, kLifetimeMs, kKey);
  Fragment fragment;
  fragment.version = 6;
  fragment.id = 0xfedcba98;
  fragment.source[15] = 1;
  table->bind(fragment.first(1, 2), 0, 0);
  Fragment other = fragment;
  other.protocol = wire::kTcp;  // a later fragment may name another next header (RFC 8200 4.5)
  CHECK(known(*table, other, 0, 0));
  other.source[15] = 2;
  CHECK(!known(*table, other, 0, 0));
  other = fragment;
  other.id = 0xba98;  // all 32 bits
  CHECK(!known(*table, other, 0, 0));
}

TEST(trains_end_after_their_lifetime_across_the_wrap) {
  const auto table = FragmentTable::create(64, kLifetimeMs, kKey);
  const Fragment fragment;
  const uint32_t start = 0xffffff00;
  table->bind(fragment.first(1, 2), 0, start);
  CHECK(known(*table, fragment, 0, start + kLifetimeMs - 1));
  CHECK(!known(*table, fragment, 0, start + kLifetimeMs));
  CHECK_EQ(table->size(start + kLifetimeMs - 1), 1u);
  CHECK_EQ(table->size(start + kLifetimeMs), 0u);
  // A new first fragment with the same identification: new ports, new lifetime.
  table->bind(fragment.first(3, 4), 0, start + kLifetimeMs);
  wire::InnerPacket later = fragment.later();
  REQUIRE(table->find(&later, 0, start + 2 * kLifetimeMs - 1) == Found::ports);
  CHECK_EQ(later.source_port, 3);
  CHECK_EQ(table->size(start + kLifetimeMs), 1u);
}

TEST(without_ports_nothing_is_bound) {
  const auto table = FragmentTable::create(64, kLifetimeMs, kKey);
  Fragment fragment;
  fragment.protocol = wire::kIcmp;
  wire::InnerPacket first = fragment.packet();
  first.flags = wire::kFirstFragment;
  table->bind(first, 0, 0);
  CHECK_EQ(table->size(0), 0u);
}

TEST(the_oldest_of_a_full_set_gives_way) {
  const auto table = FragmentTable::create(1, kLifetimeMs, kKey);
  CHECK_EQ(table->capacity(), 8u);  // one set
  std::vector<Fragment> fragments(10);
  for (uint32_t i = 0; i < 10; ++i) fragments[i].id = i;
  for (uint32_t i = 0; i < 8; ++i) table->bind(fragments[i].first(1, 2), 0, 100 + i);
  // Refreshed where they are, nobody leaves: 2 is now the oldest, in the middle of the set.
  table->bind(fragments[0].first(1, 2), 0, 108);
  table->bind(fragments[1].first(1, 2), 0, 109);
  CHECK_EQ(table->size(109), 8u);
  table->bind(fragments[8].first(1, 2), 0, 110);
  for (uint32_t i = 0; i <= 8; ++i) CHECK_EQ(known(*table, fragments[i], 0, 110), i != 2);
  // The dead are first to go: 3 is over, 4 is not.
  const uint32_t late = 103 + kLifetimeMs;
  table->bind(fragments[9].first(1, 2), 0, late);
  for (uint32_t i = 4; i <= 9; ++i) CHECK(known(*table, fragments[i], 0, late));
  CHECK(!known(*table, fragments[3], 0, late));
  CHECK_EQ(table->size(late), 8u);
}

TEST(a_flood_stays_within_bounds) {
  const auto table = FragmentTable::create(4096, kLifetimeMs, kKey);
  const size_t bytes = table->memory_bytes();
  uint32_t recent = 0;
  for (uint32_t i = 0; i < 100000; ++i) {
    Fragment fragment;
    fragment.id = i & 0xffff;
    fragment.source[1] = static_cast<uint8_t>(i >> 16);
    table->bind(fragment.first(1, 2), 0, i / 100);
    if (i < 1000 || i % 10 != 0) continue;
    fragment.id = (i - 500) & 0xffff;
    fragment.source[1] = static_cast<uint8_t>((i - 500) >> 16);
    recent += known(*table, fragment, 0, i / 100);
  }
  // Full, spread evenly: who came within the last eighth of its capacity is practically always
  // there.
  CHECK_EQ(table->size(1000), 4096u);
  CHECK(recent > 9880);
  CHECK_EQ(table->memory_bytes(), bytes);
}
