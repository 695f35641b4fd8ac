// Which target a flow goes to, and what happens without one.
#include <map>
#include <set>

#include "test/native/gateway_rig.h"

using namespace gwlb;
using namespace gwlb::test;
using base::DropReason;
using batch::Verdict;
using gateway::GatewayCounter;

namespace {

constexpr uint8_t kSyn = 2, kRst = 4, kAck = 16;

}  // namespace

TEST(flows_spread_over_all_targets) {
  Rig rig;
  std::map<uint16_t, int> share;
  for (uint16_t port = 1; port <= 600; ++port) ++share[rig.trip(client_tcp(kSyn, port)).target];
  REQUIRE(share.size() == 3);
  for (const auto& [slot, flows] : share) CHECK(flows > 120);
}

TEST(rebalance_moves_only_the_failed_targets_flows_at_their_next_packet) {
  Rig rig;
  std::map<uint16_t, Rig::Trip> before;
  for (uint16_t port = 1; port <= 300; ++port) before[port] = connect(rig, port);
  rig.targets[1].flags = select::kRegistered;
  rig.targets[1].generation = 1;
  rig.publish();
  CHECK_EQ(rig.count(GatewayCounter::flows_moved), 0);
  int moved = 0;
  for (uint16_t port = 1; port <= 300; ++port) {
    const Rig::Trip after = rig.trip(client_tcp(kAck, port));
    REQUIRE(after.done);
    if (before[port].target == 1) {
      ++moved;
      CHECK(after.target != 1);
      CHECK((after.flags & batch::kFlowIsMoved) != 0);
      // What the old target still returns is welcome for a while, then not.
      CHECK(rig.come_back(before[port].datagram, rig.targets[1].address) == Verdict::forward);
    } else {
      CHECK_EQ(after.target, before[port].target);
      CHECK_EQ(after.cookie, before[port].cookie);
    }
  }
  CHECK(moved > 50);
  CHECK_EQ(rig.count(GatewayCounter::flows_moved), static_cast<uint64_t>(moved));
  rig.now_ms += 30'000;
  for (uint16_t port = 1; port <= 300; ++port) {
    if (before[port].target != 1) continue;
    CHECK(rig.come_back(before[port].datagram, rig.targets[1].address) == Verdict::drop);
    CHECK(rig.reason() == DropReason::wrong_target);
    break;
  }
}

TEST(no_rebalance_keeps_flows_on_an_unhealthy_target) {
  Rig rig;
  std::map<uint16_t, uint16_t> before;
  for (uint16_t port = 1; port <= 100; ++port) {
    before[port] = rig.trip(client_tcp(kSyn, port)).target;
    CHECK(rig.trip(client_tcp(kAck, port)).done);
  }
  rig.targets[1].flags = select::kRegistered;
  rig.publish();
  for (uint16_t port = 1; port <= 100; ++port) {
    CHECK_EQ(rig.trip(client_tcp(kAck, port)).target, before[port]);
    // The next connection on the same tuple goes to a healthy one.
    CHECK(rig.trip(client_tcp(kSyn, port)).target != 1);
  }
}

TEST(a_generation_taken_back_before_the_next_packet_keeps_its_flows) {
  Rig rig;
  std::map<uint16_t, uint32_t> before;
  for (uint16_t port = 1; port <= 100; ++port)
    before[port] = rig.trip(client_tcp(kSyn, port)).cookie;
  rig.targets[1].flags = select::kRegistered;
  rig.targets[1].generation = 1;
  rig.publish();
  rig.targets[1].flags = select::kRegistered | select::kEligible;
  rig.targets[1].generation = 0;
  rig.publish();
  for (uint16_t port = 1; port <= 100; ++port) {
    CHECK_EQ(rig.trip(client_tcp(kAck, port)).cookie, before[port]);
  }
  CHECK_EQ(rig.count(GatewayCounter::flows_moved), 0);
}

TEST(a_flow_moves_however_many_failovers_it_missed) {
  constexpr uint16_t kLast = base::kGenerations - 1;
  for (const uint16_t pinned : {uint16_t{0}, uint16_t{5}, kLast}) {
    for (const uint32_t missed : {1u, 8u, 256u, 512u, 4096u, uint32_t{kLast}}) {
      Rig rig(2);
      rig.targets[0].generation = rig.targets[1].generation = pinned;
      rig.publish();
      const uint16_t before = connect(rig).target;
      CHECK_EQ(rig.trip(client_tcp(kAck)).target, before);
      rig.targets[before].flags = select::kRegistered;
      rig.targets[before].generation =
          static_cast<uint16_t>((pinned + missed) % base::kGenerations);
      rig.publish();
      const Rig::Trip after = rig.trip(client_tcp(kAck));
      CHECK(after.done && after.target != before);
      CHECK((after.flags & batch::kFlowIsMoved) != 0);
      CHECK_EQ(rig.trip(client_tcp(kAck)).target, after.target);
    }
  }
}

TEST(no_targets_is_a_counted_rejection) {
  Rig rig(0);
  CHECK(rig.enter(client_tcp(kSyn)) == Verdict::drop);
  CHECK(rig.reason() == DropReason::no_targets);
  CHECK_EQ(rig.count(GatewayCounter::flows_rejected), 1);
  CHECK_EQ(rig.count(GatewayCounter::flows_rejected_tcp), 1);
}

TEST(fail_open_bypasses_only_without_any_target) {
  Rig rig(0, [](gateway::GatewayConfig& c) { c.fail_open = true; });
  const Bytes packet = client_tcp(kSyn);
  CHECK(rig.enter(packet, 1) == Verdict::bypass);
  CHECK(rig.bytes(0) == packet);
  CHECK_EQ(rig.batch->endpoint[0], 1);
  CHECK_EQ(rig.count(GatewayCounter::packets_bypassed), 1);
  Rig served(1, [](gateway::GatewayConfig& c) { c.fail_open = true; });
  CHECK(served.enter(packet) == Verdict::forward);
}

TEST(three_and_two_tuple_stickiness) {
  Rig three(3, [](gateway::GatewayConfig& c) { c.stickiness = flow::Stickiness::three_tuple; });
  std::set<uint32_t> cookies;
  for (uint16_t port = 1; port <= 50; ++port)
    cookies.insert(three.trip(client_tcp(kSyn, port)).cookie);
  CHECK_EQ(cookies.size(), 1);
  cookies.insert(three.trip(ipv4(kClient, kServer, 17, udp(1, 2))).cookie);
  CHECK_EQ(cookies.size(), 2);
  CHECK_EQ(three.gateway->flows(), 2);
  // A connection's end does not end the others'.
  CHECK(three.trip(client_tcp(kRst, 1)).done);
  three.age(60'000);
  CHECK_EQ(three.gateway->flows(), 2);

  Rig two(3, [](gateway::GatewayConfig& c) { c.stickiness = flow::Stickiness::two_tuple; });
  const uint32_t cookie = two.trip(client_tcp(kSyn)).cookie;
  CHECK_EQ(two.trip(ipv4(kServer, kClient, 17, udp(1, 2))).cookie, cookie);
  CHECK_EQ(two.trip(ipv4(kClient, kServer, 1, icmp_echo(false, 7))).cookie, cookie);
}

TEST(a_live_configuration_is_one_value) {
  Rig rig(3);
  CHECK(rig.enter(client_tcp(kAck)) == Verdict::drop);
  CHECK(rig.trip(ipv4(kClient, kServer, 17, udp(1, 2))).done);
  gateway::LiveConfig live;
  live.stickiness = flow::Stickiness::two_tuple;
  live.fail_open = live.reset_on_idle = true;
  live.clamp_mss = 1300;
  live.path_mtu = 1400;
  live.tcp_idle_ms = 5000;
  live.other_idle_ms = 3000;
  live.report_interval_ms = 1000;
  rig.gateway->configure(live);
  // Two ends are one flow now; that of before is found no more, and ends by the new timeout.
  const uint32_t cookie = rig.trip(ipv4(kClient, kServer, 17, udp(1, 2))).cookie;
  CHECK_EQ(rig.trip(ipv4(kServer, kClient, 17, udp(3, 4))).cookie, cookie);
  CHECK_EQ(rig.gateway->flows(), 2);
  for (int second = 0; second < 2; ++second) rig.age(1000);
  CHECK_EQ(rig.gateway->flows(), 2);
  gateway::FlowEvent events[64];
  bool reported = false;
  for (uint32_t n = rig.gateway->drain_events(events, 64); n > 0; --n) {
    reported |= events[n - 1].type == static_cast<uint8_t>(gateway::FlowEventType::lives);
  }
  CHECK(reported);
  rig.age(1000);
  CHECK_EQ(rig.gateway->flows(), 0);
  // What it does not name is as its default says: the same once more, but for the stickiness.
  live.stickiness = flow::Stickiness::five_tuple;
  rig.gateway->configure(live);
  rig.age(6000);
  CHECK(rig.enter(client_tcp(kAck)) == Verdict::reply);
  rig.targets.clear();
  rig.publish();
  CHECK(rig.enter(client_tcp(kSyn)) == Verdict::bypass);
  rig.gateway->configure({});
  CHECK(rig.enter(client_tcp(kSyn, 9)) == Verdict::drop);
  CHECK(rig.reason() == DropReason::no_targets);
}

TEST(with_another_stickiness_what_is_alive_is_found_anew) {
  Rig rig(3);
  const Rig::Trip before = connect(rig);
  CHECK(rig.enter(client_tcp(kAck, 9)) == Verdict::drop);
  rig.configure([](auto& live) { live.stickiness = flow::Stickiness::three_tuple; });
  const Rig::Trip anew = rig.trip(client_tcp(kAck));
  CHECK(anew.done && (anew.flags & batch::kFlowIsNew) != 0);
  CHECK_EQ(rig.trip(client_tcp(kAck, 9)).cookie, anew.cookie);
  CHECK_EQ(rig.gateway->flows(), 2u);
  // And back: the entry of before is still there, and what has none is picked up for a while.
  rig.configure([](auto& live) { live.stickiness = flow::Stickiness::five_tuple; });
  CHECK_EQ(rig.trip(client_tcp(kAck)).cookie, before.cookie);
  rig.now_ms += rig.config.tcp_idle_ms - 1;
  CHECK(rig.trip(client_tcp(kAck, 10)).done);
  rig.now_ms += 1;
  CHECK(rig.enter(client_tcp(kAck, 11)) == Verdict::drop);
  CHECK(rig.reason() == DropReason::tcp_not_syn);
}

TEST(fail_open_carries_whole_tcp_connections_also_later) {
  Rig rig(0, [](gateway::GatewayConfig& c) { c.fail_open = true; });
  CHECK(rig.enter(client_tcp(kSyn)) == Verdict::bypass);
  CHECK(rig.enter(server_tcp(kSyn | kAck)) == Verdict::bypass);
  CHECK(rig.enter(client_tcp(kAck)) == Verdict::bypass);
  const Bytes error = ipv4(0x0a0002fe, kClient, 1, icmp_unreachable(client_tcp(kAck), 28));
  CHECK(rig.enter(error) == Verdict::bypass);
  const Bytes ack = client_tcp(kAck);
  CHECK(rig.gateway->explain(ack.data(), 40, 0, rig.now_ms).error == DropReason::none);
  CHECK_EQ(rig.all_drops(), 0);
  // A connection that has a target when the last one goes.
  Rig served(1, [](gateway::GatewayConfig& c) { c.fail_open = true; });
  CHECK(served.trip(client_tcp(kSyn)).done);
  served.targets[0].flags = 0;
  served.publish();
  for (int minute = 0; minute < 10; ++minute) {
    CHECK(served.enter(client_tcp(kAck)) == Verdict::bypass);
    served.age(60'000);
  }
  // And back again: what ran uninspected is picked up.
  served.targets[0].flags = select::kRegistered | select::kEligible;
  served.publish();
  CHECK(served.trip(client_tcp(kAck)).done);
}

TEST(rejections_count_first_packets_only) {
  Rig rig(1);
  CHECK(rig.trip(client_tcp(kSyn)).done);
  rig.targets[0].flags = 0;
  rig.publish();
  for (int i = 0; i < 5; ++i) CHECK(rig.enter(client_tcp(kAck)) == Verdict::drop);
  CHECK_EQ(rig.drops(DropReason::no_targets), 5);
  CHECK_EQ(rig.count(GatewayCounter::flows_rejected), 0);
  CHECK(rig.enter(client_tcp(kSyn, 9)) == Verdict::drop);
  CHECK_EQ(rig.count(GatewayCounter::flows_rejected), 1);
}
