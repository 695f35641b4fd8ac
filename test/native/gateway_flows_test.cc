// What becomes of flows beside their packets: probation, counters and reports, keys that change,
// and previews of other targets.
#include <algorithm>
#include <map>

#include "test/native/gateway_rig.h"

using namespace gwlb;
using namespace gwlb::test;
using base::DropReason;
using batch::Verdict;
using gateway::FlowCause;
using gateway::FlowEvent;
using gateway::FlowEventType;
using gateway::GatewayCounter;

namespace {

constexpr uint8_t kSyn = 2, kAck = 16;
constexpr uint32_t kProbation = base::kFlowsMin / 4;

std::vector<FlowEvent> events_of(Rig& rig) {
  std::vector<FlowEvent> all;
  FlowEvent some[64];
  for (uint32_t n; (n = rig.gateway->drain_events(some, 64)) != 0;) {
    all.insert(all.end(), some, some + n);
  }
  return all;
}

Bytes query(uint16_t port) { return ipv4(kClient, kServer, 17, udp(port, 53)); }

// As many flows as the table has, all confirmed.
void fill(Rig& rig) {
  for (uint16_t port = 1; port <= base::kFlowsMin; ++port) talk(rig, query(port));
}

bool knows(Rig& rig, const Bytes& packet) {
  const auto length = static_cast<uint32_t>(packet.size());
  return rig.gateway->explain(packet.data(), length, 0, rig.now_ms).pinned;
}

}  // namespace

TEST(a_flood_costs_no_confirmed_flow_its_entry) {
  Rig rig;
  for (uint16_t port = 1; port <= 500; ++port) REQUIRE(talk(rig, query(port)).done);
  for (uint16_t port = 1; port <= 5000; ++port) {
    REQUIRE(rig.enter(client_tcp(kSyn, port)) == Verdict::forward);
  }
  CHECK_EQ(rig.gateway->flows(), 500 + kProbation);
  for (uint16_t port = 1; port <= 500; ++port) CHECK(knows(rig, query(port)));
  CHECK_EQ(rig.count(GatewayCounter::flows_evicted), 5000 - kProbation);
  CHECK_EQ(rig.count(GatewayCounter::packets_untracked), 0);
}

TEST(the_oldest_flow_in_probation_gives_way) {
  Rig rig;
  for (uint32_t i = 0; i < kProbation; ++i) {
    REQUIRE(rig.enter(client_tcp(kSyn, static_cast<uint16_t>(1 + i))) == Verdict::forward);
  }
  events_of(rig);
  REQUIRE(rig.enter(client_tcp(kSyn, 60000)) == Verdict::forward);
  CHECK(!knows(rig, client_tcp(kAck, 1)));
  CHECK(knows(rig, client_tcp(kAck, 2)));
  const auto events = events_of(rig);
  REQUIRE(events.size() == 2);
  CHECK_EQ(events[0].cause, static_cast<uint8_t>(FlowCause::evicted));
  CHECK(std::min(events[0].low_port, events[0].high_port) == 1);
}

TEST(a_handshake_ends_probation) {
  Rig rig;
  REQUIRE(connect(rig, 9).done);
  REQUIRE(rig.trip(client_tcp(kSyn, 10)).done);
  REQUIRE(rig.trip(server_tcp(kSyn | kAck, 10)).done);
  for (uint16_t port = 100; port < 1000; ++port) rig.enter(client_tcp(kSyn, port));
  CHECK(knows(rig, client_tcp(kAck, 9)));
  CHECK(!knows(rig, client_tcp(kAck, 10)));
}

TEST(packets_of_one_end_are_enough_where_that_is_asked_for) {
  Rig rig(3, [](gateway::GatewayConfig& c) { c.promotion = gateway::Promotion::ingress; });
  rig.enter(client_tcp(kSyn, 9));
  for (uint32_t i = 0; i < base::kOneSidedPackets; ++i) {
    rig.enter(client_tcp(kAck, 9));
    rig.enter(client_tcp(kSyn, 10));  // sent again: nobody has answered
    rig.enter(query(11));
    if (i != 0) rig.enter(query(12));
  }
  for (uint16_t port = 100; port < 1000; ++port) rig.enter(client_tcp(kSyn, port));
  CHECK(knows(rig, client_tcp(kAck, 9)));
  CHECK(!knows(rig, client_tcp(kAck, 10)));
  CHECK(knows(rig, query(11)));
  CHECK(!knows(rig, query(12)));
}

TEST(without_that_they_are_not) {
  Rig rig;
  rig.enter(client_tcp(kSyn, 9));
  for (int i = 0; i < 9; ++i) rig.enter(client_tcp(kAck, 9));
  for (uint16_t port = 100; port < 1000; ++port) rig.enter(client_tcp(kSyn, port));
  CHECK(!knows(rig, client_tcp(kAck, 9)));
}

TEST(a_flow_that_ended_and_came_back_has_its_whole_time) {
  Rig rig;
  rig.enter(query(9));
  rig.age(120'000);
  REQUIRE(!knows(rig, query(9)));
  for (uint16_t port = 100; port < 100 + kProbation / 2; ++port) rig.enter(query(port));
  rig.enter(query(9));
  // The first time's place in the queue goes by without hurting the second one.
  for (uint16_t port = 1000; port < 1000 + kProbation - 1; ++port) rig.enter(query(port));
  CHECK(knows(rig, query(9)));
  rig.enter(query(5000));
  CHECK(!knows(rig, query(9)));
}

TEST(a_full_table_gives_the_oldest_unconfirmed_place_away) {
  Rig rig;
  fill(rig);
  REQUIRE(rig.gateway->flows() == base::kFlowsMin);
  CHECK(rig.enter(query(20000)) == Verdict::forward);
  CHECK(!knows(rig, query(20000)));
  CHECK_EQ(rig.count(GatewayCounter::packets_untracked), 1);
  // Returned without an entry: its cookie's tag speaks for it.
  CHECK(rig.come_back(rig.bytes(0), rig.batch->address[0]) == Verdict::forward);
  rig.age(120'000);
  for (uint16_t port = 1; port < base::kFlowsMin; ++port) talk(rig, query(port));
  rig.enter(query(20001));
  REQUIRE(knows(rig, query(20001)));
  // The queue is full of places whose flows were confirmed: 64 of them are skipped at a time.
  constexpr uint32_t kPackets = kProbation / 64;
  for (uint16_t i = 1; i < kPackets; ++i) {
    rig.enter(query(20001 + i));
    CHECK(!knows(rig, query(20001 + i)));
  }
  REQUIRE(knows(rig, query(20001)));
  rig.enter(query(30000));
  CHECK(!knows(rig, query(20001)));
  CHECK(knows(rig, query(30000)));
  // From now on each takes the place of the one before.
  rig.enter(query(30001));
  CHECK(!knows(rig, query(30000)));
  CHECK(knows(rig, query(30001)));
}

TEST(an_eviction_does_not_mislead_the_rest_of_the_batch) {
  Rig rig;
  fill(rig);
  rig.age(120'000);
  for (uint16_t port = 1; port < base::kFlowsMin; ++port) talk(rig, query(port));
  rig.enter(query(30000));
  const uint32_t evicted = rig.batch->cookie[0];
  for (uint32_t i = 1; i < kProbation / 64; ++i) rig.enter(query(40000));
  // The second packet's flow is found by the lookup, and evicted by the first packet.
  rig.batch->count = 2;
  rig.load(0, client_tcp(kSyn, 7777));
  rig.load(1, query(30000));
  rig.batch->endpoint[0] = rig.batch->endpoint[1] = 0;
  rig.gateway->to_targets(*rig.batch, rig.now_ms);
  CHECK_EQ(rig.batch->cookie[1], evicted);
  CHECK_EQ(rig.batch->flags[1] & batch::kFlowIsNew, batch::kFlowIsNew);
  CHECK(!knows(rig, client_tcp(kAck, 7777)));
  CHECK_EQ(rig.gateway->flows(), base::kFlowsMin);
}

TEST(flows_count_what_was_sent_and_what_came_back) {
  Rig rig(3, [](gateway::GatewayConfig& c) { c.flow_counters = true; });
  const uint64_t opened = rig.now_ms;
  REQUIRE(rig.trip(query(9)).done);
  rig.now_ms += 1000;
  REQUIRE(rig.enter(query(9)) == Verdict::forward);
  rig.age(120'000);
  const auto events = events_of(rig);
  REQUIRE(events.size() == 2);
  const FlowEvent& end = events[1];
  CHECK_EQ(end.cause, static_cast<uint8_t>(FlowCause::idle));
  CHECK_EQ(end.opened_ms, opened);
  CHECK_EQ(end.packets_to, 2);
  CHECK_EQ(end.bytes_to, 2 * query(9).size());
  CHECK_EQ(end.packets_from, 1);
  CHECK_EQ(end.bytes_from, query(9).size());
}

TEST(a_flow_has_its_age_for_longer_than_32_bits_of_milliseconds) {
  Rig rig(3, [](gateway::GatewayConfig& c) { c.flow_counters = true; });
  const uint64_t opened = rig.now_ms;
  constexpr uint64_t kRound = uint64_t{1} << 32;
  for (uint64_t ms = 0; ms <= kRound; ms += 100'000) {
    REQUIRE(rig.trip(query(9)).done);
    rig.age(100'000);
  }
  events_of(rig);
  rig.age(120'000);
  const auto events = events_of(rig);
  REQUIRE(events.size() == 1);
  CHECK_EQ(events[0].opened_ms, opened);
}

TEST(a_flow_forgets_where_it_moved_from_before_that_clock_comes_round) {
  Rig rig;
  Rig::Trip before;
  uint16_t port = 9;
  for (; before.target != 1; ++port) before = talk(rig, query(port));
  --port;
  rig.targets[1].flags = select::kRegistered;
  rig.targets[1].generation = 1;
  rig.publish();
  REQUIRE(rig.trip(query(port)).target != 1);
  REQUIRE(rig.come_back(before.datagram, rig.targets[1].address) == Verdict::forward);
  constexpr uint64_t kRound = uint64_t{1} << 26;  // 20 bits of 64 ms
  for (uint64_t ms = 0; ms < kRound; ms += 60'000) {
    rig.age(60'000);
    REQUIRE(rig.trip(query(port)).done);
  }
  CHECK(rig.come_back(before.datagram, rig.targets[1].address) == Verdict::drop);
  CHECK(rig.reason() == DropReason::wrong_target);
}

TEST(a_connection_that_takes_a_place_over_counts_from_zero) {
  Rig rig(3, [](gateway::GatewayConfig& c) { c.flow_counters = true; });
  rig.trip(client_tcp(kSyn));
  rig.trip(client_tcp(kAck));
  rig.now_ms += 500;
  rig.trip(client_tcp(kSyn));
  rig.age(350'000);
  const auto events = events_of(rig);
  REQUIRE(events.size() == 4);
  CHECK_EQ(events[1].cause, static_cast<uint8_t>(FlowCause::replaced));
  CHECK_EQ(events[1].packets_to, 2);
  CHECK_EQ(events[2].cause, static_cast<uint8_t>(FlowCause::reopened));
  CHECK_EQ(events[3].packets_to, 1);
  CHECK_EQ(events[3].opened_ms, events[2].now_ms);
}

TEST(every_flow_is_reported_once_an_interval) {
  Rig rig(3, [](gateway::GatewayConfig& c) { c.flow_counters = true; });
  for (uint16_t port = 1; port <= 200; ++port) rig.trip(query(port));
  events_of(rig);
  rig.configure([](gateway::LiveConfig& live) { live.report_interval_ms = 10'000; });
  for (int round = 1; round <= 3; ++round) {
    std::map<uint16_t, int> reports;
    for (int tick = 0; tick < 100; ++tick) {
      rig.now_ms += 100;
      rig.gateway->sweep(rig.now_ms, 1);
      for (const FlowEvent& event : events_of(rig)) {
        CHECK_EQ(event.type, static_cast<uint8_t>(FlowEventType::lives));
        CHECK_EQ(event.packets_to, 1);
        ++reports[std::max(event.low_port, event.high_port) == 53
                      ? std::min(event.low_port, event.high_port)
                      : std::max(event.low_port, event.high_port)];
      }
    }
    CHECK_EQ(reports.size(), 200);
    for (const auto& [port, count] : reports) CHECK_EQ(count, 1);
  }
  rig.configure([](gateway::LiveConfig& live) { live.report_interval_ms = 0; });
  rig.now_ms += 100'000;
  rig.gateway->sweep(rig.now_ms, 1);
  CHECK(events_of(rig).empty());
}

TEST(another_cookie_key_leaves_flows_alone) {
  Rig rig;
  const Rig::Trip before = rig.trip(query(9));
  rig.gateway->set_cookie_key({77, 78}, rig.now_ms, 10'000);
  const Rig::Trip after = rig.trip(query(9));
  CHECK(after.done);
  CHECK_EQ(after.cookie, before.cookie);
  const Rig::Trip other = rig.trip(query(10));
  CHECK(other.done);
}

TEST(a_tag_with_the_key_before_is_good_for_the_overlap) {
  Rig rig;
  // Two incarnations: the older cookie is judged by its tag (lenient).
  const Rig::Trip first = rig.trip(client_tcp(kSyn));
  rig.trip(client_tcp(kAck));
  const Rig::Trip second = rig.trip(client_tcp(kSyn));
  REQUIRE(first.cookie != second.cookie);
  const uint32_t address = rig.targets[first.target].address;
  CHECK(rig.come_back(first.datagram, address) == Verdict::forward);
  rig.gateway->set_cookie_key({77, 78}, rig.now_ms, 10'000);
  rig.now_ms += 9'999;
  CHECK(rig.come_back(first.datagram, address) == Verdict::forward);
  rig.now_ms += 1;
  CHECK(rig.come_back(first.datagram, address) == Verdict::drop);
  CHECK(rig.reason() == DropReason::wrong_cookie);
  CHECK(rig.come_back(second.datagram, address) == Verdict::forward);
}

TEST(a_preview_says_what_then_happens) {
  Rig rig(4);
  for (uint16_t port = 1; port <= 300; ++port) {
    talk(rig, query(port));
    connect(rig, port);
    talk(rig, ipv6(1, static_cast<uint8_t>(port), 17, udp(port, 53)));
  }
  const uint32_t flows = rig.gateway->flows();
  auto targets = rig.targets;
  targets[1].flags = select::kRegistered;  // failed, and told to give up its flows
  ++targets[1].generation;
  targets[2].flags = select::kRegistered | select::kResetFlows;
  const auto table = select::TargetTable::build(targets, 1, false, 9);

  std::map<std::tuple<uint16_t, uint16_t, gateway::Fate>, uint32_t> counts;
  uint32_t total = 0;
  uint32_t cursor = 0;
  do {
    std::vector<gateway::FlowMove> moves;
    rig.gateway->preview(*table, 100, &cursor, &moves);
    for (const auto& move : moves) {
      counts[{move.from, move.to, move.fate}] += move.count;
      total += move.count;
    }
  } while (cursor != 0);
  CHECK_EQ(total, flows);
  CHECK_EQ(rig.gateway->flows(), flows);

  rig.targets = targets;
  rig.publish();
  std::map<std::tuple<uint16_t, uint16_t, gateway::Fate>, uint32_t> happened;
  const auto send = [&](const Bytes& packet) {
    const auto before =
        rig.gateway->explain(packet.data(), static_cast<uint32_t>(packet.size()), 0, rig.now_ms);
    const uint16_t from = gateway::cookie_slot(before.cookie);
    const Verdict verdict = rig.enter(packet);
    if (verdict == Verdict::reply) {
      ++happened[{from, from, gateway::Fate::refused}];
    } else {
      const uint16_t to = rig.batch->target[0];
      const bool moved = (rig.batch->flags[0] & batch::kFlowIsMoved) != 0;
      CHECK_EQ(moved, to != from);
      ++happened[{from, to, moved ? gateway::Fate::moves : gateway::Fate::stays}];
    }
  };
  for (uint16_t port = 1; port <= 300; ++port) {
    send(query(port));
    send(client_tcp(kAck, port));
  }
  for (int port = 1; port <= 300; ++port) {
    if (port < 256 || port >= 512) {
      send(ipv6(1, static_cast<uint8_t>(port), 17, udp(static_cast<uint16_t>(port), 53)));
    }
  }
  for (int port = 256; port <= 300; ++port) {
    send(ipv6(1, static_cast<uint8_t>(port), 17, udp(static_cast<uint16_t>(port), 53)));
  }
  CHECK(counts == happened);
}

TEST(an_explanation_names_the_rule) {
  Rig rig;
  const auto rule_of = [&](const Bytes& packet) {
    return rig.gateway->explain(packet.data(), static_cast<uint32_t>(packet.size()), 0, rig.now_ms)
        .rule;
  };
  using gateway::Rule;
  CHECK(rule_of(client_tcp(kSyn)) == Rule::row);
  CHECK(rule_of(client_tcp(kAck)) == Rule::none);
  const uint16_t target = rig.trip(client_tcp(kSyn)).target;
  CHECK(rule_of(client_tcp(kAck)) == Rule::pinned);
  CHECK(rule_of(client_tcp(kSyn)) == Rule::pinned);
  rig.trip(client_tcp(kAck));
  CHECK(rule_of(client_tcp(kSyn)) == Rule::reopened);
  connect(rig);
  CHECK(rule_of(client_tcp(kSyn)) == Rule::pinned);
  CHECK(rule_of(server_tcp(kSyn | kAck)) == Rule::pinned);
  rig.enter(client_tcp(kSyn));
  CHECK(rule_of(client_tcp(kSyn | kAck)) == Rule::pinned);
  CHECK(rule_of(server_tcp(kSyn | kAck)) == Rule::reopened);
  rig.targets[target].flags = select::kRegistered | select::kResetFlows;
  rig.publish();
  CHECK(rule_of(client_tcp(kAck)) == Rule::refused);
  rig.targets[target].flags = select::kRegistered;
  ++rig.targets[target].generation;
  rig.publish();
  CHECK(rule_of(client_tcp(kAck)) == Rule::moved);
  REQUIRE(rig.trip(client_tcp(kAck)).done);
  rig.now_ms += 640;
  const Bytes packet = client_tcp(kAck);
  const auto moved =
      rig.gateway->explain(packet.data(), static_cast<uint32_t>(packet.size()), 0, rig.now_ms);
  CHECK_EQ(moved.moved_from, target);
  CHECK_EQ(moved.moved_ago_ms, 640);
  CHECK(!moved.probation);
}
