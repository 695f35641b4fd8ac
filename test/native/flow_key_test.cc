#include "flow/flow_key.h"

#include <array>
#include <cstring>
#include <random>
#include <vector>

#include "flow/fragments.h"
#include "flow/hash_keys.h"
#include "test/native/test.h"

using namespace gwlb;
using flow::FlowKey4;
using flow::FlowKey6;
using flow::Stickiness;

namespace {

constexpr base::HashKey kKey{0x0706050403020100, 0x0f0e0d0c0b0a0908};
constexpr Stickiness kAll[] = {Stickiness::five_tuple, Stickiness::three_tuple,
                               Stickiness::two_tuple};

// A packet and what it points at.
struct Tuple {
  std::array<uint8_t, 16> source{};
  std::array<uint8_t, 16> destination{};
  uint16_t source_port = 0;
  uint16_t destination_port = 0;
  uint8_t version = 4;
  uint8_t protocol = wire::kTcp;
  bool ports = true;

  wire::InnerPacket packet() const {
    wire::InnerPacket out;
    out.source = source.data();
    out.destination = destination.data();
    out.version = version;
    out.protocol = protocol;
    if (ports) {
      out.flags = wire::kHasPorts;
      out.source_port = source_port;
      out.destination_port = destination_port;
    }
    return out;
  }
  Tuple reversed() const {
    Tuple back = *this;
    std::swap(back.source, back.destination);
    std::swap(back.source_port, back.destination_port);
    return back;
  }
};

template <class Key>
Key key_of(const Tuple& tuple, Stickiness stickiness, uint16_t scope, bool* forward = nullptr) {
  Key key;
  std::memset(static_cast<void*>(&key), 0xaa, sizeof key);  // every byte must be written
  const bool direction = make_key(tuple.packet(), stickiness, scope, &key);
  if (forward != nullptr) *forward = direction;
  return key;
}

template <class Key>
bool same(const Key& a, const Key& b) {
  return std::memcmp(&a, &b, sizeof a) == 0;
}

Tuple random_tuple(std::mt19937_64& random, uint8_t version) {
  Tuple tuple;
  tuple.version = version;
  const size_t length = version == 4 ? 4 : 16;
  for (size_t i = 0; i < length; ++i) {
    // Few values, so that equal addresses and long common prefixes occur.
    tuple.source[i] = static_cast<uint8_t>(random() % 3 == 0 ? random() % 256 : 10);
    tuple.destination[i] = random() % 4 == 0 ? static_cast<uint8_t>(random()) : tuple.source[i];
  }
  tuple.source_port = static_cast<uint16_t>(random());
  tuple.destination_port = random() % 4 == 0 ? tuple.source_port : static_cast<uint16_t>(random());
  tuple.protocol = random() % 2 == 0 ? wire::kTcp : wire::kUdp;
  tuple.ports = random() % 8 != 0;
  return tuple;
}

template <class Key>
void check_symmetry(uint8_t version) {
  std::mt19937_64 random(version);
  for (int round = 0; round < 20000; ++round) {
    const Tuple tuple = random_tuple(random, version);
    const auto scope = static_cast<uint16_t>(random());
    for (Stickiness stickiness : kAll) {
      bool there = false;
      bool back = false;
      const Key a = key_of<Key>(tuple, stickiness, scope, &there);
      const Key b = key_of<Key>(tuple.reversed(), stickiness, scope, &back);
      REQUIRE(same(a, b));
      CHECK_EQ(hash_key(kKey, a), hash_key(kKey, b));
      // Opposite directions, unless both ends of the key are the same.
      const bool one_end = std::memcmp(a.low, a.high, sizeof a.low) == 0 &&
                           std::memcmp(a.low_port, a.high_port, 2) == 0;
      CHECK(one_end ? there && back : there != back);
      const int order = std::memcmp(a.low, a.high, sizeof a.low);
      CHECK(order < 0 || (order == 0 && std::memcmp(a.low_port, a.high_port, 2) <= 0));
    }
    for (uint32_t workers : {1u, 2u, 3u, 64u}) {
      const uint32_t owner = flow::owner_of(kKey, tuple.packet(), workers);
      CHECK(owner < workers);
      CHECK_EQ(owner, flow::owner_of(kKey, tuple.reversed().packet(), workers));
    }
  }
}

Tuple example() {
  Tuple tuple;
  tuple.source = {203, 0, 113, 9};
  tuple.destination = {10, 0, 2, 10};
  tuple.source_port = 52144;
  tuple.destination_port = 443;
  return tuple;
}

}  // namespace

TEST(ipv4_both_directions_have_one_key) { check_symmetry<FlowKey4>(4); }
TEST(ipv6_both_directions_have_one_key) { check_symmetry<FlowKey6>(6); }

TEST(ipv4_bytes_are_as_documented) {
  bool forward = true;
  const FlowKey4 key = key_of<FlowKey4>(example(), Stickiness::five_tuple, 0x0102, &forward);
  const uint8_t expected[16] = {10,   0,    2,    10,   203, 0, 113,  9,
                                0x01, 0xbb, 0xcb, 0xb0, 6,   5, 0x02, 0x01};
  CHECK(!forward);  // the client's address is the higher one
  CHECK_EQ(std::memcmp(&key, expected, sizeof key), 0);
}

TEST(ipv6_bytes_are_as_documented) {
  Tuple tuple;
  tuple.version = 6;
  tuple.source = {0x20, 0x01, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1};
  tuple.destination = {0x20, 0x01, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2};
  tuple.source_port = 80;
  tuple.destination_port = 79;
  tuple.protocol = wire::kUdp;
  bool forward = false;
  const FlowKey6 key = key_of<FlowKey6>(tuple, Stickiness::five_tuple, 0xffff, &forward);
  CHECK(forward);
  CHECK_EQ(std::memcmp(key.low, tuple.source.data(), 16), 0);
  CHECK_EQ(std::memcmp(key.high, tuple.destination.data(), 16), 0);
  const uint8_t rest[8] = {0, 80, 0, 79, 17, 5, 0xff, 0xff};
  CHECK_EQ(std::memcmp(key.low_port, rest, sizeof rest), 0);
}

TEST(addresses_compare_as_big_endian_numbers) {
  Tuple tuple = example();
  tuple.source = {1, 0, 0, 200};
  tuple.destination = {200, 0, 0, 1};
  bool forward = false;
  key_of<FlowKey4>(tuple, Stickiness::five_tuple, 0, &forward);
  CHECK(forward);
  tuple.destination = {1, 0, 0, 199};
  key_of<FlowKey4>(tuple, Stickiness::five_tuple, 0, &forward);
  CHECK(!forward);
}

TEST(equal_addresses_are_ordered_by_port) {
  Tuple tuple = example();
  tuple.destination = tuple.source;
  tuple.source_port = 0x00ff;  // lower as a number, higher in its last byte
  tuple.destination_port = 0x0100;
  bool forward = false;
  const FlowKey4 key = key_of<FlowKey4>(tuple, Stickiness::five_tuple, 0, &forward);
  CHECK(forward);
  CHECK_EQ(key.low_port[0], 0x00);
  CHECK_EQ(key.high_port[0], 0x01);
  Tuple other = tuple;
  other.destination_port = 0x0101;
  CHECK(!same(key, key_of<FlowKey4>(other, Stickiness::five_tuple, 0)));
  CHECK(same(key_of<FlowKey4>(tuple, Stickiness::three_tuple, 0),
             key_of<FlowKey4>(other, Stickiness::three_tuple, 0)));
}

TEST(stickiness_decides_what_counts) {
  const Tuple tuple = example();
  Tuple port = tuple;
  port.source_port ^= 1;
  Tuple protocol = tuple;
  protocol.protocol = wire::kUdp;
  const auto equal = [&](const Tuple& other, Stickiness stickiness) {
    return same(key_of<FlowKey4>(tuple, stickiness, 0), key_of<FlowKey4>(other, stickiness, 0));
  };
  CHECK(!equal(port, Stickiness::five_tuple));
  CHECK(!equal(protocol, Stickiness::five_tuple));
  CHECK(equal(port, Stickiness::three_tuple));
  CHECK(!equal(protocol, Stickiness::three_tuple));
  CHECK(equal(port, Stickiness::two_tuple));
  CHECK(equal(protocol, Stickiness::two_tuple));
  CHECK_EQ(key_of<FlowKey4>(tuple, Stickiness::five_tuple, 0).kind, 5);
  CHECK_EQ(key_of<FlowKey4>(tuple, Stickiness::three_tuple, 0).kind, 3);
  CHECK_EQ(key_of<FlowKey4>(tuple, Stickiness::two_tuple, 0).kind, 2);
  CHECK_EQ(key_of<FlowKey4>(tuple, Stickiness::two_tuple, 0).protocol, 0);
}

TEST(without_ports_a_five_tuple_is_a_three_tuple) {
  Tuple tuple = example();
  tuple.ports = false;
  CHECK(same(key_of<FlowKey4>(tuple, Stickiness::five_tuple, 7),
             key_of<FlowKey4>(tuple, Stickiness::three_tuple, 7)));
  // Ports that are 0 are ports.
  Tuple zero = example();
  zero.source_port = zero.destination_port = 0;
  CHECK(!same(key_of<FlowKey4>(zero, Stickiness::five_tuple, 7),
              key_of<FlowKey4>(tuple, Stickiness::five_tuple, 7)));
  // What ports hold without kHasPorts does not count.
  wire::InnerPacket packet = tuple.packet();
  packet.source_port = 1234;
  FlowKey4 key;
  make_key(packet, Stickiness::five_tuple, 7, &key);
  CHECK(same(key, key_of<FlowKey4>(tuple, Stickiness::five_tuple, 7)));
}

TEST(scopes_are_separate) {
  const Tuple tuple = example();
  for (Stickiness stickiness : kAll) {
    const FlowKey4 a = key_of<FlowKey4>(tuple, stickiness, 0);
    const FlowKey4 b = key_of<FlowKey4>(tuple, stickiness, 1);
    const FlowKey4 all = key_of<FlowKey4>(tuple, stickiness, flow::kScopeGateway);
    CHECK(!same(a, b));
    CHECK(!same(a, all));
    CHECK(hash_key(kKey, a) != hash_key(kKey, b));
  }
}

TEST(siphash_agrees_with_the_reference) {
  // SipHash-1-3 of bytes 0, 1, 2, ... under the key 00 01 .. 0f, computed by another
  // implementation.
  uint8_t bytes[40];
  for (uint32_t i = 0; i < sizeof bytes; ++i) bytes[i] = static_cast<uint8_t>(i);
  CHECK_EQ(base::siphash13(kKey, bytes, 0), 0xabac0158050fc4dcu);
  CHECK_EQ(base::siphash13(kKey, bytes, 1), 0xc9f49bf37d57ca93u);
  CHECK_EQ(base::siphash13(kKey, bytes, 7), 0xd3927d989bb11140u);
  CHECK_EQ(base::siphash13(kKey, bytes, 16), 0xcc4fdd1a7d908b66u);
  CHECK_EQ(base::siphash13(kKey, bytes, 40), 0xc1d2363299e41531u);
  for (size_t length : {size_t{16}, size_t{40}}) {
    const uint64_t fixed =
        length == 16 ? base::siphash13<16>(kKey, bytes) : base::siphash13<40>(kKey, bytes);
    CHECK_EQ(fixed, base::siphash13(kKey, bytes, length));
  }
}

TEST(four_words_hash_alike_when_two_are_mixed_before) {
  const uint64_t words[4] = {1, ~uint64_t{0}, 0x0123456789abcdef, 0x8000000000000000};
  const base::SipHashOfFour begun(kKey, words[0], words[1]);
  CHECK_EQ(begun.hash(words[2], words[3]), base::siphash13<sizeof words>(kKey, words));
}

template <class Key>
void check_hashes() {
  std::mt19937_64 random(3);
  for (const base::Simd simd : {base::Simd::portable, base::simd_of_machine()}) {
    const flow::HashKeys<Key> hash = flow::hash_keys_version<Key>(simd);
    REQUIRE(hash != nullptr);
    for (uint32_t n = 0; n <= 70; ++n) {
      std::vector<Key> keys(n + 1);
      auto* bytes = reinterpret_cast<uint8_t*>(keys.data());
      for (size_t at = 0; at < keys.size() * sizeof(Key); ++at) {
        bytes[at] = static_cast<uint8_t>(random());
      }
      std::vector<uint64_t> out(n + 1, 1234567);
      hash(kKey, keys.data(), n, out.data());
      for (uint32_t i = 0; i < n; ++i) CHECK_EQ(out[i], flow::hash_key(kKey, keys[i]));
      CHECK_EQ(out[n], 1234567u);  // not one more
    }
  }
}

TEST(many_hashes_at_once_are_those_of_one_at_a_time) {
  check_hashes<FlowKey4>();
  check_hashes<FlowKey6>();
  check_hashes<flow::FragmentKey>();
}

TEST(owners_share_the_addresses_evenly) {
  constexpr uint32_t kWorkers = 4;
  for (uint8_t version : {uint8_t{4}, uint8_t{6}}) {
    uint32_t count[kWorkers] = {};
    Tuple tuple;
    tuple.version = version;
    // One server, consecutive clients: what a weak mix would put on one worker.
    tuple.destination = {10, 0, 0, 1};
    for (uint32_t client = 0; client < 40000; ++client) {
      const uint8_t at = version == 4 ? 0 : 12;
      tuple.source[at] = 10;
      tuple.source[at + 1u] = static_cast<uint8_t>(client >> 16);
      tuple.source[at + 2u] = static_cast<uint8_t>(client >> 8);
      tuple.source[at + 3u] = static_cast<uint8_t>(client);
      ++count[flow::owner_of(kKey, tuple.packet(), kWorkers)];
    }
    for (uint32_t of : count) CHECK(of > 9500 && of < 10500);
  }
}

TEST(owner_is_of_the_addresses_alone) {
  const Tuple tuple = example();
  Tuple other = tuple;
  other.source_port = 1;
  other.protocol = wire::kIcmp;
  other.ports = false;
  uint32_t differ = 0;
  for (uint64_t k = 0; k < 64; ++k) {
    const base::HashKey key{k * 0x9e3779b97f4a7c15, ~k * 0xbf58476d1ce4e5b9};
    const uint32_t owner = flow::owner_of(key, tuple.packet(), 64);
    CHECK_EQ(owner, flow::owner_of(key, other.packet(), 64));
    differ += owner != flow::owner_of(kKey, tuple.packet(), 64);
  }
  CHECK(differ > 48);  // keyed: another key, other owners
}
