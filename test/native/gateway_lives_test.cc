// What opens a flow, keeps it and ends it.
#include <map>

#include "test/native/gateway_rig.h"

using namespace gwlb;
using namespace gwlb::test;
using base::DropReason;
using batch::Verdict;
using gateway::GatewayCounter;

namespace {

constexpr uint8_t kFin = 1, kSyn = 2, kRst = 4, kAck = 16;

}  // namespace

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
  const auto number = [](gateway::FlowEventType type) { return static_cast<uint8_t>(type); };
  Rig rig;
  const Rig::Trip trip = rig.trip(client_tcp(kSyn));
  rig.targets[trip.target].flags = select::kRegistered;
  rig.targets[trip.target].generation = 1;
  rig.publish();
  const Rig::Trip moved = rig.trip(client_tcp(kAck));
  rig.age(350'000);
  gateway::FlowEvent events[8];
  REQUIRE(rig.gateway->drain_events(events, 8) == 3);
  CHECK_EQ(events[0].type, number(gateway::FlowEventType::opened));
  CHECK_EQ(events[0].target, trip.target);
  CHECK_EQ(events[1].type, number(gateway::FlowEventType::moved));
  CHECK_EQ(events[1].previous, trip.target);
  CHECK_EQ(events[1].target, moved.target);
  CHECK_EQ(events[2].type, number(gateway::FlowEventType::ended));
  CHECK_EQ(events[2].cause, static_cast<uint8_t>(gateway::FlowCause::idle));
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
