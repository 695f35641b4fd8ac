// Verdicts on flows and filters in the appliance's engine, over real sockets: what an inspector has
// decided about never reaches it again, and no flow ever loses its order.
#include <set>

#include "test/native/appliance_rig.h"

namespace gwlb {
namespace {

using appliance::After;
using appliance::Filter;
using appliance::FlowVerdict;
using appliance::kAtOnce;
using namespace test;

// The flow (as numbered() makes them) of packet i of a batch, from its inner UDP source port.
uint16_t flow_at(ApplianceEngine& engine, int number, uint32_t i) {
  return static_cast<uint16_t>(engine.appliance(number).opened(i).inner.source_port - 1000);
}

TEST(a_flow_that_was_passed_stays_away) {
  GatewaySide gateway;
  ApplianceEngineConfig config = inspected_for(gateway);
  std::set<uint16_t> decided;
  std::atomic<uint32_t> shown{0};
  Inspected inspected(config, [&](ApplianceEngine& engine, int number) {
    const engine::ApplianceLoad& load = engine.load(number);
    for (uint32_t v = 0; v < load.shown_count; ++v) {
      const uint32_t i = load.shown[v];
      if (load.hidden[i]) continue;
      ++shown;
      CHECK(decided.insert(flow_at(engine, number, i)).second);
      CHECK(engine.decide(number, i, FlowVerdict::pass, kAtOnce));
    }
    CHECK(engine.release(number));
  });
  ApplianceEngine* engine = inspected.engine();
  REQUIRE(engine);
  CHECK_EQ(exchange(gateway, *engine, 4000, small), 4000u);
  inspected.finish();
  engine->stop();
  CHECK_EQ(shown, 8u);
  CHECK_EQ(returned(*engine), 4000u);
  CHECK_EQ(count(*engine, ApplianceCounter::flows_passed), 8u);
  CHECK_EQ(count(*engine, ApplianceCounter::packets_inspected), 8u);
  CHECK_EQ(count(*engine, ApplianceCounter::flow_packets_passed), 4000u - 8);
  CHECK_EQ(all_drops(*engine), 0u);
}

// Inspectors that hold batches, let them go in any order, and decide at random.
void random_verdicts(uint32_t seed) {
  GatewaySide gateway;
  ApplianceEngineConfig config = inspected_for(gateway);
  config.batches = 4;
  config.jumbo = false;
  HeldBatches held(seed);
  struct Flow {
    bool decided = false;
    bool passes = false;
    uint32_t may_see = 0;
  };
  std::map<uint16_t, Flow> flows;
  uint32_t own_drops = 0;
  const auto look = [&](ApplianceEngine& engine, int number) {
    const engine::ApplianceLoad& load = engine.load(number);
    for (uint32_t v = 0; v < load.shown_count; ++v) {
      const uint32_t i = load.shown[v];
      if (load.hidden[i]) continue;
      Flow& flow = flows[flow_at(engine, number, i)];
      if (flow.decided) {
        CHECK(flow.may_see > 0);
        --flow.may_see;
        continue;
      }
      if (held.next(16) == 0) {
        flow.decided = true;
        flow.passes = held.next(2) == 0;
        flow.may_see = held.next(2) == 0 ? 0 : held.next(40);
        const After after = {flow.may_see, UINT64_MAX};
        CHECK(engine.decide(number, i, flow.passes ? FlowVerdict::pass : FlowVerdict::drop, after));
      } else if (held.next(16) == 0) {
        drop(engine, number, i);
        ++own_drops;
      }
    }
    held.keep(engine, number, held.next(4));
  };
  Inspected inspected(config, look, [&](ApplianceEngine& engine) { held.give_back(engine); });
  ApplianceEngine* engine = inspected.engine();
  REQUIRE(engine);
  const uint32_t back = exchange(gateway, *engine, 3000, small);  // which checks the order
  inspected.finish();
  engine->stop();
  uint64_t passed = 0;
  uint64_t dropped = 0;
  for (const auto& [name, flow] : flows) {
    CHECK(flow.decided);
    CHECK_EQ(flow.may_see, 0u);
    (flow.passes ? passed : dropped) += 1;
  }
  CHECK_EQ(flows.size(), 8u);
  CHECK_EQ(count(*engine, ApplianceCounter::flows_passed), passed);
  CHECK_EQ(count(*engine, ApplianceCounter::flows_dropped), dropped);
  CHECK_EQ(count(*engine, ApplianceCounter::flow_packets_dropped) + own_drops,
           drops(*engine, DropReason::appliance_verdict));
  CHECK_EQ(returned(*engine), back);
  CHECK_EQ(received(*engine), returned(*engine) + all_drops(*engine));
  CHECK_EQ(received(*engine), count(*engine, ApplianceCounter::packets_inspected) +
                                  count(*engine, ApplianceCounter::flow_packets_passed) +
                                  count(*engine, ApplianceCounter::flow_packets_dropped));
  CHECK_EQ(count(*engine, ApplianceCounter::packets_untracked), 0u);
}

TEST(random_verdicts_hold_and_keep_the_order) {
  for (uint32_t seed = 1; seed <= 6; ++seed) random_verdicts(seed);
}

TEST(a_passed_flow_does_not_overtake_what_is_held) {
  GatewaySide gateway;
  ApplianceEngineConfig config = inspected_for(gateway);
  const auto engine = start(config);
  REQUIRE(engine);
  std::vector<int> held;
  const auto take = [&] {
    CHECK(eventually([&] {
      const int number = engine->next_batch();
      if (number >= 0) held.push_back(number);
      return number >= 0;
    }));
  };
  gateway.send(numbered(0, 0), engine->port());
  take();
  gateway.send(numbered(0, 1), engine->port());
  take();
  gateway.send(numbered(1, 2), engine->port());
  take();
  // Verdict on the second packet: the first two are under way, the third of the flow waits, the
  // other flow's does not have to wait for that.
  CHECK(engine->decide(held[1], 0, FlowVerdict::pass, kAtOnce));
  gateway.send(numbered(0, 3), engine->port());
  CHECK(eventually([&] { return received(*engine) == 4; }));
  Bytes bytes;
  uint16_t port = 0;
  CHECK(engine->release(held[1]));
  CHECK(!gateway.receive(&bytes, &port, 50));
  CHECK(engine->release(held[0]));
  for (const uint32_t n : {0u, 1u}) {
    REQUIRE(gateway.receive(&bytes, &port));
    CHECK_EQ(number_of(bytes), n);
  }
  CHECK(!gateway.receive(&bytes, &port, 50));  // the third batch was handed out before
  CHECK(engine->release(held[2]));
  for (const uint32_t n : {2u, 3u}) {
    REQUIRE(gateway.receive(&bytes, &port));
    CHECK_EQ(number_of(bytes), n);
  }
  gateway.send(numbered(0, 4), engine->port());
  REQUIRE(gateway.receive(&bytes, &port));
  CHECK_EQ(number_of(bytes), 4u);
  CHECK_EQ(engine->next_batch(), -1);
}

TEST(passed_flows_go_on_while_others_are_held) {
  GatewaySide gateway;
  ApplianceEngineConfig config = inspected_for(gateway);
  const auto engine = start(config);
  REQUIRE(engine);
  int number = -1;
  gateway.send(numbered(0, 0), engine->port());
  REQUIRE(eventually([&] { return (number = engine->next_batch()) >= 0; }));
  CHECK(engine->decide(number, 0, FlowVerdict::pass, kAtOnce));
  CHECK(engine->release(number));
  Bytes bytes;
  uint16_t port = 0;
  REQUIRE(gateway.receive(&bytes, &port));
  gateway.send(numbered(1, 1), engine->port());
  REQUIRE(eventually([&] { return (number = engine->next_batch()) >= 0; }));
  for (uint32_t n = 2; n < 50; ++n) {
    gateway.send(numbered(0, n), engine->port());
    REQUIRE(gateway.receive(&bytes, &port));
    CHECK_EQ(number_of(bytes), n);
  }
  CHECK(engine->release(number));
  REQUIRE(gateway.receive(&bytes, &port));
  CHECK_EQ(number_of(bytes), 1u);
}

TEST(switching_off_or_forgetting_ends_verdicts) {
  GatewaySide gateway;
  ApplianceEngineConfig config = inspected_for(gateway);
  const auto engine = start(config);
  REQUIRE(engine);
  Bytes bytes;
  uint16_t port = 0;
  for (uint32_t round = 0; round < 3; ++round) {
    int number = -1;
    gateway.send(numbered(0, round), engine->port());
    REQUIRE(eventually([&] { return (number = engine->next_batch()) >= 0; }));
    CHECK(engine->decide(number, 0, FlowVerdict::drop, kAtOnce));
    CHECK(engine->release(number));
    REQUIRE(gateway.receive(&bytes, &port));  // of this packet nothing was said
    gateway.send(numbered(0, 77), engine->port());
    CHECK(eventually([&] { return all_drops(*engine) == round + 1; }));
    if (round == 0) {
      engine->forget_flows();
    } else {
      CHECK(engine->set_inspect(false));
      gateway.send(numbered(0, 78), engine->port());
      REQUIRE(gateway.receive(&bytes, &port));
      CHECK_EQ(number_of(bytes), 78u);
      CHECK(engine->set_inspect(true));
    }
  }
  CHECK_EQ(count(*engine, ApplianceCounter::flows_ended), 3u);
}

Filter port_filter(uint16_t port) {
  std::vector<uint32_t> words(Filter::kWords);
  words[0] = 3 | 3 << 8;
  words[1] = uint32_t{Filter::kAccept} | uint32_t{Filter::kReject} << 16;
  words[2] = port | uint32_t{port} << 16;
  Filter filter;
  CHECK(Filter::read(words.data(), words.size(), &filter));
  return filter;
}

TEST(a_filter_shows_what_matches_and_passes_the_rest) {
  GatewaySide gateway;
  std::atomic<uint64_t> seen{0};
  std::atomic<uint16_t> wanted{0};
  std::atomic<uint16_t> set{0};
  ApplianceEngineConfig config = config_for(gateway);
  Inspected inspected(
      config,
      [&](ApplianceEngine& engine, int number) {
        for (uint32_t i = 0; i < engine.batch(number).count; ++i) {
          CHECK_EQ(flow_at(engine, number, i), wanted);
          ++seen;
        }
        engine.release(number);
      },
      [&](ApplianceEngine& engine) {
        if (set == wanted) return;
        CHECK(engine.set_inspect(true, port_filter(static_cast<uint16_t>(1000 + wanted))));
        set = wanted.load();
      });
  ApplianceEngine* engine = inspected.engine();
  REQUIRE(engine);
  for (uint16_t round = 1; round <= 6; ++round) {
    wanted = round;
    CHECK(eventually([&] { return set == wanted; }));
    const uint64_t before = seen;
    const uint64_t unmatched = count(*engine, ApplianceCounter::packets_unmatched);
    CHECK_EQ(exchange(gateway, *engine, 800, small), 800u);
    CHECK_EQ(seen - before, 100u);
    CHECK_EQ(count(*engine, ApplianceCounter::packets_unmatched) - unmatched, 700u);
  }
}

TEST(a_verdict_goes_before_the_filter) {
  GatewaySide gateway;
  ApplianceEngineConfig config = inspected_for(gateway);
  const auto engine = start(config);
  REQUIRE(engine);
  int number = -1;
  gateway.send(numbered(0, 0), engine->port());
  REQUIRE(eventually([&] { return (number = engine->next_batch()) >= 0; }));
  CHECK(engine->decide(number, 0, FlowVerdict::drop, kAtOnce));
  CHECK(engine->release(number));
  CHECK(engine->set_inspect(true, port_filter(9)));
  Bytes bytes;
  uint16_t port = 0;
  REQUIRE(gateway.receive(&bytes, &port));
  gateway.send(numbered(0, 1), engine->port());
  gateway.send(numbered(1, 2), engine->port());
  REQUIRE(gateway.receive(&bytes, &port));
  CHECK_EQ(number_of(bytes), 2u);
  CHECK(eventually([&] { return drops(*engine, DropReason::appliance_verdict) == 1; }));
}

}  // namespace
}  // namespace gwlb
