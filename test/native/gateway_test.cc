#include <map>
#include <random>
#include <set>

#include "gateway/hold.h"
#include "test/native/gateway_rig.h"
#include "wire/gwlb_options.h"

using namespace gwlb;
using namespace gwlb::test;
using base::DropReason;
using batch::Verdict;
using gateway::GatewayCounter;

namespace {

constexpr uint8_t kFin = 1, kSyn = 2, kRst = 4, kAck = 16;

}  // namespace

TEST(header_is_exactly_forty_bytes) {
  Rig rig;
  const Bytes packet = client_tcp(kSyn);
  REQUIRE(rig.enter(packet) == Verdict::forward);
  const Bytes out = rig.bytes(0);
  REQUIRE(out.size() == packet.size() + 40);
  const uint32_t cookie = rig.batch->cookie[0];
  Bytes expected = {0x08, 0x00, 0x08, 0x00, 0,    0,    0,    0,  // base header
                    0x01, 0x08, 0x01, 0x02, 0x12, 0x34, 0x56, 0x78, 0x9a, 0xbc, 0xde, 0xf0, 0x01,
                    0x08, 0x02, 0x02, 0,    0,    0,    0,    0,    0,    0,    0,  // attachment
                    0x01, 0x08, 0x03, 0x01, 0,    0,    0,    0};
  put32(expected, 36, cookie);
  expected.insert(expected.end(), packet.begin(), packet.end());
  CHECK(out == expected);
  CHECK_EQ(gateway::cookie_slot(cookie), rig.batch->target[0]);
  CHECK_EQ(rig.batch->address[0], rig.targets[rig.batch->target[0]].address);
  CHECK_EQ(rig.batch->port[0], 6081);
}

TEST(ipv6_inside_is_announced_as_ipv6) {
  Rig rig;
  const Bytes packet = ipv6(1, 2, 17, udp(53, 5353));
  REQUIRE(rig.enter(packet) == Verdict::forward);
  CHECK_EQ(rig.bytes(0)[2], 0x86);
  CHECK_EQ(rig.bytes(0)[3], 0xdd);
  CHECK(rig.trip(packet).done);
}

TEST(both_directions_share_target_cookie_and_source_port) {
  Rig rig;
  for (uint16_t port = 20000; port < 20200; ++port) {
    const Rig::Trip there = rig.trip(client_tcp(kSyn, port));
    const Rig::Trip back = rig.trip(server_tcp(kSyn | kAck, port));
    REQUIRE(there.done && back.done);
    CHECK_EQ(there.target, back.target);
    CHECK_EQ(there.cookie, back.cookie);
    CHECK_EQ(there.source_port, back.source_port);
  }
  CHECK_EQ(rig.count(GatewayCounter::flows_new), 200);
  CHECK_EQ(rig.gateway->flows(), 200);
}

TEST(flows_spread_over_all_targets) {
  Rig rig;
  std::map<uint16_t, int> share;
  for (uint16_t port = 1; port <= 600; ++port) ++share[rig.trip(client_tcp(kSyn, port)).target];
  REQUIRE(share.size() == 3);
  for (const auto& [slot, flows] : share) CHECK(flows > 120);
}

TEST(a_flow_stays_when_the_table_changes) {
  Rig rig;
  std::map<uint16_t, uint16_t> pinned;
  for (uint16_t port = 1; port <= 300; ++port) pinned[port] = connect(rig, port).target;
  select::TargetSpec added;
  added.slot = 3;
  added.address = 0x0a630005;
  added.flags = select::kRegistered | select::kEligible;
  added.identity = 1234;
  rig.targets.push_back(added);
  rig.publish();
  for (uint16_t port = 1; port <= 300; ++port) {
    CHECK_EQ(rig.trip(client_tcp(kAck, port)).target, pinned[port]);
  }
  int on_new = 0;
  for (uint16_t port = 1001; port <= 1300; ++port) {
    on_new += rig.trip(client_tcp(kSyn, port)).target == 3;
  }
  CHECK(on_new > 30);
}

TEST(scopes_keep_equal_tuples_of_two_endpoints_apart) {
  Rig rig;
  const Rig::Trip first = rig.trip(client_tcp(kSyn), 0);
  const Rig::Trip second = rig.trip(client_tcp(kSyn), 1);
  REQUIRE(first.done && second.done);
  CHECK(first.cookie != second.cookie);
  CHECK_EQ(rig.gateway->flows(), 2);
}

TEST(scope_gateway_makes_them_one_flow) {
  Rig rig(3, [](gateway::GatewayConfig& c) { c.scope_gateway = true; });
  const Rig::Trip first = rig.trip(client_tcp(kSyn), 0);
  const Rig::Trip second = rig.trip(server_tcp(kSyn | kAck), 1);
  REQUIRE(first.done && second.done);
  CHECK_EQ(first.cookie, second.cookie);
  CHECK_EQ(rig.gateway->flows(), 1);
}

TEST(unknown_tcp_must_open_with_syn) {
  Rig rig;
  for (const uint8_t flags : {kAck, static_cast<uint8_t>(kSyn | kAck), kRst, kFin}) {
    CHECK(rig.enter(client_tcp(flags)) == Verdict::drop);
    CHECK(rig.reason() == DropReason::tcp_not_syn);
  }
  CHECK_EQ(rig.gateway->flows(), 0);
}

TEST(learning_picks_up_running_connections) {
  Rig rig(3, [](gateway::GatewayConfig& c) {
    c.mid_stream = gateway::MidStream::automatic;
    c.learning_ms = 1000;
  });
  CHECK(rig.trip(client_tcp(kAck, 1)).done);
  CHECK_EQ(rig.count(GatewayCounter::flows_picked_up), 1);
  CHECK(rig.enter(client_tcp(kRst, 2)) == Verdict::drop);
  rig.now_ms += 1000;
  CHECK(rig.enter(client_tcp(kAck, 3)) == Verdict::drop);
  CHECK(rig.reason() == DropReason::tcp_not_syn);
}

TEST(idle_timeouts_per_protocol) {
  Rig rig;
  CHECK(connect(rig).done);
  CHECK(rig.trip(ipv4(kClient, kServer, 17, udp(1, 53))).done);
  rig.age(119'999);
  CHECK_EQ(rig.gateway->flows(), 2);
  rig.age(1);
  CHECK_EQ(rig.gateway->flows(), 1);
  CHECK(rig.trip(client_tcp(kAck)).done);  // refreshes
  rig.age(349'999);
  CHECK_EQ(rig.gateway->flows(), 1);
  rig.age(1);
  CHECK_EQ(rig.gateway->flows(), 0);
  CHECK(rig.enter(client_tcp(kAck)) == Verdict::drop);
  CHECK_EQ(rig.count(GatewayCounter::flows_ended), 2);
}

TEST(fin_both_ways_closes) {
  Rig rig;
  CHECK(connect(rig).done);
  CHECK(rig.trip(client_tcp(kAck | kFin)).done);
  rig.age(60'000);
  CHECK_EQ(rig.gateway->flows(), 1);  // half closed: the full idle timeout
  CHECK(rig.trip(server_tcp(kAck | kFin)).done);
  CHECK(rig.trip(client_tcp(kAck)).done);
  rig.age(15'000);
  CHECK_EQ(rig.gateway->flows(), 0);
}

TEST(a_blind_rst_does_not_unpin_a_living_flow) {
  Rig rig;
  const Rig::Trip opened = rig.trip(client_tcp(kSyn));
  CHECK(rig.trip(client_tcp(kRst)).done);
  rig.now_ms += 5000;
  CHECK(rig.trip(server_tcp(kAck)).done);
  rig.age(60'000);
  const Rig::Trip later = rig.trip(client_tcp(kAck));
  CHECK(later.done);
  CHECK_EQ(later.cookie, opened.cookie);
  CHECK(rig.trip(client_tcp(kRst)).done);
  rig.age(10'000);
  CHECK_EQ(rig.gateway->flows(), 0);
}

TEST(a_syn_on_a_used_entry_is_a_new_flow_with_a_new_cookie) {
  Rig rig;
  const Rig::Trip first = rig.trip(client_tcp(kSyn));
  const Rig::Trip again = rig.trip(client_tcp(kSyn));
  CHECK_EQ(first.cookie, again.cookie);  // a retransmission
  CHECK(rig.trip(client_tcp(kAck)).done);
  const Rig::Trip reused = rig.trip(client_tcp(kSyn));
  CHECK(reused.done);
  CHECK(reused.cookie != first.cookie);
  CHECK_EQ(gateway::cookie_incarnation(reused.cookie),
           gateway::cookie_incarnation(first.cookie) + 1);
  CHECK_EQ(reused.target, first.target);
  CHECK_EQ(rig.gateway->flows(), 1);
  CHECK_EQ(rig.count(GatewayCounter::flows_new), 2);
}

TEST(lenient_accepts_an_older_incarnation_strict_does_not) {
  for (const bool strict : {false, true}) {
    Rig rig;
    if (strict) {
      rig =
          Rig(3, [](gateway::GatewayConfig& c) { c.cookie_check = gateway::CookieCheck::strict; });
    }
    const Rig::Trip first = rig.trip(client_tcp(kSyn));
    CHECK(rig.trip(client_tcp(kAck)).done);
    CHECK(rig.trip(client_tcp(kSyn)).done);
    const Verdict verdict = rig.come_back(first.datagram, rig.targets[first.target].address);
    CHECK(verdict == (strict ? Verdict::drop : Verdict::forward));
    if (strict) CHECK(rig.reason() == DropReason::wrong_cookie);
  }
}

TEST(strangers_and_forged_cookies_change_nothing) {
  Rig rig;
  const Rig::Trip flow = rig.trip(client_tcp(kSyn));
  REQUIRE(flow.done);
  CHECK(rig.come_back(flow.datagram, 0x0a6300fe) == Verdict::drop);
  CHECK(rig.reason() == DropReason::unknown_source);

  const uint16_t other = flow.target == 0 ? 1 : 0;
  CHECK(rig.come_back(flow.datagram, rig.targets[other].address) == Verdict::drop);
  CHECK(rig.reason() == DropReason::wrong_target);

  Bytes forged = flow.datagram;
  forged[39] ^= 1;
  CHECK(rig.come_back(forged, rig.targets[flow.target].address) == Verdict::drop);
  CHECK(rig.reason() == DropReason::wrong_cookie);

  forged = flow.datagram;
  forged[19] ^= 0x20;
  CHECK(rig.come_back(forged, rig.targets[flow.target].address) == Verdict::drop);
  CHECK(rig.reason() == DropReason::unknown_endpoint);

  forged = flow.datagram;
  forged[19] ^= 1;  // the other endpoint's id: no such flow there
  CHECK(rig.come_back(forged, rig.targets[flow.target].address) == Verdict::drop);
  CHECK(rig.reason() == DropReason::no_flow);

  forged = flow.datagram;
  forged[1] = 0x80;
  CHECK(rig.come_back(forged, rig.targets[flow.target].address) == Verdict::drop);
  CHECK(rig.reason() == DropReason::geneve_control);

  CHECK_EQ(rig.gateway->flows(), 1);
  CHECK(rig.trip(client_tcp(kAck)).done);
  CHECK_EQ(rig.all_drops(), 6);
}

TEST(targets_may_share_an_address) {
  Rig rig;
  for (select::TargetSpec& target : rig.targets) {
    target.address = 0x0a630002;
    target.port = static_cast<uint16_t>(6081 + target.slot);
  }
  rig.publish();
  std::set<uint16_t> used;
  for (uint16_t port = 1; port <= 60; ++port) {
    const Rig::Trip trip = rig.trip(client_tcp(kSyn, port));
    REQUIRE(trip.done);
    used.insert(trip.target);
  }
  CHECK_EQ(used.size(), 3);
  for (const uint16_t slot : used) {
    CHECK(rig.gateway->counters().get(slot, gateway::TargetCounter::packets_from) > 0);
  }
}

TEST(options_may_come_back_in_any_order_and_with_others) {
  Rig rig;
  const Rig::Trip flow = rig.trip(client_tcp(kSyn));
  const Bytes& d = flow.datagram;
  Bytes shuffled(d.begin(), d.begin() + 8);
  shuffled.insert(shuffled.end(), d.begin() + 32, d.begin() + 40);
  shuffled.insert(shuffled.end(), d.begin() + 20, d.begin() + 32);
  const Bytes unknown = {0xff, 0xfe, 0x05, 0x01, 1, 2, 3, 4};
  shuffled.insert(shuffled.end(), unknown.begin(), unknown.end());
  shuffled.insert(shuffled.end(), d.begin() + 8, d.begin() + 20);
  shuffled.insert(shuffled.end(), d.begin() + 40, d.end());
  shuffled[0] = 0x0a;
  CHECK(rig.come_back(shuffled, rig.targets[flow.target].address) == Verdict::forward);
  CHECK(rig.bytes(0) == client_tcp(kSyn));
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

TEST(icmp_echo_is_one_flow_whatever_its_id) {
  Rig rig;
  const uint32_t cookie = rig.trip(ipv4(kClient, kServer, 1, icmp_echo(false, 2))).cookie;
  CHECK_EQ(rig.trip(ipv4(kServer, kClient, 1, icmp_echo(true, 3))).cookie, cookie);
  CHECK_EQ(rig.gateway->flows(), 1);
}

TEST(icmp_errors_follow_the_quoted_flow_and_change_nothing) {
  Rig rig;
  const Bytes query = ipv4(kClient, kServer, 17, udp(4000, 53));
  const Rig::Trip flow = rig.trip(query);
  const Bytes error = ipv4(0x0a0002fe, kClient, 1, icmp_unreachable(query, 28));
  rig.now_ms += 60'000;
  const Rig::Trip about = rig.trip(error);
  CHECK(about.done);
  CHECK_EQ(about.cookie, flow.cookie);
  CHECK_EQ(rig.gateway->flows(), 1);
  rig.age(60'000);  // the error has not refreshed it
  CHECK_EQ(rig.gateway->flows(), 0);
  CHECK(rig.enter(error) == Verdict::drop);
  CHECK(rig.reason() == DropReason::icmp_no_flow);
  CHECK(rig.enter(ipv4(1, kClient, 1, icmp_unreachable(query, 12))) == Verdict::drop);
  CHECK(rig.reason() == DropReason::icmp_bad_quote);
}

TEST(fragments_follow_their_train) {
  Rig rig;
  Bytes datagram = udp(4000, 53, 56);
  const Bytes head(datagram.begin(), datagram.begin() + 32);
  const Bytes tail(datagram.begin() + 32, datagram.end());
  const Rig::Trip first = rig.trip(ipv4(kClient, kServer, 17, head, 0x2000));
  const Rig::Trip later = rig.trip(ipv4(kClient, kServer, 17, tail, 4));
  CHECK(first.done && later.done);
  CHECK_EQ(first.cookie, later.cookie);
  CHECK_EQ(rig.gateway->flows(), 1);
}

// A datagram of two fragments.
struct Train {
  Bytes head, tail;
  explicit Train(uint16_t id = 1) {
    const Bytes datagram = udp(4000, 53, 56);
    head = ipv4(kClient, kServer, 17, {datagram.begin(), datagram.begin() + 32}, 0x2000, id);
    tail = ipv4(kClient, kServer, 17, {datagram.begin() + 32, datagram.end()}, 4, id);
  }
};

TEST(a_tail_that_comes_first_waits_for_its_head) {
  Rig rig;
  const Train train;
  REQUIRE(rig.enter(train.tail) == Verdict::held);
  CHECK(rig.gateway->holding());
  CHECK_EQ(rig.gateway->take_held(*rig.batch, rig.now_ms), 0);
  const Rig::Trip head = rig.trip(train.head);
  REQUIRE(head.done);
  REQUIRE(rig.gateway->take_held(*rig.batch, rig.now_ms) == 1);
  CHECK(!rig.gateway->holding());
  CHECK(rig.bytes(0) == train.tail);
  rig.gateway->to_targets(*rig.batch, rig.now_ms);
  CHECK_EQ(rig.batch->cookie[0], head.cookie);
  CHECK(rig.come_back(rig.bytes(0), rig.targets[head.target].address) == Verdict::forward);
  CHECK_EQ(rig.gateway->flows(), 1);
  CHECK_EQ(rig.count(GatewayCounter::packets_in), 2);
  CHECK_EQ(rig.count(GatewayCounter::packets_held), 1);
}

TEST(a_tail_without_a_head_goes_with_its_addresses_and_so_does_the_rest) {
  Rig rig;
  const Train train;
  REQUIRE(rig.enter(train.tail) == Verdict::held);
  rig.now_ms += gateway::kHoldMs - 1;
  REQUIRE(rig.gateway->take_held(*rig.batch, rig.now_ms) == 0);
  rig.now_ms += 1;
  REQUIRE(rig.gateway->take_held(*rig.batch, rig.now_ms) == 1);
  rig.gateway->to_targets(*rig.batch, rig.now_ms);
  REQUIRE(rig.batch->verdict[0] == static_cast<uint8_t>(Verdict::forward));
  const uint32_t cookie = rig.batch->cookie[0];
  CHECK(rig.come_back(rig.bytes(0), rig.batch->address[0]) == Verdict::forward);
  const Rig::Trip again = rig.trip(train.tail);
  CHECK(again.done);
  CHECK_EQ(again.cookie, cookie);
  CHECK(rig.trip(train.head).done);
  CHECK_EQ(rig.gateway->flows(), 2);
}

TEST(a_copy_of_a_finished_datagrams_tail_waits_and_goes_after_it) {
  Rig rig;
  const Train train;
  const Rig::Trip head = rig.trip(train.head);
  REQUIRE(rig.trip(train.tail).done);
  REQUIRE(rig.enter(train.tail) == Verdict::held);
  rig.now_ms += gateway::kHoldMs;
  REQUIRE(rig.gateway->take_held(*rig.batch, rig.now_ms) == 1);
  rig.gateway->to_targets(*rig.batch, rig.now_ms);
  CHECK_EQ(rig.batch->cookie[0], head.cookie);
  CHECK_EQ(rig.gateway->flows(), 1);
}

TEST(order_within_a_batch_does_not_matter) {
  Rig rig;
  const Train train;
  rig.batch->count = 2;
  rig.load(0, train.tail);
  rig.load(1, train.head);
  rig.batch->endpoint[0] = rig.batch->endpoint[1] = 0;
  rig.gateway->to_targets(*rig.batch, rig.now_ms);
  CHECK_EQ(rig.batch->verdict[0], static_cast<uint8_t>(Verdict::forward));
  CHECK_EQ(rig.batch->cookie[0], rig.batch->cookie[1]);
}

TEST(only_so_many_tails_wait) {
  Rig rig;
  for (uint16_t id = 0; id < gateway::kHeldMax; ++id) {
    REQUIRE(rig.enter(Train(id).tail) == Verdict::held);
  }
  CHECK(rig.enter(Train(1000).tail) == Verdict::forward);
}

TEST(too_big_packets_are_dropped_by_reason) {
  Rig rig;
  CHECK(rig.trip(ipv4(kClient, kServer, 17, udp(1, 2, 8500 - 28))).done);
  CHECK(rig.enter(ipv4(kClient, kServer, 17, udp(1, 2, 8501 - 28))) == Verdict::reply);
  CHECK(rig.reason() == DropReason::inner_too_big);
  Rig silent(3, [](gateway::GatewayConfig& c) { c.path_mtu_discovery = false; });
  CHECK(silent.enter(ipv4(kClient, kServer, 17, udp(1, 2, 8501 - 28))) == Verdict::drop);
  CHECK(silent.reason() == DropReason::inner_too_big);
}

TEST(congestion_marks_follow_rfc_6040) {
  Rig rig;
  const Bytes ect0 = ipv4(kClient, kServer, 17, udp(1, 2), 0, 1, 2);
  REQUIRE(rig.enter(ect0) == Verdict::forward);
  const Bytes out = rig.bytes(0);
  const uint32_t address = rig.targets[rig.batch->target[0]].address;
  REQUIRE(rig.come_back(out, address, 3) == Verdict::forward);
  const Bytes marked = ipv4(kClient, kServer, 17, udp(1, 2), 0, 1, 3);
  CHECK(rig.bytes(0) == marked);  // with a correct checksum
  REQUIRE(rig.enter(ipv4(kClient, kServer, 17, udp(1, 2), 0, 1, 0)) == Verdict::forward);
  CHECK(rig.come_back(rig.bytes(0), address, 3) == Verdict::drop);
  CHECK(rig.reason() == DropReason::ecn_not_capable);
}

TEST(inner_ethernet_mode) {
  Rig rig(3, [](gateway::GatewayConfig& c) {
    c.inner = gateway::InnerMode::ethernet;
    const uint8_t source[6] = {2, 0, 0, 0, 0, 1}, destination[6] = {2, 0, 0, 0, 0, 2};
    std::memcpy(c.source_mac, source, 6);
    std::memcpy(c.destination_mac, destination, 6);
  });
  const Bytes packet = client_tcp(kSyn);
  const Rig::Trip trip = rig.trip(packet);
  CHECK(trip.done);
  CHECK_EQ(trip.datagram.size(), packet.size() + 54);
  CHECK_EQ(trip.datagram[2], 0x65);
  CHECK_EQ(trip.datagram[3], 0x58);
  CHECK_EQ(trip.datagram[45], 2);
  CHECK_EQ(trip.datagram[51], 1);
}

TEST(outer_headers_for_embedders) {
  Rig rig(3, [](gateway::GatewayConfig& c) {
    c.outer_headers = true;
    c.address = 0x0a630001;
  });
  const Bytes packet = client_tcp(kSyn);
  REQUIRE(rig.enter(packet) == Verdict::forward);
  Bytes out = rig.bytes(0);
  REQUIRE(out.size() == packet.size() + 68);
  CHECK_EQ(ones_complement(out.data(), 20), 0);
  CHECK_EQ(out[8], 255);
  // The appliance swaps addresses, keeps ports and leaves the UDP checksum 0.
  for (int k = 0; k < 4; ++k) std::swap(out[12 + k], out[16 + k]);
  put16(out, 26, 0);
  REQUIRE(rig.come_back(out, 0) == Verdict::forward);
  CHECK(rig.bytes(0) == packet);
  put16(out, 26, 0x1234);
  CHECK(rig.come_back(out, 0) == Verdict::drop);
  CHECK(rig.reason() == DropReason::outer_bad_checksum);
}

TEST(geneve_endpoints_are_told_apart_by_address_and_vni) {
  Rig rig;
  gateway::EndpointSpec peer;
  peer.kind = gateway::EndpointKind::geneve;
  peer.id = 0xabc;
  peer.peer = 0xc0000207;
  peer.vni = 7;
  rig.gateway->set_endpoint(5, peer);
  const Bytes packet = client_tcp(kSyn);
  Bytes datagram = {0x00, 0x00, 0x08, 0x00, 0, 0, 7, 0};
  datagram.insert(datagram.end(), packet.begin(), packet.end());
  REQUIRE(rig.come_back(datagram, peer.peer) == Verdict::forward);
  CHECK(rig.gateway->leaves_to_target(0));
  CHECK_EQ(rig.batch->endpoint[0], 5);
  const Bytes encapsulated = rig.bytes(0);
  REQUIRE(rig.come_back(encapsulated, rig.targets[rig.batch->target[0]].address) ==
          Verdict::forward);
  CHECK(!rig.gateway->leaves_to_target(0));
  CHECK(rig.bytes(0) == datagram);
  CHECK_EQ(rig.batch->address[0], peer.peer);
  datagram[6] = 8;
  CHECK(rig.come_back(datagram, peer.peer) == Verdict::drop);
  CHECK(rig.reason() == DropReason::unknown_endpoint);
}

TEST(a_full_table_still_forwards) {
  Rig rig;
  const uint32_t flows = base::kFlowsMin * 3;
  for (uint32_t i = 0; i < flows; ++i) {
    const Rig::Trip trip = talk(rig, ipv4(kClient + i, kServer, 17, udp(1, 53)));
    REQUIRE(trip.done);
  }
  CHECK(rig.gateway->flows() >= base::kFlowsMin);
  CHECK_EQ(rig.count(GatewayCounter::packets_to_targets), 3 * flows);
  CHECK(rig.count(GatewayCounter::packets_untracked) > 0);
}

TEST(events_tell_a_flows_life) {
  Rig rig;
  const Rig::Trip trip = rig.trip(client_tcp(kSyn));
  rig.targets[trip.target].flags = select::kRegistered;
  rig.targets[trip.target].generation = 1;
  rig.publish();
  const Rig::Trip moved = rig.trip(client_tcp(kAck));
  rig.age(350'000);
  gateway::FlowEvent events[8];
  REQUIRE(rig.gateway->drain_events(events, 8) == 3);
  CHECK_EQ(events[0].type, 1);
  CHECK_EQ(events[0].target, trip.target);
  CHECK_EQ(events[1].type, 2);
  CHECK_EQ(events[1].previous, trip.target);
  CHECK_EQ(events[1].target, moved.target);
  CHECK_EQ(events[2].type, 3);
  CHECK_EQ(events[2].cause, static_cast<uint8_t>(gateway::FlowCause::idle));
}

TEST(explain_agrees_with_the_decision) {
  Rig rig;
  for (uint16_t port = 1; port <= 100; ++port) {
    const Bytes syn = client_tcp(kSyn, port);
    const auto length = static_cast<uint32_t>(syn.size());
    const gateway::Explanation before = rig.gateway->explain(syn.data(), length, 0, rig.now_ms);
    const Rig::Trip trip = rig.trip(syn);
    CHECK_EQ(before.target, trip.target);
    CHECK(!before.pinned);
    const gateway::Explanation after =
        rig.gateway->explain(syn.data(), length, 0, rig.now_ms + 50'000);
    CHECK(after.pinned);
    CHECK_EQ(after.cookie, trip.cookie);
    CHECK_EQ(after.idle_left_ms, 70'000);
    CHECK(after.cookie_signed);
    CHECK_EQ(after.rows, rig.gateway->targets().rows());
  }
  const Bytes ack = client_tcp(kAck, 999);
  CHECK(rig.gateway->explain(ack.data(), 40, 0, rig.now_ms).error == DropReason::tcp_not_syn);
  CHECK(rig.gateway->explain(ack.data(), 39, 0, rig.now_ms).error == DropReason::inner_truncated);
  CHECK(rig.gateway->explain(ack.data(), 40, 9, rig.now_ms).error == DropReason::unknown_endpoint);
  CHECK_EQ(rig.count(GatewayCounter::packets_in), 100);
}

TEST(flow_counts_per_target_add_up) {
  Rig rig;
  for (uint16_t port = 1; port <= 300; ++port) connect(rig, port);
  uint64_t active = 0;
  for (uint16_t slot = 0; slot < 3; ++slot) {
    active += rig.gateway->counters().get(slot, gateway::TargetCounter::flows_active);
  }
  CHECK_EQ(active, 300);
  rig.age(350'000);
  for (uint16_t slot = 0; slot < 3; ++slot) {
    CHECK_EQ(rig.gateway->counters().get(slot, gateway::TargetCounter::flows_active), 0);
  }
}

// Whatever comes in, goes out or is counted, exactly once.
TEST(every_packet_is_accounted_for) {
  Rig rig(3, [](gateway::GatewayConfig& c) { c.mid_stream = gateway::MidStream::pickup; });
  std::mt19937 random(42);
  uint64_t in = 0, out = 0;
  std::vector<std::pair<Bytes, uint32_t>> datagrams;
  for (int round = 0; round < 20000; ++round) {
    Bytes packet;
    switch (random() % 6) {
      case 0:
        packet =
            client_tcp(static_cast<uint8_t>(random() & 31), static_cast<uint16_t>(random() % 50));
        break;
      case 1:
        packet =
            server_tcp(static_cast<uint8_t>(random() & 31), static_cast<uint16_t>(random() % 50));
        break;
      case 2:
        packet = ipv4(kClient, kServer, 17, udp(static_cast<uint16_t>(random() % 50), 53));
        break;
      case 3:
        packet = ipv6(1, static_cast<uint8_t>(random()), 17, udp(1, 2));
        break;
      case 4:
        packet = ipv4(kServer, kClient, 1,
                      icmp_unreachable(
                          ipv4(kClient, kServer, 17, udp(static_cast<uint16_t>(random() % 60), 53)),
                          random() % 40));
        break;
      default:
        packet = client_tcp(2);
        packet[random() % packet.size()] ^= static_cast<uint8_t>(1u << (random() % 8));
        packet.resize(1 + random() % packet.size());
    }
    ++in;
    const auto endpoint = static_cast<uint16_t>(random() % 3);
    if (rig.enter(packet, endpoint) == Verdict::forward) {
      ++out;
      Bytes datagram = rig.bytes(0);
      const uint32_t address = rig.batch->address[0];
      if (random() % 4 == 0) datagram[random() % datagram.size()] ^= static_cast<uint8_t>(random());
      if (random() % 16 == 0) datagram.resize(random() % datagram.size());
      ++in;
      if (rig.come_back(datagram, random() % 16 == 0 ? address + 1 : address) == Verdict::forward) {
        ++out;
      }
    }
    if (random() % 64 == 0) rig.age(random() % 20'000);
  }
  CHECK_EQ(in, out + rig.all_drops() + rig.count(GatewayCounter::packets_held));
  CHECK_EQ(out,
           rig.count(GatewayCounter::packets_to_targets) + rig.count(GatewayCounter::packets_out));
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

TEST(a_full_table_still_carries_tcp_connections) {
  Rig rig;
  for (uint32_t i = 0; rig.count(GatewayCounter::packets_untracked) == 0; ++i) {
    REQUIRE(talk(rig, ipv4(kClient + i, kServer, 17, udp(1, 53))).done);
    REQUIRE(i < 100 * base::kFlowsMin);
  }
  uint32_t untracked = 0;
  for (uint16_t port = 1; port <= 20; ++port) {
    const uint64_t before = rig.count(GatewayCounter::packets_untracked);
    const Rig::Trip syn = rig.trip(client_tcp(kSyn, port));
    const Rig::Trip answer = rig.trip(server_tcp(kSyn | kAck, port));
    const Rig::Trip data = rig.trip(client_tcp(kAck, port));
    CHECK(syn.done && answer.done && data.done);
    CHECK_EQ(answer.cookie, syn.cookie);
    CHECK_EQ(data.target, syn.target);
    untracked += rig.count(GatewayCounter::packets_untracked) - before > 1;
  }
  CHECK(untracked > 0);
}

TEST(fragments_do_not_open_tcp_connections) {
  Rig rig;
  const Bytes segment = tcp(52144, 443, kAck, 60);
  const Bytes head(segment.begin(), segment.begin() + 24);
  const Bytes tail(segment.begin() + 24, segment.end());
  CHECK(rig.enter(ipv4(kClient, kServer, 6, head, 0x2000)) == Verdict::drop);
  CHECK(rig.enter(ipv4(kClient, kServer, 6, tail, 3)) == Verdict::drop);
  CHECK(rig.reason() == DropReason::tcp_not_syn);
  CHECK_EQ(rig.gateway->flows(), 0);
}

TEST(ipv6_trains_whose_transport_is_behind_another_header_stay_together) {
  Rig rig;
  const Bytes datagram = udp(4000, 53, 56);
  const Bytes options = {17, 0, 1, 4, 0, 0, 0, 0};  // destination options, then UDP
  const auto fragment = [&](uint8_t offset_and_more, const Bytes& part) {
    Bytes b = {60, 0, 0, offset_and_more, 0, 0, 0, 9};
    append(b, part);
    return ipv6(1, 2, 44, b);
  };
  Bytes head = options;
  append(head, Bytes(datagram.begin(), datagram.begin() + 24));
  const Bytes tail(datagram.begin() + 24, datagram.end());
  const Rig::Trip first = rig.trip(fragment(1, head));
  const Rig::Trip later = rig.trip(fragment(32, tail));
  CHECK(first.done && later.done);
  CHECK_EQ(first.cookie, later.cookie);
  CHECK_EQ(rig.gateway->flows(), 1);
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

TEST(after_a_move_only_the_target_it_left_is_welcome) {
  Rig rig;
  const Rig::Trip at_first = rig.trip(client_tcp(kSyn));
  const auto fail = [&](uint16_t slot) {
    rig.targets[slot].flags = select::kRegistered;
    ++rig.targets[slot].generation;
    rig.publish();
  };
  fail(at_first.target);
  const Rig::Trip second = rig.trip(client_tcp(kAck));
  fail(second.target);
  const Rig::Trip third = rig.trip(client_tcp(kAck));
  REQUIRE(third.done);
  CHECK(rig.come_back(second.datagram, rig.targets[second.target].address) == Verdict::forward);
  CHECK(rig.come_back(at_first.datagram, rig.targets[at_first.target].address) == Verdict::drop);
  CHECK(rig.reason() == DropReason::wrong_target);
}

TEST(a_packet_of_no_endpoint_is_a_counted_drop_also_as_the_first_of_a_batch) {
  Rig rig;
  CHECK(rig.enter(client_tcp(2), base::kNoEndpoint) == Verdict::drop);
  CHECK(rig.reason() == DropReason::unknown_endpoint);
  CHECK(rig.enter(client_tcp(2), 7) == Verdict::drop);
  CHECK_EQ(rig.drops(DropReason::unknown_endpoint), 2u);
}

TEST(tagged_frames_of_a_peer_are_refused) {
  Rig rig;
  gateway::EndpointSpec peer;
  peer.kind = gateway::EndpointKind::geneve;
  peer.id = 0xabc;
  peer.peer = 0xc0000207;
  peer.inner = gateway::InnerMode::ethernet;
  rig.gateway->set_endpoint(5, peer);
  const Bytes packet = client_tcp(kSyn);
  Bytes plain = {0, 0, 0x65, 0x58, 0, 0, 0, 0, 2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 8, 0};
  Bytes tagged(plain.begin(), plain.begin() + 20);
  append(tagged, Bytes{0x81, 0, 0, 10, 8, 0});
  append(plain, packet);
  append(tagged, packet);
  CHECK(rig.come_back(tagged, peer.peer) == Verdict::drop);
  CHECK(rig.reason() == DropReason::geneve_bad_protocol);
  REQUIRE(rig.come_back(plain, peer.peer) == Verdict::forward);
  const Bytes out = rig.bytes(0);
  REQUIRE(rig.come_back(out, rig.targets[rig.batch->target[0]].address) == Verdict::forward);
  Bytes swapped = plain;
  std::swap_ranges(swapped.begin() + 8, swapped.begin() + 14, swapped.begin() + 14);
  CHECK(rig.bytes(0) == swapped);
}
