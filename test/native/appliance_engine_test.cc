// The appliance's engine over real sockets: what it is sent comes back, is dropped and counted, or
// waits for the inspector; nothing else.
#include <time.h>

#include "test/native/appliance_rig.h"

namespace gwlb {
namespace {

using namespace test;

TEST(passes_thousands_of_packets_through) {
  GatewaySide gateway;
  const auto engine = start(config_for(gateway));
  REQUIRE(engine);
  constexpr uint32_t kPackets = 5000;
  const auto sizes = [](uint32_t n) { return size_t{n % 50 == 0 ? 8500u - 28 : 4 + n % 1400}; };
  CHECK_EQ(exchange(gateway, *engine, kPackets, sizes), kPackets);
  uint64_t bytes = 0;
  for (uint32_t n = 0; n < kPackets; ++n) bytes += 28 + sizes(n);
  engine->stop();
  CHECK_EQ(received(*engine), kPackets);
  CHECK_EQ(returned(*engine), kPackets);
  CHECK_EQ(count(*engine, ApplianceCounter::bytes_received), bytes);
  CHECK_EQ(count(*engine, ApplianceCounter::bytes_returned), bytes);
  CHECK_EQ(count(*engine, ApplianceCounter::packets_rewritten), 0u);
  CHECK_EQ(all_drops(*engine), 0u);
}

TEST(address_in_use_is_an_error_and_leaves_nothing) {
  GatewaySide gateway;
  ApplianceEngineConfig config = config_for(gateway);
  auto first = start(config);
  REQUIRE(first);
  config.udp.port = first->port();
  std::unique_ptr<ApplianceEngine> second;
  const io::OsError error = ApplianceEngine::start(config, {}, &second);
  CHECK_EQ(error.number, EADDRINUSE);
  CHECK_EQ(error.syscall, "bind");
  CHECK(!second);
  first->stop();
  CHECK(start(config) != nullptr);
}

TEST(rules_and_malformed_datagrams_are_counted_drops) {
  GatewaySide gateway;
  ApplianceEngineConfig config = config_for(gateway);
  config.jumbo = false;
  appliance::DropRule telnet;
  telnet.protocol = 6;
  telnet.port = 23;
  appliance::DropRule host;
  host.version = 4;
  host.prefix = 24;
  host.address[0] = 192;
  host.address[2] = 2;
  config.drop = {telnet, host};
  const auto engine = start(config);
  REQUIRE(engine);
  gateway.send(datagram(ipv4(1, 2, 6, tcp(4000, 23, 2))), engine->port());
  gateway.send(datagram(ipv4(1, 2, 6, tcp(23, 4000, 2))), engine->port());
  gateway.send(datagram(ipv4(1, 0xc0000207, 17, udp(1, 2))), engine->port());
  gateway.send(Bytes(3, 0), engine->port());
  gateway.send(Bytes(), engine->port());
  gateway.send(numbered(0, 0, 3000), engine->port());  // above the slot
  Bytes control = numbered(0, 0);
  control[1] = 0x80;
  gateway.send(control, engine->port());
  gateway.send(numbered(0, 7), engine->port());
  Bytes bytes;
  uint16_t port = 0;
  REQUIRE(gateway.receive(&bytes, &port));
  CHECK(bytes == numbered(0, 7));
  CHECK(eventually([&] { return returned(*engine) + all_drops(*engine) == 8; }));
  CHECK_EQ(received(*engine), 8u);
  CHECK_EQ(returned(*engine), 1u);
  CHECK_EQ(drops(*engine, DropReason::appliance_verdict), 3u);
  CHECK_EQ(drops(*engine, DropReason::geneve_truncated), 2u);
  CHECK_EQ(drops(*engine, DropReason::receive_truncated), 1u);
  CHECK_EQ(drops(*engine, DropReason::geneve_control), 1u);
}

TEST(inspector_decides_and_every_packet_is_accounted_for) {
  GatewaySide gateway;
  ApplianceEngineConfig config = inspected_for(gateway);
  config.batches = 4;
  uint32_t dropped = 0;
  uint32_t rewritten = 0;
  HeldBatches held(1);
  const auto look = [&](ApplianceEngine& engine, int number) {
    batch::PacketBatch& batch = engine.batch(number);
    for (uint32_t i = 0; i < batch.count; ++i) {
      const uint32_t fate = held.next(10);
      if (fate == 0) {
        drop(engine, number, i);
        ++dropped;
      } else if (fate == 1) {
        const Bytes same(batch.packet(i), batch.packet(i) + batch.length[i]);
        CHECK(engine.appliance(number).rewrite(batch, i, same.data(), batch.length[i]));
        ++rewritten;
      }
    }
    held.keep(engine, number, 2);
  };
  Inspected inspected(config, look, [&](ApplianceEngine& engine) { held.give_back(engine); });
  ApplianceEngine* engine = inspected.engine();
  REQUIRE(engine);
  constexpr uint32_t kPackets = 4000;
  const uint32_t back = exchange(gateway, *engine, kPackets, small);
  inspected.finish();
  engine->stop();
  CHECK(dropped > 200);
  CHECK(rewritten > 200);
  CHECK_EQ(back + dropped, kPackets);
  CHECK_EQ(received(*engine), kPackets);
  CHECK_EQ(returned(*engine), kPackets - dropped);
  CHECK_EQ(drops(*engine, DropReason::appliance_verdict), dropped);
  CHECK_EQ(all_drops(*engine), dropped);
  CHECK_EQ(count(*engine, ApplianceCounter::packets_rewritten), rewritten);
}

TEST(rewritten_packets_go_out_as_rewritten) {
  GatewaySide gateway;
  ApplianceEngineConfig config = inspected_for(gateway);
  const Bytes answer = ipv6(1, 2, 17, udp(53, 1000, 8000));
  Inspected inspected(config, [&](ApplianceEngine& engine, int number) {
    for (uint32_t i = 0; i < engine.batch(number).count; ++i) {
      CHECK(engine.appliance(number).rewrite(engine.batch(number), i, answer.data(),
                                             static_cast<uint32_t>(answer.size())));
    }
    engine.release(number);
  });
  ApplianceEngine* engine = inspected.engine();
  REQUIRE(engine);
  gateway.send(numbered(2, 1), engine->port(), 2);
  Bytes bytes;
  uint16_t port = 0;
  REQUIRE(gateway.receive(&bytes, &port));
  CHECK(bytes == datagram(answer, 2));
  CHECK_EQ(port, kSourceBase + 2);
  inspected.finish();
  engine->stop();
  CHECK_EQ(returned(*engine), 1u);
  CHECK_EQ(count(*engine, ApplianceCounter::bytes_received), 68u);
  CHECK_EQ(count(*engine, ApplianceCounter::bytes_returned), answer.size());
}

TEST(inspector_is_told_once_until_it_has_looked) {
  GatewaySide gateway;
  ApplianceEngineConfig config = inspected_for(gateway);
  std::atomic<uint32_t> told{0};
  const auto engine = start(config, [&] { ++told; });
  REQUIRE(engine);
  CHECK_EQ(engine->next_batch(), -1);
  for (uint32_t n = 1; n <= 5; ++n) {
    gateway.send(numbered(0, n), engine->port());
    CHECK(eventually([&] { return received(*engine) == n; }));
  }
  CHECK(eventually([&] { return told == 1; }));
  uint32_t batches = 0;
  for (int n = engine->next_batch(); n >= 0; n = engine->next_batch(), ++batches) {
    CHECK_EQ(engine->batch(n).count, 1u);
    engine->release(n);
  }
  CHECK_EQ(batches, 5u);
  CHECK_EQ(told, 1u);
  gateway.send(numbered(0, 6), engine->port());
  CHECK(eventually([&] { return told == 2; }));
}

TEST(batches_given_back_out_of_order_are_returned_in_order) {
  GatewaySide gateway;
  ApplianceEngineConfig config = inspected_for(gateway);
  const auto engine = start(config);
  REQUIRE(engine);
  std::vector<int> held;
  for (uint32_t n = 0; n < 3; ++n) {
    gateway.send(numbered(0, n), engine->port());
    CHECK(eventually([&] {
      const int number = engine->next_batch();
      if (number >= 0) held.push_back(number);
      return number >= 0;
    }));
  }
  REQUIRE(held.size() == 3);
  Bytes bytes;
  uint16_t port = 0;
  engine->release(held[2]);
  engine->release(held[1]);
  CHECK(!gateway.receive(&bytes, &port, 50));
  engine->release(held[0]);
  for (uint32_t n = 0; n < 3; ++n) {
    REQUIRE(gateway.receive(&bytes, &port));
    CHECK_EQ(number_of(bytes), n);
  }
}

TEST(slow_inspector_makes_the_kernel_drop_and_that_is_counted) {
  GatewaySide gateway;
  ApplianceEngineConfig config = inspected_for(gateway);
  config.batches = 2;
  config.udp.receive_buffer_bytes = 64 << 10;
  const auto engine = start(config);
  REQUIRE(engine);
  constexpr uint32_t kPackets = 2000;
  for (uint32_t n = 0; n < kPackets; ++n) gateway.send(numbered(0, n), engine->port());
  // Two batches at most are with the inspector; the worker reads no further.
  const uint64_t most = 2 * base::kBatchPacketsMax;
  pause_ms(20);
  CHECK(received(*engine) <= most);
  uint32_t back = 0;
  Bytes bytes;
  uint16_t port = 0;
  CHECK(eventually([&] {
    const int number = engine->next_batch();
    if (number >= 0) engine->release(number);
    while (gateway.receive(&bytes, &port, 0)) ++back;
    engine->count_losses();
    return received(*engine) + drops(*engine, DropReason::receive_overflow) == kPackets &&
           back == received(*engine);
  }));
  engine->stop();
  CHECK(drops(*engine, DropReason::receive_overflow) > 500);
  CHECK_EQ(returned(*engine), received(*engine));
  CHECK_EQ(all_drops(*engine), 0u);
}

TEST(kernel_drops_are_counted_while_the_inspector_holds_everything) {
  GatewaySide gateway;
  ApplianceEngineConfig config = inspected_for(gateway);
  config.batches = 1;
  config.udp.receive_buffer_bytes = 64 << 10;
  const auto engine = start(config);
  REQUIRE(engine);
  for (uint32_t n = 0; n < 2000; ++n) gateway.send(numbered(0, n), engine->port());
  engine->stop();
  // What is left in the socket's buffer is in neither number.
  CHECK(drops(*engine, DropReason::receive_overflow) > 500);
  CHECK(received(*engine) <= base::kBatchPacketsMax);
  CHECK_EQ(received(*engine), drops(*engine, DropReason::appliance_stopped));
}

TEST(inspection_is_switched_while_traffic_runs) {
  GatewaySide gateway;
  std::atomic<uint64_t> seen{0};
  std::atomic<uint32_t> wanted{0};
  std::atomic<uint32_t> switched{0};
  Inspected inspected(
      config_for(gateway),
      [&](ApplianceEngine& engine, int number) {
        seen += engine.batch(number).count;
        engine.release(number);
      },
      [&](ApplianceEngine& engine) {
        if (switched == wanted) return;
        CHECK(engine.set_inspect((switched + 1) % 2 == 1));
        ++switched;
      });
  ApplianceEngine* engine = inspected.engine();
  REQUIRE(engine);
  for (uint32_t round = 1; round <= 12; ++round) {
    ++wanted;
    CHECK_EQ(exchange(gateway, *engine, 300, small), 300u);  // it is switched somewhere in here
    REQUIRE(eventually([&] { return switched == round; }));
    const uint64_t before = seen;
    CHECK_EQ(exchange(gateway, *engine, 100, small), 100u);
    CHECK_EQ(seen - before, round % 2 == 1 ? 100u : 0u);
  }
  engine->stop();
  CHECK_EQ(returned(*engine), 12 * 400u);
  CHECK_EQ(received(*engine), 12 * 400u);
}

TEST(switching_off_returns_what_nobody_looked_at) {
  GatewaySide gateway;
  ApplianceEngineConfig config = inspected_for(gateway);
  const auto engine = start(config);
  REQUIRE(engine);
  int held = -1;
  gateway.send(numbered(0, 0), engine->port());
  REQUIRE(eventually([&] { return (held = engine->next_batch()) >= 0; }));
  gateway.send(numbered(0, 1), engine->port());
  REQUIRE(eventually([&] { return received(*engine) == 2; }));
  CHECK(engine->set_inspect(false));
  gateway.send(numbered(0, 2), engine->port());
  Bytes bytes;
  uint16_t port = 0;
  CHECK(!gateway.receive(&bytes, &port, 50));  // not before the one that is held
  engine->release(held);
  for (uint32_t n = 0; n < 3; ++n) {
    REQUIRE(gateway.receive(&bytes, &port));
    CHECK_EQ(number_of(bytes), n);
  }
  CHECK_EQ(engine->next_batch(), -1);
}

TEST(stops_at_every_stage) {
  GatewaySide gateway;
  ApplianceEngineConfig config = inspected_for(gateway);
  config.batches = 3;
  for (uint32_t stage = 0; stage < 8; ++stage) {
    auto engine = start(config);
    REQUIRE(engine);
    std::vector<int> held;
    for (uint32_t n = 0; n < stage; ++n) {
      gateway.send(numbered(0, n), engine->port());
      if (n < 3) CHECK(eventually([&] { return received(*engine) == n + 1; }));
      const int number = engine->next_batch();
      if (number >= 0) held.push_back(number);
      if (n == 5) engine->release(held[0]);
    }
    engine->stop();
    CHECK_EQ(engine->next_batch(), -1);
    CHECK_EQ(received(*engine), returned(*engine) + all_drops(*engine));
    for (const int number : held) {
      CHECK(engine->batch(number).count > 0);  // still readable
      engine->release(number);
    }
    engine->stop();
    CHECK_EQ(received(*engine), returned(*engine) + all_drops(*engine));
    if (stage == 3) CHECK_EQ(drops(*engine, DropReason::appliance_stopped), 3u);
    const uint16_t port = engine->port();
    if (stage % 2 == 0) engine.reset();
    // The port is free again.
    ::close(udp_socket(own_address(2), port));
  }
}

TEST(stops_under_fire) {
  GatewaySide gateway;
  ApplianceEngineConfig config = config_for(gateway);
  for (const bool inspect : {false, true}) {
    config.inspect = inspect;
    Inspected inspected(config, [](ApplianceEngine& e, int number) { e.release(number); });
    ApplianceEngine* engine = inspected.engine();
    REQUIRE(engine);
    std::atomic<bool> over{false};
    std::thread fire([&] {
      for (uint32_t n = 0; !over; ++n) gateway.send(numbered(1, n), engine->port(), 1);
    });
    CHECK(eventually([&] { return returned(*engine) > 100; }));
    engine->stop();
    over = true;
    fire.join();
    inspected.finish();
    CHECK_EQ(received(*engine), returned(*engine) + all_drops(*engine));
  }
}

TEST(idle_costs_no_processor_time) {
  GatewaySide gateway;
  ApplianceEngineConfig config = inspected_for(gateway);
  config.batches = 1;
  const auto engine = start(config);
  REQUIRE(engine);
  // Asleep with nothing to read, then asleep with something it may not read.
  for (uint32_t round = 0; round < 2; ++round) {
    timespec before{};
    timespec after{};
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &before);
    pause_ms(200);
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &after);
    const int64_t used_us =
        (after.tv_sec - before.tv_sec) * 1'000'000 + (after.tv_nsec - before.tv_nsec) / 1000;
    CHECK(used_us < 50'000);
    gateway.send(numbered(0, 0), engine->port());
    CHECK(eventually([&] { return received(*engine) == 1; }));
    gateway.send(numbered(0, 1), engine->port());
  }
}

#ifndef __SANITIZE_THREAD__  // which sees that this exchanges a descriptor in use
TEST(lasting_error_is_reported) {
  GatewaySide gateway;
  std::atomic<uint32_t> told{0};
  const auto engine = start(config_for(gateway), [&] { ++told; });
  REQUIRE(engine);
  io::OsError error;
  CHECK(!engine->failed(&error));
  int receiver = -1;
  for (int fd = 0; fd < 256; ++fd) {
    sockaddr_in local{};
    socklen_t bytes = sizeof local;
    if (getsockname(fd, reinterpret_cast<sockaddr*>(&local), &bytes) != 0) continue;
    if (local.sin_family != AF_INET || ntohs(local.sin_port) != engine->port()) continue;
    if (receiver < 0) receiver = fd;
  }
  REQUIRE(receiver >= 0);
  int pipes[2];
  REQUIRE(pipe(pipes) == 0);
  const int kept = dup(receiver);
  dup2(pipes[0], receiver);
  CHECK(engine->set_inspect(true));  // wakes it
  CHECK(eventually([&] { return engine->failed(&error); }));
  CHECK_EQ(error.number, ENOTSOCK);
  CHECK_EQ(error.syscall, "recvmmsg");
  CHECK_EQ(told, 1u);
  engine->stop();
  for (const int fd : {pipes[0], pipes[1], kept}) ::close(fd);
}
#endif

}  // namespace
}  // namespace gwlb
