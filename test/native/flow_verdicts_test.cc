// Verdicts on flows, without sockets: which packets are of a flow, from when to when a verdict
// lasts, and what happens where there is no room.
#include "appliance/flow_verdicts.h"

#include <map>
#include <random>

#include "test/native/datagrams.h"
#include "test/native/test.h"

namespace gwlb {
namespace {

using namespace appliance;
using namespace test;
using Way = FlowVerdicts::Way;
using Sight = FlowVerdicts::Sight;

constexpr uint32_t kA = 0x0a000001;
constexpr uint32_t kB = 0x0a000002;
constexpr uint8_t kSynAck = wire::kSyn | wire::kAck;

Bytes from_endpoint(const Bytes& packet, uint64_t endpoint, uint32_t vni = 0) {
  std::vector<Option> options = gateway_options(1);
  options[0].data = big_endian(endpoint, 8);
  return geneve(packet[0] >> 4 == 4 ? 0x0800 : 0x86dd, options, vni) + packet;
}

// One packet at a time; the load of packet n has the sequence n.
struct Bench {
  std::unique_ptr<batch::PacketBatch> batch =
      batch::PacketBatch::create(8, base::kSlotStrideStandard);
  Appliance opener{ApplianceConfig{}};
  std::unique_ptr<FlowVerdicts> flows;
  uint32_t now_ms = 1000;
  uint32_t sequence = 0;

  explicit Bench(FlowLimits limits = {2048, 2048, 64, 350'000, 120'000})
      : flows(FlowVerdicts::create(limits, {1, 2})) {}

  Way look(const Bytes& bytes) {
    batch->count = 1;
    batch->reset(0, static_cast<uint32_t>(bytes.size()));
    std::memcpy(batch->packet(0), bytes.data(), bytes.size());
    opener.open(*batch);
    if (!opener.opened(0).is_open()) report_failure(__FILE__, __LINE__, "not a good datagram");
    flows->look_up(*batch, opener, now_ms);
    return flows->way_of(0);
  }
  Way packet(const Bytes& inner) { return look(datagram(inner)); }
  FlowRef enter(const Bytes& inner) {
    packet(inner);
    return flows->enter(0, ++sequence);
  }
  // To the inspector, which gives its verdict, and back.
  bool verdict(const Bytes& inner, FlowVerdict verdict, After after = kAtOnce) {
    const FlowRef ref = enter(inner);
    const bool done = flows->decide(ref, verdict, after);
    flows->settle(ref, sequence);
    return done;
  }
};

Bytes tcp4(uint8_t flags, bool back = false) {
  return back ? ipv4(kB, kA, 6, tcp(443, 4000, flags)) : ipv4(kA, kB, 6, tcp(4000, 443, flags));
}
Bytes udp4(uint16_t port, bool back = false) {
  return back ? ipv4(kB, kA, 17, udp(53, port)) : ipv4(kA, kB, 17, udp(port, 53));
}

TEST(both_directions_follow_a_verdict_and_others_do_not) {
  for (const FlowVerdict verdict : {FlowVerdict::pass, FlowVerdict::drop}) {
    Bench bench;
    const Way way = verdict == FlowVerdict::pass ? Way::pass : Way::drop;
    CHECK(bench.packet(udp4(1000)) == Way::inspect);
    CHECK(bench.verdict(udp4(1000), verdict));
    CHECK(bench.packet(udp4(1000)) == way);
    CHECK(bench.packet(udp4(1000, true)) == way);
    CHECK(bench.packet(udp4(1001)) == Way::inspect);
    CHECK(bench.packet(ipv4(kA, kB, 6, tcp(1000, 53, wire::kAck))) == Way::inspect);
    CHECK(bench.packet(ipv6(1, 2, 17, udp(1000, 53))) == Way::inspect);
    CHECK(bench.verdict(ipv6(1, 2, 17, udp(1000, 53)), verdict));
    CHECK(bench.packet(ipv6(2, 1, 17, udp(53, 1000))) == way);
    CHECK_EQ(bench.flows->flows(), 2u);
  }
}

TEST(protocols_without_ports_have_the_three_tuple) {
  Bench bench;
  CHECK(bench.verdict(ipv4(kA, kB, 1, icmp_echo(false, 7)), FlowVerdict::pass));
  CHECK(bench.packet(ipv4(kB, kA, 1, icmp_echo(true, 9))) == Way::pass);
  CHECK(bench.packet(ipv4(kB, kA, 47, Bytes(20))) == Way::inspect);
}

TEST(endpoints_and_networks_are_told_apart) {
  Bench bench;
  const Bytes packet = udp4(1000);
  bench.look(from_endpoint(packet, 5, 9));
  CHECK(bench.flows->decide(bench.flows->enter(0, 1), FlowVerdict::drop, kAtOnce));
  CHECK(bench.look(from_endpoint(packet, 5, 9)) == Way::drop);
  CHECK(bench.look(from_endpoint(packet, 5, 8)) == Way::inspect);
  CHECK(bench.look(from_endpoint(packet, 6, 9)) == Way::inspect);
}

TEST(flows_without_a_verdict_leave_with_their_last_packet) {
  Bench bench;
  const FlowRef first = bench.enter(udp4(1000));
  const FlowRef second = bench.enter(udp4(1000, true));
  CHECK(first == second);
  CHECK_EQ(bench.flows->flows(), 1u);
  bench.flows->settle(first, 1);
  CHECK_EQ(bench.flows->flows(), 1u);
  bench.flows->settle(second, 2);
  CHECK_EQ(bench.flows->flows(), 0u);
  CHECK(!bench.flows->decide(first, FlowVerdict::drop, kAtOnce));  // too late
  const FlowRef third = bench.enter(udp4(1000));
  CHECK_EQ(third.place, first.place);  // the place is another flow's now
  CHECK(!bench.flows->decide(first, FlowVerdict::drop, kAtOnce));
  CHECK(bench.packet(udp4(1000)) == Way::inspect);
  CHECK_EQ(bench.flows->take_ended(), 0u);
}

TEST(a_verdict_waits_for_the_packets_under_way) {
  Bench bench;
  const FlowRef ref = bench.enter(udp4(1000));
  bench.enter(udp4(2000));
  CHECK(bench.flows->decide(ref, FlowVerdict::pass, kAtOnce));
  CHECK(bench.packet(udp4(1000)) == Way::pass);
  CHECK(bench.flows->under_way(0, 0));
  CHECK(!bench.flows->under_way(0, 1));
  CHECK(bench.packet(udp4(1000, true)) == Way::pass);
  CHECK(!bench.flows->under_way(0, 1));
  for (const uint32_t finished : {0x70000000u, 0xe0000000u, 5u}) {  // sequences wrap
    CHECK(!bench.flows->under_way(0, finished));
  }
}

TEST(it_takes_effect_after_packets_or_bytes) {
  Bench bench;
  bool effective = true;
  const FlowRef ref = bench.enter(udp4(1000));
  CHECK(bench.flows->decide(ref, FlowVerdict::pass, {2, UINT64_MAX}));
  CHECK(bench.packet(udp4(1000)) == Way::inspect);
  CHECK(bench.flows->sight_of(ref, 100, &effective) == Sight::show);
  CHECK(!effective);
  CHECK(bench.packet(udp4(1000)) == Way::inspect);
  CHECK(bench.flows->sight_of(ref, 100, &effective) == Sight::show);
  CHECK(effective);
  CHECK(bench.flows->sight_of(ref, 100, &effective) == Sight::pass);
  CHECK(!effective);
  CHECK(bench.packet(udp4(1000)) == Way::pass);

  const FlowRef other = bench.enter(udp4(2000));
  CHECK(bench.flows->decide(other, FlowVerdict::drop, {UINT64_MAX, 150}));
  CHECK(bench.flows->sight_of(other, 100, &effective) == Sight::show);
  CHECK(!effective);
  bench.flows->settle(other, bench.sequence);
  CHECK_EQ(bench.flows->flows(), 2u);  // it counts still
  CHECK(bench.flows->sight_of(bench.enter(udp4(2000)), 100, &effective) == Sight::show);
  CHECK(effective);
  CHECK(bench.packet(udp4(2000)) == Way::drop);
}

TEST(a_new_connection_has_no_verdict) {
  Bench bench;
  CHECK(bench.verdict(tcp4(wire::kSyn), FlowVerdict::pass));
  CHECK(bench.packet(tcp4(wire::kSyn)) == Way::pass);  // sent again
  CHECK(bench.packet(tcp4(kSynAck, true)) == Way::pass);
  CHECK(bench.packet(tcp4(wire::kSyn)) == Way::pass);
  CHECK(bench.packet(tcp4(wire::kAck)) == Way::pass);
  CHECK(bench.packet(tcp4(kSynAck, true)) == Way::pass);
  CHECK(bench.packet(tcp4(wire::kSyn)) == Way::inspect);
  CHECK(bench.packet(tcp4(kSynAck, true)) == Way::inspect);
  CHECK_EQ(bench.flows->take_ended(), 1u);
  CHECK(bench.verdict(tcp4(wire::kSyn), FlowVerdict::drop));
  CHECK(bench.packet(tcp4(wire::kSyn)) == Way::drop);
  CHECK(bench.packet(tcp4(wire::kSyn)) == Way::drop);
}

TEST(a_verdict_on_the_old_connection_does_not_reach_the_new_one) {
  Bench bench;
  CHECK(bench.verdict(tcp4(wire::kAck), FlowVerdict::pass));
  const FlowRef old = bench.enter(tcp4(wire::kAck));
  CHECK(bench.packet(tcp4(wire::kSyn)) == Way::inspect);
  const FlowRef fresh = bench.flows->enter(0, ++bench.sequence);
  CHECK(!bench.flows->decide(old, FlowVerdict::drop, kAtOnce));
  CHECK(bench.flows->standing(old) == Sight::show);
  CHECK(bench.packet(tcp4(wire::kSyn)) == Way::inspect);
  CHECK(bench.flows->decide(fresh, FlowVerdict::drop, kAtOnce));
  CHECK(bench.packet(tcp4(wire::kSyn)) == Way::drop);
}

TEST(flows_end_when_they_are_idle_or_closed) {
  struct Case {
    std::vector<Bytes> packets;
    uint32_t idle_ms;
  };
  const std::vector<Case> cases = {
      {{udp4(1000)}, 120'000},
      {{tcp4(wire::kAck)}, 350'000},
      {{tcp4(wire::kFin | wire::kAck)}, 350'000},
      {{tcp4(wire::kFin | wire::kAck), tcp4(wire::kFin | wire::kAck, true)}, 15'000},
      {{tcp4(wire::kRst)}, 10'000},
      {{tcp4(wire::kRst), tcp4(wire::kAck)}, 350'000},
  };
  for (const Case& c : cases) {
    for (const bool swept : {false, true}) {
      Bench bench;
      CHECK(bench.verdict(c.packets[0], FlowVerdict::pass));
      for (const Bytes& packet : c.packets) CHECK(bench.packet(packet) == Way::pass);
      bench.now_ms += c.idle_ms - 1;
      CHECK(bench.packet(ipv4(3, 4, 17, udp(1, 2))) == Way::inspect);  // for the time
      bench.flows->sweep(1 << 20);
      CHECK_EQ(bench.flows->flows(), 1u);
      ++bench.now_ms;
      CHECK(bench.packet(ipv4(3, 4, 17, udp(1, 2))) == Way::inspect);
      if (swept) bench.flows->sweep(1 << 20);
      CHECK_EQ(bench.flows->flows(), swept ? 0u : 1u);
      CHECK(bench.packet(c.packets[0]) == Way::inspect);
      CHECK_EQ(bench.flows->take_ended(), 1u);
    }
  }
}

TEST(an_icmp_error_follows_the_flow_it_quotes) {
  Bench bench;
  const Bytes error = ipv4(0x0a0000fe, kA, 1, icmp_unreachable(udp4(1000), 28));
  CHECK(bench.packet(error) == Way::inspect);
  CHECK(!bench.enter(error).known());
  CHECK(!bench.flows->had_no_room());
  CHECK(bench.verdict(udp4(1000), FlowVerdict::drop));
  CHECK(bench.packet(error) == Way::drop);
  bench.now_ms += 119'000;
  CHECK(bench.packet(error) == Way::drop);  // which refreshes nothing
  bench.now_ms += 1'000;
  CHECK(bench.packet(error) == Way::inspect);
}

Bytes fragment4(uint16_t offset_bytes, bool more, const Bytes& payload) {
  return ipv4(kA, kB, 17, payload, static_cast<uint16_t>(offset_bytes / 8 | (more ? 0x2000 : 0)));
}

TEST(later_fragments_follow_their_first_one) {
  Bench bench;
  const Bytes first = fragment4(0, true, udp(1000, 53, 16));
  const Bytes later = fragment4(24, false, Bytes(32, 1));
  CHECK(!bench.enter(later).known());  // nobody knows its ports
  CHECK(bench.verdict(udp4(1000), FlowVerdict::pass));
  CHECK(bench.packet(later) == Way::inspect);
  CHECK(bench.packet(first) == Way::pass);
  bench.now_ms += 29'999;
  CHECK(bench.packet(later) == Way::pass);
  CHECK(bench.packet(later) == Way::inspect);  // another datagram's: all of the first has come
  CHECK(bench.packet(first) == Way::pass);
  bench.now_ms += 30'000;
  CHECK(bench.packet(later) == Way::inspect);
}

TEST(a_full_table_keeps_its_verdicts_and_says_so) {
  Bench bench({1024, 1024, 64, 350'000, 120'000});
  uint32_t decided = 0;
  for (uint16_t port = 1; port <= 3000; ++port) {
    if (bench.verdict(udp4(port), FlowVerdict::pass)) {
      ++decided;
    } else {
      CHECK(bench.flows->had_no_room());
    }
  }
  CHECK_EQ(decided, 1024u);
  CHECK_EQ(bench.flows->flows(), 1024u);
  uint32_t passed = 0;
  for (uint16_t port = 1; port <= 3000; ++port) passed += bench.packet(udp4(port)) == Way::pass;
  CHECK_EQ(passed, decided);
  CHECK(bench.verdict(ipv6(1, 2, 17, udp(1, 2)), FlowVerdict::pass));
  bench.flows->clear();
  CHECK_EQ(bench.flows->flows(), 0u);
  CHECK_EQ(bench.flows->take_ended(), decided + 1);
  CHECK(bench.packet(udp4(1)) == Way::inspect);
  CHECK(bench.verdict(udp4(3000), FlowVerdict::drop));
}

// A few flows with every kind of event in random order, against a map.
TEST(random_events_agree_with_a_model) {
  struct Model {
    bool decided = false;
    Way way = Way::inspect;
    uint32_t seen_ms = 0;
  };
  std::mt19937 random(7);
  for (uint32_t run = 0; run < 20; ++run) {
    Bench bench;
    std::map<uint16_t, Model> model;
    for (uint32_t step = 0; step < 2000; ++step) {
      const auto port = static_cast<uint16_t>(1 + random() % 12);
      const Bytes packet = udp4(port, random() % 2 == 0);
      bench.now_ms += random() % 10 == 0 ? random() % 200'000 : random() % 100;
      Model& flow = model[port];
      if (flow.decided && bench.now_ms - flow.seen_ms >= 120'000) flow = {};
      CHECK(bench.packet(packet) == flow.way);
      if (flow.decided) flow.seen_ms = bench.now_ms;
      if (random() % 4 == 0) {
        const auto verdict = random() % 2 == 0 ? FlowVerdict::pass : FlowVerdict::drop;
        CHECK(bench.verdict(packet, verdict));
        flow = {true, verdict == FlowVerdict::pass ? Way::pass : Way::drop, bench.now_ms};
      }
      if (random() % 8 == 0) bench.flows->sweep(random() % 5000);
    }
    bench.now_ms += 1'000'000;
    bench.packet(udp4(500));
    bench.flows->sweep(1 << 20);
    CHECK_EQ(bench.flows->flows(), 0u);
  }
}

}  // namespace
}  // namespace gwlb
