// How long the way back of a flow is known, and who gives way where there is no room.
#include <map>
#include <random>

#include "test/native/return_headers_rig.h"

namespace gwlb {
namespace {

using namespace test;

constexpr DropReason kNone = DropReason::none;
constexpr uint8_t kSynAck = wire::kSyn | wire::kAck;
constexpr uint8_t kFinAck = wire::kFin | wire::kAck;

void shake_hands(ReturnBench& bench, uint16_t port = 4000) {
  bench.enter({{datagram(tcp_from(true, wire::kSyn, 1000, 0, port), 1)},
               {datagram(tcp_from(false, kSynAck, 5000, 1001, port), 2)},
               {datagram(tcp_from(true, wire::kAck, 1001, 5001, port), 3)}});
}

bool is_known(ReturnBench& bench, const Bytes& packet) { return bench.cookie_of(packet) != 0; }

TEST(a_connection_is_established_by_the_right_acknowledgment) {
  ReturnBench bench;
  bench.enter(datagram(tcp_from(true, wire::kSyn)));
  bench.enter(datagram(tcp_from(false, kSynAck, 5000, 1001)));
  CHECK_EQ(bench.headers->unconfirmed(), 1u);
  for (uint32_t n = 0; n < 10; ++n) {
    bench.enter(datagram(tcp_from(true, wire::kAck, 1001, 0x7000'0000 + n)));
  }
  CHECK_EQ(bench.headers->unconfirmed(), 1u);
  bench.enter(datagram(tcp_from(true, wire::kAck, 1001, 5001)));
  CHECK_EQ(bench.headers->unconfirmed(), 0u);
}

TEST(two_ends_that_talk_are_established_and_so_is_one_that_goes_on) {
  ReturnBench bench;
  bench.enter(datagram(udp_from(true)));
  bench.enter(datagram(udp_from(false)));
  CHECK_EQ(bench.headers->unconfirmed(), 1u);
  bench.enter(datagram(udp_from(true)));
  CHECK_EQ(bench.headers->unconfirmed(), 0u);
  for (uint32_t n = 1; n <= base::kOneSidedPackets; ++n) {
    CHECK_EQ(bench.headers->unconfirmed(), n == 1 ? 0u : 1u);
    bench.enter(datagram(udp_from(true, 1001)));
  }
  CHECK_EQ(bench.headers->unconfirmed(), 0u);
  // A SYN again and again shows nothing.
  for (uint32_t n = 0; n < 20; ++n) bench.enter(datagram(tcp_from(true, wire::kSyn)));
  CHECK_EQ(bench.headers->unconfirmed(), 1u);
}

// The way of a two-armed NAT: the tunnel brings one direction, the kernel the other.
TEST(answers_of_the_kernel_establish_a_flow_and_keep_it) {
  ReturnBench bench;
  bench.enter(datagram(tcp_from(true, wire::kSyn)));
  CHECK(is_known(bench, tcp_from(false, kSynAck, 5000, 1001)));
  bench.enter(datagram(tcp_from(true, wire::kAck, 1001, 5001)));
  CHECK_EQ(bench.headers->unconfirmed(), 0u);
  for (uint32_t n = 0; n < 5; ++n) {
    bench.pass(200'000);
    CHECK(is_known(bench, tcp_from(false, wire::kAck, 5001, 1001)));
  }
}

TEST(what_comes_back_of_what_entered_establishes_nothing) {
  ReturnBench bench;
  bench.enter(datagram(udp_from(true)));
  for (uint32_t n = 0; n < 20; ++n) CHECK(is_known(bench, udp_from(true)));
  CHECK_EQ(bench.headers->unconfirmed(), 1u);
  bench.pass(120'000);
  CHECK(!is_known(bench, udp_from(true)));
}

TEST(flows_end_when_they_are_idle_closed_reset_or_never_answered) {
  const auto lives = [](ReturnBench& bench, uint64_t ms) {
    bench.pass(ms);
    return bench.headers->flows().ipv4 == 1;
  };
  {
    ReturnBench bench;
    shake_hands(bench);
    CHECK(lives(bench, 340'000));
    CHECK(!lives(bench, 10'000));
  }
  {
    ReturnBench bench;
    bench.enter(datagram(udp_from(true)));
    CHECK(lives(bench, 110'000));
    CHECK(!lives(bench, 10'000));
  }
  {
    ReturnBench bench;
    bench.enter(datagram(tcp_from(true, wire::kSyn)));
    CHECK(lives(bench, 110'000));
    CHECK(!lives(bench, 10'000));
  }
  {
    ReturnBench bench;
    shake_hands(bench);
    bench.enter(datagram(tcp_from(true, kFinAck)));
    CHECK(lives(bench, 100'000));
    bench.enter(datagram(tcp_from(false, kFinAck)));
    CHECK(!lives(bench, 15'000));
  }
  {
    ReturnBench bench;
    shake_hands(bench);
    bench.enter(datagram(tcp_from(false, wire::kRst)));
    // It may have been forged.
    bench.enter(datagram(tcp_from(true, wire::kAck)));
    CHECK(lives(bench, 100'000));
    bench.enter(datagram(tcp_from(false, wire::kRst)));
    CHECK(!lives(bench, 10'000));
  }
}

TEST(a_new_connection_does_not_go_back_with_the_headers_of_the_one_before) {
  ReturnBench bench;
  shake_hands(bench);
  bench.enter({{datagram(tcp_from(true, kFinAck), 4)}, {datagram(tcp_from(false, kFinAck), 5)}});
  CHECK_EQ(bench.cookie_of(tcp_from(false, wire::kAck)), 5u);
  bench.enter(datagram(tcp_from(true, wire::kSyn, 9000), 6));
  CHECK_EQ(bench.cookie_of(tcp_from(false, kSynAck)), 6u);
  CHECK_EQ(bench.headers->unconfirmed(), 1u);
  // A SYN on one that lives changes nothing for the other direction.
  ReturnBench other;
  shake_hands(other);
  other.enter(datagram(tcp_from(true, wire::kSyn, 9000), 6));
  CHECK_EQ(other.cookie_of(tcp_from(false, wire::kAck)), 2u);
  CHECK_EQ(other.headers->unconfirmed(), 0u);
}

TEST(a_flood_of_first_packets_costs_established_flows_nothing) {
  ReturnBench bench({4096, 1024, 64, 350'000, 120'000});
  for (uint16_t port = 0; port < 3000; ++port) {
    shake_hands(bench, static_cast<uint16_t>(1000 + port));
  }
  const size_t before = bench.headers->memory_bytes();
  uint32_t source = 0x0b000000;
  for (uint32_t n = 0; n < 100'000; n += 50) {
    std::vector<Entering> burst;
    for (uint32_t k = 0; k < 50; ++k) {
      burst.push_back({datagram(ipv4(source++, kServer, 6, tcp(1, 443, wire::kSyn)), 9)});
    }
    for (const DropReason why : bench.enter(burst)) CHECK(why == kNone);
    CHECK(bench.headers->flows().ipv4 <= 4096);
  }
  CHECK_EQ(bench.headers->memory_bytes(), before);
  CHECK_EQ(bench.headers->flows().ipv4, 3000u + 1024u);
  CHECK_EQ(bench.headers->take_evicted(), 100'000u - 1024u);
  for (uint16_t port = 0; port < 3000; ++port) {
    CHECK_EQ(bench.cookie_of(tcp_from(true, wire::kAck, 1, 1, static_cast<uint16_t>(1000 + port))),
             3u);
  }
}

TEST(where_all_flows_are_established_a_new_one_does_not_enter) {
  ReturnBench bench({1024, 1024, 64, 350'000, 120'000});
  for (uint16_t port = 0; port < 1024; ++port) {
    shake_hands(bench, static_cast<uint16_t>(1000 + port));
  }
  CHECK(bench.enter(datagram(udp_from(true))) == DropReason::device_flow_limit);
  CHECK(bench.enter(datagram(tcp_from(true, wire::kAck, 1, 1, 1000), 8)) == kNone);
  CHECK_EQ(bench.cookie_of(tcp_from(true, wire::kAck, 1, 1, 1000)), 8u);
  bench.pass(350'000);
  CHECK(bench.enter(datagram(udp_from(true))) == kNone);
}

// A million packets of two-way flows in bursts, with what the kernel holds back and puts in another
// order: each returns with the newest header of its flow and direction, as a map knows it.
TEST(no_packet_goes_back_with_another_direction_or_flow) {
  constexpr uint32_t kFlows = 3000;
  ReturnBench bench({4096, 1024, 64, 350'000, 120'000});
  std::mt19937 random(12);
  std::map<std::pair<uint16_t, bool>, uint32_t> newest;
  const auto packet = [](uint16_t flow, bool client) {
    const auto port = static_cast<uint16_t>(1000 + flow);
    return flow % 2 == 0 ? udp_from(client, port) : tcp_from(client, wire::kAck, 1, 1, port);
  };
  // All established before.
  for (uint32_t flow = 0; flow < kFlows; ++flow) {
    for (uint32_t n = 0; n < 3; ++n) {
      const bool client = n != 1;
      const uint32_t cookie = flow * 8 + 1 + (client ? 0 : 1);
      newest[{static_cast<uint16_t>(flow), client}] = cookie;
      CHECK(bench.enter(datagram(packet(static_cast<uint16_t>(flow), client), cookie)) == kNone);
    }
  }
  uint32_t cookie = 1 << 20;
  uint64_t wrong = 0, packets = 0;
  while (packets < 1'000'000) {
    std::vector<Entering> burst;
    std::vector<Bytes> kernel;
    std::vector<std::pair<uint16_t, bool>> keys;
    for (uint32_t k = 0; k < 64; ++k) {
      const auto flow = static_cast<uint16_t>(random() % kFlows);
      const bool client = random() % 2 == 0;
      burst.push_back({datagram(packet(flow, client), ++cookie)});
      newest[{flow, client}] = cookie;
      const auto other = random() % 4 == 0 ? static_cast<uint16_t>(random() % kFlows) : flow;
      keys.push_back({other, random() % 4 == 0 ? !client : client});
      kernel.push_back(packet(keys.back().first, keys.back().second));
    }
    for (const DropReason why : bench.enter(burst)) wrong += why != kNone;
    const std::vector<GivenBack> back = bench.come_back(kernel);
    for (size_t k = 0; k < back.size(); ++k) {
      const bool right =
          back[k].reason == kNone && base::load_be32(back[k].bytes.data() + 36) == newest[keys[k]];
      wrong += !right;
    }
    packets += burst.size();
  }
  CHECK_EQ(wrong, 0u);
}

}  // namespace
}  // namespace gwlb
