#include "flow/fragments.h"

#include <array>
#include <random>
#include <set>
#include <vector>

#include "test/native/test.h"

using namespace gwlb;
using flow::FragmentTable;

namespace {

using Found = flow::FragmentTable::Found;
constexpr auto kEntering = FragmentTable::Pass::entering;
constexpr auto kReturned = FragmentTable::Pass::returned;

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
    out.fragment_length = 1480;
    out.more_fragments = true;
    out.source_port = source_port;
    out.destination_port = destination_port;
    return out;
  }
  wire::InnerPacket later() const {
    wire::InnerPacket out = packet();
    out.flags = wire::kLaterFragment;
    out.fragment_offset = 1480;
    out.fragment_length = 1480;
    out.more_fragments = true;
    return out;
  }
  // Any later one, in bytes.
  wire::InnerPacket later(uint32_t from, uint32_t to, bool more) const {
    wire::InnerPacket out = later();
    out.fragment_offset = static_cast<uint16_t>(from);
    out.fragment_length = to - from;
    out.more_fragments = more;
    return out;
  }
};

// A packet's train.
struct Train {
  flow::FragmentKey key;
  FragmentTable::Name name;
  Train(const Train& other) : key(other.key), name{key, other.name.hash} {}
  Train(const FragmentTable& table, const wire::InnerPacket& packet, uint32_t id, uint16_t scope)
      : key(packet, id, scope), name(table.name(key)) {}
  Train(const FragmentTable& table, const wire::InnerPacket& packet, uint16_t scope)
      : Train(table, packet, packet.fragment_id, scope) {}
};

void bind(FragmentTable& table, const wire::InnerPacket& first, uint16_t scope,
          FragmentTable::Pass pass, uint64_t now_ms) {
  table.bind(first, Train(table, first, scope).name, pass, now_ms);
}
Found find(const FragmentTable& table, wire::InnerPacket* later, uint16_t scope, uint64_t now_ms) {
  return table.find(later, Train(table, *later, scope).name, kEntering, now_ms);
}
Found come(FragmentTable& table, wire::InnerPacket* later, FragmentTable::Pass pass) {
  return table.come(later, Train(table, *later, 0).name, pass, 0);
}
Found find_quoted(const FragmentTable& table, wire::InnerPacket* later) {
  return table.find_quoted(later, Train(table, *later, 0).name, 0);
}

bool known(const FragmentTable& table, const Fragment& fragment, uint16_t scope, uint64_t now_ms) {
  wire::InnerPacket later = fragment.later();
  return find(table, &later, scope, now_ms) == Found::ports;
}

}  // namespace

TEST(later_fragments_get_the_ports_of_the_first) {
  const auto table = FragmentTable::create(64, kLifetimeMs, kKey);
  const Fragment fragment;
  wire::InnerPacket later = fragment.later();
  CHECK(find(*table, &later, 0, 100) == Found::unknown);
  CHECK_EQ(later.flags, wire::kLaterFragment);  // nothing changed
  bind(*table, fragment.first(5000, 53), 0, kEntering, 100);
  REQUIRE(find(*table, &later, 0, 100) == Found::ports);
  CHECK_EQ(later.source_port, 5000);
  CHECK_EQ(later.destination_port, 53);
  CHECK_EQ(later.flags, wire::kLaterFragment | wire::kHasPorts);
  CHECK_EQ(table->size(100), 1u);
}

TEST(each_part_of_the_ipv4_key_counts) {
  const auto table = FragmentTable::create(64, kLifetimeMs, kKey);
  const Fragment fragment;
  bind(*table, fragment.first(1, 2), 3, kEntering, 0);
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
  bind(*table, fragment.first(1, 2), 0, kEntering, 0);
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
  const uint64_t start = 0xffffff00;
  bind(*table, fragment.first(1, 2), 0, kEntering, start);
  CHECK(known(*table, fragment, 0, start + kLifetimeMs - 1));
  CHECK(!known(*table, fragment, 0, start + kLifetimeMs));
  CHECK_EQ(table->size(start + kLifetimeMs - 1), 1u);
  CHECK_EQ(table->size(start + kLifetimeMs), 0u);
  // A new first fragment with the same identification: new ports, new lifetime.
  bind(*table, fragment.first(3, 4), 0, kEntering, start + kLifetimeMs);
  wire::InnerPacket later = fragment.later();
  REQUIRE(find(*table, &later, 0, start + 2 * kLifetimeMs - 1) == Found::ports);
  CHECK_EQ(later.source_port, 3);
  CHECK_EQ(table->size(start + kLifetimeMs), 1u);
}

TEST(what_is_over_stays_over_when_a_clock_of_32_bits_comes_round) {
  const auto table = FragmentTable::create(64, kLifetimeMs, kKey);
  const Fragment fragment;
  for (const uint64_t start : {uint64_t{0}, uint64_t{0xffffff00}, uint64_t{3} << 46}) {
    bind(*table, fragment.first(1, 2), 0, kEntering, start);
    CHECK(known(*table, fragment, 0, start + kLifetimeMs - 1));
    for (const uint64_t round : {uint64_t{1} << 32, uint64_t{5} << 32, uint64_t{1} << 47}) {
      CHECK(!known(*table, fragment, 0, start + round));
      CHECK(!known(*table, fragment, 0, start + round + 1));
      CHECK_EQ(table->size(start + round), 0u);
    }
  }
}

// Of those that begin at one time, and at 0, none gives way to another while there is room.
TEST(trains_of_one_moment_have_room_beside_each_other) {
  const auto table = FragmentTable::create(1, kLifetimeMs, kKey);
  std::vector<Fragment> fragments(8);
  for (uint32_t i = 0; i < 8; ++i) {
    fragments[i].id = i;
    bind(*table, fragments[i].first(1, 2), 0, kEntering, 0);
    for (uint32_t k = 0; k <= i; ++k) CHECK(known(*table, fragments[k], 0, 0));
  }
}

// What prefetch_trains() said of a set before others began in it.
TEST(a_train_that_begins_takes_no_place_that_was_taken_meanwhile) {
  const auto table = FragmentTable::create(1, kLifetimeMs, kKey);
  std::vector<Fragment> fragments(10);
  std::vector<Train> trains;
  for (uint32_t i = 0; i < 10; ++i) {
    fragments[i].id = i;
    trains.emplace_back(*table, fragments[i].first(1, 2), 0);
  }
  const auto bind_at = [&](uint32_t i, uint32_t oldest, uint64_t now_ms) {
    const FragmentTable::Name name{trains[i].key, trains[i].name.hash, oldest};
    table->bind(fragments[i].first(1, 2), name, kEntering, now_ms);
  };
  for (uint32_t i = 0; i < 8; ++i) bind(*table, fragments[i].first(1, 2), 0, kEntering, 100 + i);
  const uint64_t hashes[] = {trains[8].name.hash, trains[9].name.hash};
  uint32_t oldest[2];
  table->prefetch_trains(hashes, 2, oldest);
  const auto [of8, of9] = oldest;
  CHECK_EQ(of8, of9);
  bind_at(8, of8, 108);
  bind_at(9, of9, 108);
  for (uint32_t i = 0; i < 10; ++i) CHECK_EQ(known(*table, fragments[i], 0, 108), i >= 2);
}

TEST(every_machine_finds_the_same_places) {
  const auto table = FragmentTable::create(1024, kLifetimeMs, kKey);
  std::vector<uint64_t> hashes;
  std::mt19937 random(1);
  for (uint32_t i = 0; i < 3000; ++i) {
    Fragment fragment;
    fragment.id = random() % 2000;
    const Train train(*table, fragment.first(1, 2), 0);
    hashes.push_back(train.name.hash);
    if (i % 4 != 0) table->bind(fragment.first(1, 2), train.name, kEntering, random() % 5000);
  }
  for (uint64_t tag : {0u, 1u, 0xffffu}) hashes.push_back(uint64_t{random()} << 32 | tag);
  std::vector<uint32_t> expected(hashes.size()), places(hashes.size());
  const auto n = static_cast<uint32_t>(hashes.size());
  table->prefetch_trains_with(base::Simd::portable, hashes.data(), n, expected.data());
  table->prefetch_trains_with(base::simd_of_machine(), hashes.data(), n, places.data());
  CHECK(places == expected);
  CHECK_EQ(std::set<uint32_t>(places.begin(), places.end()).size(), 9u);
}

TEST(without_ports_nothing_is_bound) {
  const auto table = FragmentTable::create(64, kLifetimeMs, kKey);
  Fragment fragment;
  fragment.protocol = wire::kIcmp;
  wire::InnerPacket first = fragment.packet();
  first.flags = wire::kFirstFragment;
  bind(*table, first, 0, kEntering, 0);
  CHECK_EQ(table->size(0), 0u);
}

TEST(the_oldest_of_a_full_set_gives_way) {
  const auto table = FragmentTable::create(1, kLifetimeMs, kKey);
  CHECK_EQ(table->capacity(), 8u);  // one set
  std::vector<Fragment> fragments(10);
  for (uint32_t i = 0; i < 10; ++i) fragments[i].id = i;
  for (uint32_t i = 0; i < 8; ++i) bind(*table, fragments[i].first(1, 2), 0, kEntering, 100 + i);
  // Refreshed where they are, nobody leaves: 2 is now the oldest, in the middle of the set.
  bind(*table, fragments[0].first(1, 2), 0, kEntering, 108);
  bind(*table, fragments[1].first(1, 2), 0, kEntering, 109);
  CHECK_EQ(table->size(109), 8u);
  bind(*table, fragments[8].first(1, 2), 0, kEntering, 110);
  for (uint32_t i = 0; i <= 8; ++i) CHECK_EQ(known(*table, fragments[i], 0, 110), i != 2);
  // The dead are first to go: 3 is over, 4 is not.
  const uint64_t late = 103 + kLifetimeMs;
  bind(*table, fragments[9].first(1, 2), 0, kEntering, late);
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
    bind(*table, fragment.first(1, 2), 0, kEntering, i / 100);
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

namespace {

// What is found for a fragment that comes.
Found come(FragmentTable& table, wire::InnerPacket fragment, FragmentTable::Pass pass = kEntering) {
  return come(table, &fragment, pass);
}

}  // namespace

TEST(a_train_is_over_when_all_of_its_datagram_has_come) {
  const auto table = FragmentTable::create(64, kLifetimeMs, kKey);
  const Fragment fragment;
  bind(*table, fragment.first(1, 2), 0, kEntering, 0);
  CHECK(come(*table, fragment.later(1480, 2960, true)) == Found::ports);
  CHECK(come(*table, fragment.later(2960, 3001, false)) == Found::ports);
  wire::InnerPacket next = fragment.later(2960, 3001, false);
  CHECK(come(*table, &next, kEntering) == Found::over);
  CHECK_EQ(next.source_port, 1);  // of the one that is complete
  // The next datagram's first fragment begins it anew.
  bind(*table, fragment.first(3, 4), 0, kEntering, 0);
  next = fragment.later(2960, 3001, false);
  CHECK(come(*table, &next, kEntering) == Found::ports);
  CHECK_EQ(next.source_port, 3);
}

TEST(order_copies_and_overlaps_do_not_matter_holes_do) {
  const Fragment fragment;
  const wire::InnerPacket middle = fragment.later(1480, 2960, true);
  const wire::InnerPacket third = fragment.later(2960, 4440, true);
  const wire::InnerPacket last = fragment.later(4440, 5000, false);
  const std::vector<std::vector<wire::InnerPacket>> wholes = {
      {middle, third, last},
      {last, third, middle},
      {third, last, middle},
      {last, last, middle, middle, third},
      {last, fragment.later(1400, 4480, true)}};
  for (const auto& whole : wholes) {
    const auto table = FragmentTable::create(64, kLifetimeMs, kKey);
    bind(*table, fragment.first(1, 2), 0, kEntering, 0);
    for (const auto& part : whole) CHECK(come(*table, part) == Found::ports);
    CHECK(come(*table, last) == Found::over);
  }
  // The last one says that nothing follows, and another one that more does or less: nobody knows.
  const std::vector<std::vector<wire::InnerPacket>> holes = {
      {last, middle},
      {last, fragment.later(1488, 4440, true)},
      {middle, third},
      {last, third, fragment.later(1480, 2959, true)},
      {fragment.later(1480, 3000, false), fragment.later(1480, 6000, false)},
      {fragment.later(4440, 6000, false), last, middle, third}};
  for (const auto& part_of : holes) {
    const auto table = FragmentTable::create(64, kLifetimeMs, kKey);
    bind(*table, fragment.first(1, 2), 0, kEntering, 0);
    for (const auto& part : part_of) come(*table, part);
    const bool over = come(*table, last) == Found::over;
    CHECK_EQ(over, part_of[0].fragment_length == 1520);  // complete with its first last one
  }
}

TEST(more_stretches_than_are_kept_leave_a_train_to_its_lifetime) {
  const Fragment fragment;
  for (const uint32_t apart : {FragmentTable::kStretches, FragmentTable::kStretches + 1}) {
    const auto table = FragmentTable::create(64, kLifetimeMs, kKey);
    bind(*table, fragment.first(1, 2), 0, kEntering, 0);
    const uint32_t end = 1480 + 16 * apart;
    for (uint32_t k = 1; k < apart; ++k) {
      come(*table, fragment.later(1480 + 16 * k, 1488 + 16 * k, true));
    }
    for (uint32_t k = 1; k < apart; ++k) {
      come(*table, fragment.later(1480 + 16 * k - 8, 1480 + 16 * k, true));
    }
    come(*table, fragment.later(1480, 1488, true));
    come(*table, fragment.later(end - 8, end, false));
    const bool over = come(*table, fragment.later()) == Found::over;
    CHECK_EQ(over, apart == FragmentTable::kStretches);
    CHECK(known(*table, fragment, 0, kLifetimeMs - 1) == !over);
    CHECK(!known(*table, fragment, 0, kLifetimeMs));
  }
}

TEST(what_is_returned_is_a_train_of_its_own_and_knows_what_entered) {
  const auto table = FragmentTable::create(64, kLifetimeMs, kKey);
  const Fragment fragment;
  const wire::InnerPacket last = fragment.later(1480, 2000, false);
  bind(*table, fragment.first(1, 2), 0, kEntering, 0);
  CHECK(come(*table, last) == Found::ports);
  // Returned in another order, or copied: the ports are still known.
  for (int copy = 0; copy < 2; ++copy) CHECK(come(*table, last, kReturned) == Found::ports);
  bind(*table, fragment.first(1, 2), 0, kReturned, 0);
  CHECK(come(*table, last, kReturned) == Found::ports);
  CHECK(come(*table, last) == Found::over);  // what is returned begins nothing that enters
  // The next datagram enters while the first one's tail is under way.
  const auto other = FragmentTable::create(64, kLifetimeMs, kKey);
  bind(*other, fragment.first(1, 2), 0, kEntering, 0);
  bind(*other, fragment.first(1, 2), 0, kReturned, 0);
  bind(*other, fragment.first(3, 4), 0, kEntering, 0);
  wire::InnerPacket tail = last;
  CHECK(come(*other, &tail, kReturned) == Found::ports);
  CHECK_EQ(tail.source_port, 1);
  tail = last;
  CHECK(come(*other, &tail, kEntering) == Found::ports);
  CHECK_EQ(tail.source_port, 3);
  // Now the returned one is complete, and another tail is the new datagram's.
  tail = last;
  CHECK(come(*other, &tail, kReturned) == Found::ports);
  CHECK_EQ(tail.source_port, 3);
}

TEST(what_an_appliance_cuts_itself_is_found_without_anything_that_entered) {
  const auto table = FragmentTable::create(64, kLifetimeMs, kKey);
  const Fragment fragment;
  bind(*table, fragment.first(1, 2), 0, kReturned, 0);
  CHECK(come(*table, fragment.later()) == Found::unknown);
  CHECK(come(*table, fragment.later(1480, 2000, false), kReturned) == Found::ports);
  CHECK(come(*table, fragment.later(1480, 2000, false), kReturned) == Found::ports);
  wire::InnerPacket quoted = fragment.later();
  CHECK(find_quoted(*table, &quoted) == Found::ports);
}

TEST(a_train_that_was_given_up_is_over_when_it_is_complete) {
  const auto table = FragmentTable::create(64, kLifetimeMs, kKey);
  const Fragment fragment;
  const wire::InnerPacket last = fragment.later(1480, 2000, false);
  table->give_up(last, Train(*table, last, 0).name, 0);
  CHECK(come(*table, last) == Found::no_ports);
  bind(*table, fragment.first(1, 2), 0, kEntering, 0);
  CHECK(come(*table, last) == Found::over);
  wire::InnerPacket quoted = last;
  CHECK(find_quoted(*table, &quoted) == Found::no_ports);
  bind(*table, fragment.first(3, 4), 0, kEntering, 0);
  CHECK(come(*table, last) == Found::ports);
}

TEST(a_whole_packet_that_is_cut_behind_is_known_where_it_returns) {
  const auto table = FragmentTable::create(64, kLifetimeMs, kKey);
  const Fragment fragment;
  wire::InnerPacket whole = fragment.packet();
  whole.fragment_id = 0;
  whole.flags = wire::kHasPorts;
  whole.source_port = 9;
  table->bind_whole(whole, Train(*table, whole, fragment.id, 0).name, 0);
  wire::InnerPacket tail = fragment.later();
  CHECK(come(*table, &tail, kReturned) == Found::ports);
  CHECK_EQ(tail.source_port, 9);
  CHECK(come(*table, fragment.later()) == Found::over);
}
