// The engine's functions called from many threads at once, while it starts, works and ends.
#include <cerrno>
#include <random>

#include "test/native/engine_rig.h"

using namespace gwlb;
using namespace gwlb::test;

namespace {

constexpr uint16_t kEndpoints = 4;

// What takes long: any outcome but a wrong one.
void change(engine::GatewayEngine& engine, std::mt19937& random) {
  const auto index = static_cast<uint16_t>(random() % kEndpoints);
  switch (random() % 4) {
    case 0: {
      const io::OsError error = engine.add_endpoint(index, peer_endpoint(6081));
      CHECK(error.ok() || error.number == ESHUTDOWN);
      return;
    }
    case 1:
      return engine.remove_endpoint(index);
    case 2: {
      const io::OsError error = engine.restore_tun(index);
      CHECK(error.number == EINVAL || error.number == ESHUTDOWN);
      return;
    }
    default:
      CHECK(engine.look_at_devices().empty());
  }
}

gateway::LiveConfig live_config(std::mt19937& random) {
  gateway::LiveConfig live;
  live.fail_open = random() % 2 == 0;
  live.tcp_idle_ms = 1000 + random() % 1000;
  return live;
}

void set(engine::GatewayEngine& engine, std::mt19937& random) {
  switch (random() % 4) {
    case 0:
      return engine.configure(live_config(random),
                              one_target(static_cast<uint16_t>(6000 + random() % 100)));
    case 1:
      return engine.configure(live_config(random));
    case 2:
      return engine.set_cookie_key({random(), random()}, 1000);
    default:
      CHECK(engine.set_recording((random() % 2) << 20, 1000).ok());
  }
}

void ask(engine::GatewayEngine& engine, std::mt19937& random) {
  const uint8_t bytes[20] = {0x45};
  switch (random() % 7) {
    case 0:
      engine.explain(bytes, sizeof bytes, 0);
      return;
    case 1:
      return engine.count_losses();
    case 2: {
      std::vector<engine::RecordedPacket> packets;
      uint64_t lost;
      return engine.read_recording(&packets, &lost);
    }
    case 3: {
      std::vector<gateway::FlowEvent> events;
      uint32_t cursor = 0;
      return engine.end_flows(100, &cursor, &events);
    }
    case 4: {
      io::OsError error;
      CHECK(!engine.failed(&error));
      return;
    }
    case 5: {
      io::UdpPeer peers[4];
      engine.drain_unreachable(peers, 4);
      engine.send_datagram(kTarget, 9, 0, bytes, sizeof bytes);
      return;
    }
    default: {
      gateway::FlowEvent events[4];
      engine.drain_events(events, 4);
      return engine.discard_events();
    }
  }
}

}  // namespace

TEST(any_calls_of_an_engine_at_once) {
  const int before = open_descriptors();
  for (uint32_t seed = 1; seed <= 6; ++seed) {
    std::unique_ptr<engine::GatewayEngine> engine;
    REQUIRE(engine::GatewayEngine::open(config_for(2), &engine).ok());
    std::vector<std::thread> threads;
    using Call = void (*)(engine::GatewayEngine&, std::mt19937&);
    for (const Call call : {change, change, set, ask}) {
      threads.emplace_back([&engine, call, state = seed * 10 + threads.size()] {
        std::mt19937 random(static_cast<uint32_t>(state));
        for (int i = 0; i < 200; ++i) call(*engine, random);
      });
    }
    // Two ends, of which neither returns before all is over.
    for (const bool release : {false, true}) {
      threads.emplace_back([&engine, release, seed] {
        usleep(seed * 1000);
        if (release) return engine->release();
        engine->stop();
        CHECK_EQ(engine->add_endpoint(0, peer_endpoint(6081)).number, ESHUTDOWN);
      });
    }
    const io::OsError error = engine->run();
    CHECK(error.ok() || error.number == ESHUTDOWN);
    for (std::thread& thread : threads) thread.join();
    CHECK_EQ(engine->run().number, ESHUTDOWN);
    engine.reset();
    CHECK_EQ(open_descriptors(), before);
  }
}
