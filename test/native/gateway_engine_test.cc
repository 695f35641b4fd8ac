#include "engine/gateway_engine.h"

#include <time.h>

#include <map>

#include "engine/steer.h"
#include "test/native/engine_rig.h"
#include "test/native/oracle/fragment_model.h"

namespace gwlb::test {
namespace {

// What a peer gets back of what it sends, in windows, so that no buffer overflows.
void all_comes_back(uint32_t workers) {
  auto engine = started(config_for(workers));
  REQUIRE(engine != nullptr);
  EchoAppliance appliance(nullptr, engine->port());
  PlainUdp peer(kPeer);
  engine->configure({}, one_target(appliance.port()));
  engine->add_endpoint(3, peer_endpoint(peer.port()));
  constexpr uint32_t kWindow = 50;
  constexpr uint32_t kWindows = 40;
  std::map<uint32_t, uint32_t> last;  // by flow
  uint32_t back = 0;
  bool right = true;
  for (uint32_t window = 0; window < kWindows; ++window) {
    for (uint32_t k = 0; k < kWindow; ++k) {
      const uint32_t number = 1 + window * kWindow + k;
      REQUIRE(peer.send(geneve(numbered(k * k % 37, number)), kGateway, engine->port()));
    }
    for (uint32_t k = 0; k < kWindow; ++k) {
      Bytes bytes;
      REQUIRE(peer.receive(&bytes));
      REQUIRE(bytes.size() == 8 + 20 + 8 + 32);
      const uint32_t flow = number_at(bytes, 36);
      const uint32_t number = number_at(bytes, 40);
      right = right && bytes == geneve(numbered(flow, number)) && last[flow] < number;
      last[flow] = number;
      ++back;
    }
  }
  CHECK(right);
  CHECK_EQ(back, kWindow * kWindows);
  engine->stop();
  const Account account{*engine};
  CHECK_EQ(account.count(GatewayCounter::packets_in), back);
  CHECK_EQ(account.count(GatewayCounter::packets_to_targets), back);
  CHECK_EQ(account.count(GatewayCounter::packets_from_targets), back);
  CHECK_EQ(account.count(GatewayCounter::packets_out), back);
  CHECK_EQ(account.count(GatewayCounter::flows_new), last.size());
  CHECK_EQ(account.all_drops(), 0u);
  // Work was shared: flows have owners, whoever received their packets.
  for (uint32_t w = 0; w < workers; ++w) {
    CHECK(engine->counters(w).get(GatewayCounter::flows_new) > 0);
  }
  io::OsError error;
  CHECK(!engine->failed(&error));
}

// A peer whose packets are longer than its endpoint's MTU and may be cut.
void fragments_come_back(bool offload) {
  auto config = config_for(2);
  config.udp.offload = offload;
  auto engine = started(config);
  REQUIRE(engine != nullptr);
  EchoAppliance appliance(nullptr, engine->port());
  PlainUdp peer(kPeer);
  engine->configure({}, one_target(appliance.port()));
  gateway::EndpointSpec endpoint = peer_endpoint(peer.port());
  endpoint.mtu = 1000;
  engine->add_endpoint(3, endpoint);
  for (uint32_t number = 0; number < 20; ++number) {
    const Bytes packet = numbered(number % 5, number, 3000);
    REQUIRE(peer.send(geneve(packet), kGateway, engine->port()));
    std::vector<Bytes> back;
    for (uint32_t k = 0; k < 4; ++k) {
      Bytes bytes;
      REQUIRE(peer.receive(&bytes));
      back.emplace_back(bytes.begin() + 8, bytes.end());
      CHECK(back.back().size() <= 1000);
    }
    CHECK(model_reassembled(back) == packet);
  }
  engine->stop();
  const Account account{*engine};
  CHECK_EQ(account.count(GatewayCounter::packets_in), 20u);
  CHECK_EQ(account.count(GatewayCounter::packets_fragmented), 20u);
  CHECK_EQ(account.count(GatewayCounter::packets_to_targets), 20u);
  CHECK_EQ(account.count(GatewayCounter::packets_from_targets), 80u);
  CHECK_EQ(account.count(GatewayCounter::packets_out), 80u);
  CHECK_EQ(account.all_drops(), 0u);
}

TEST(fragments_come_back_with_trains) { fragments_come_back(true); }
TEST(fragments_come_back_without_trains) { fragments_come_back(false); }

TEST(one_worker_returns_everything_in_order) { all_comes_back(1); }
TEST(two_workers_return_everything_in_order) { all_comes_back(2); }
TEST(four_workers_return_everything_in_order) { all_comes_back(4); }

// A burst that no buffer is made for: what does not come back is in the counters.
void all_is_counted(uint32_t workers) {
  engine::GatewayEngineConfig config = config_for(workers);
  config.udp.receive_buffer_bytes = 64 << 10;
  auto engine = started(config);
  REQUIRE(engine != nullptr);
  EchoAppliance appliance(nullptr, engine->port());
  PlainUdp peer(kPeer);
  engine->configure({}, one_target(appliance.port()));
  engine->add_endpoint(3, peer_endpoint(peer.port()));
  const Account account{*engine};
  uint64_t sent = 0;
  for (int burst = 0; burst < 20 && account.drops(DropReason::receive_overflow) == 0; ++burst) {
    for (uint32_t number = 0; number < 4000; ++number) {
      sent += peer.send(geneve(numbered(number % 300, number)), kGateway, engine->port());
    }
  }
  const auto seen = [&] {
    return account.count(GatewayCounter::packets_in) +
           account.count(GatewayCounter::packets_from_targets) + account.input_drops();
  };
  // Until the appliance has returned all it was sent, and the gateway has seen that.
  CHECK(eventually([&] {
    const uint64_t to_targets = account.count(GatewayCounter::packets_to_targets);
    return appliance.returned() == to_targets && seen() == sent + to_targets;
  }));
  CHECK_EQ(seen(), sent + appliance.returned());
  engine->stop();
  CHECK_EQ(seen(), sent + appliance.returned());
  CHECK(account.drops(DropReason::receive_overflow) > 0);
  CHECK_EQ(account.count(GatewayCounter::packets_in),
           account.count(GatewayCounter::packets_to_targets));
  CHECK_EQ(account.count(GatewayCounter::packets_to_targets), appliance.received());
  CHECK_EQ(account.count(GatewayCounter::packets_from_targets),
           account.count(GatewayCounter::packets_out));
  CHECK_EQ(account.all_drops(), account.input_drops());
}

TEST(one_worker_counts_what_it_loses) { all_is_counted(1); }
TEST(two_workers_count_what_they_lose) { all_is_counted(2); }

TEST(a_small_mtu_takes_small_slots) {
  PrivateNetns netns;
  engine::GatewayEngineConfig config = config_for(1);
  config.gateway.mtu = 1500;
  auto engine = started(config);
  REQUIRE(engine != nullptr);
  PlainUdp peer(kPeer);
  REQUIRE(peer.send(Bytes(2113, 1), kGateway, engine->port()));
  const Account account{*engine};
  CHECK(eventually([&] { return account.drops(DropReason::receive_truncated) == 1; }));
  if (can_make_tun(netns)) {
    std::string name;
    io::TunConfig tun = tun_in(netns);
    const io::OsError error = engine->add_tun(0, tun_endpoint(), tun, &name);
    CHECK_EQ(error.number, EINVAL);
    CHECK_EQ(error.detail, "gwlbt0 mtu 8500: at most 1830");
    tun.mtu = 1500;
    CHECK(engine->add_tun(0, tun_endpoint(), tun, &name).ok());
  }
  engine->stop();
  CHECK_EQ(account.all_drops(), 1u);
}

TEST(explain_and_events_come_from_the_owner) {
  auto engine = started(config_for(2));
  REQUIRE(engine != nullptr);
  EchoAppliance appliance(nullptr, engine->port());
  PlainUdp peer(kPeer);
  engine->configure({}, one_target(appliance.port()));
  engine->add_endpoint(3, peer_endpoint(peer.port()));
  constexpr uint32_t kFlows = 20;
  for (uint32_t flow = 0; flow < kFlows; ++flow) {
    const Bytes packet = numbered(flow, 1);
    gateway::Explanation before =
        engine->explain(packet.data(), static_cast<uint32_t>(packet.size()), 3);
    CHECK(!before.pinned && before.target == 0);
    REQUIRE(peer.send(geneve(packet), kGateway, engine->port()));
    Bytes bytes;
    REQUIRE(peer.receive(&bytes));
    const auto after = engine->explain(packet.data(), static_cast<uint32_t>(packet.size()), 3);
    CHECK(after.pinned && after.target == 0 && after.cookie != 0);
  }
  gateway::FlowEvent events[64];
  CHECK_EQ(engine->drain_events(events, 5), 5u);
  CHECK_EQ(engine->drain_events(events, 64), kFlows - 5);
  CHECK_EQ(events[0].type, static_cast<uint8_t>(gateway::FlowEventType::opened));
  engine->stop();
  const Bytes packet = numbered(4, 1);
  CHECK(engine->explain(packet.data(), static_cast<uint32_t>(packet.size()), 3).pinned);
}

TEST(idle_flows_end_without_traffic_and_idle_costs_nothing) {
  auto engine = started(config_for(2));
  REQUIRE(engine != nullptr);
  EchoAppliance appliance(nullptr, engine->port());
  PlainUdp peer(kPeer);
  engine->configure({}, one_target(appliance.port()));
  engine->add_endpoint(3, peer_endpoint(peer.port()));
  for (uint32_t flow = 0; flow < 50; ++flow) {
    REQUIRE(peer.send(geneve(numbered(flow, 1)), kGateway, engine->port()));
  }
  const Account account{*engine};
  const auto active = [&] { return account.count(GatewayCounter::flows_active_ipv4); };
  CHECK(eventually([&] { return active() == 50; }));
  CHECK(eventually([&] { return account.count(GatewayCounter::packets_out) == 50; }));
  appliance.stop();  // so that the process is idle but for the workers
  timespec before;
  timespec after;
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &before);
  usleep(600'000);
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &after);
  const int64_t used_us =
      (after.tv_sec - before.tv_sec) * 1'000'000 + (after.tv_nsec - before.tv_nsec) / 1000;
  CHECK(used_us < 60'000);
  CHECK_EQ(active(), 50u);
  gateway::LiveConfig live;
  live.tcp_idle_ms = live.other_idle_ms = 100;
  engine->configure(live);
  CHECK(eventually([&] { return active() == 0; }));
}

TEST(control_changes_and_stop_while_busy) {
  for (uint32_t workers = 1; workers <= 3; ++workers) {
    auto engine = started(config_for(workers));
    REQUIRE(engine != nullptr);
    EchoAppliance appliance(nullptr, engine->port());
    std::atomic<bool> done{false};
    std::atomic<uint64_t> sent{0};
    PlainUdp peer(kPeer);
    const uint16_t port = engine->port();
    std::thread flood([&] {
      for (uint32_t number = 0; !done; ++number) {
        sent += peer.send(geneve(numbered(number % 50, number)), kGateway, port);
      }
    });
    CHECK(eventually([&] { return sent > 100; }));
    for (int round = 0; round < 30; ++round) {
      gateway::LiveConfig live;
      live.fail_open = round % 2 == 0;
      engine->configure(live, one_target(appliance.port()));
      engine->add_endpoint(3, peer_endpoint(peer.port()));
      const Bytes packet = numbered(1, 1);
      engine->explain(packet.data(), static_cast<uint32_t>(packet.size()), 3);
      gateway::FlowEvent events[64];
      engine->drain_events(events, 64);
      if (round % 5 == 4) engine->remove_endpoint(3);
    }
    engine->stop();
    engine->stop();
    done = true;
    flood.join();
    const Account account{*engine};
    CHECK(account.count(GatewayCounter::packets_in) + account.all_drops() > 0);
  }
}

// Without a target packets are forwarded uninspected, and with one they are not: no packet is
// decided by one half of a change.
TEST(a_table_and_its_configuration_change_at_one_boundary) {
  auto engine = started(config_for(2));
  REQUIRE(engine != nullptr);
  PlainUdp peer(kPeer);
  engine->add_endpoint(3, peer_endpoint(peer.port()));
  const auto none = select::TargetTable::build({}, 1, false, 9);
  const auto one = one_target(peer.port());
  gateway::LiveConfig open;
  open.fail_open = true;
  engine->configure(open, none);
  std::atomic<bool> done{false};
  const uint16_t port = engine->port();
  std::thread flood([&] {
    for (uint32_t number = 0; !done; ++number) {
      peer.send(geneve(numbered(number % 500, number)), kGateway, port);
    }
  });
  const Account account{*engine};
  const auto read = [&] { return account.count(GatewayCounter::packets_in); };
  CHECK(eventually([&] { return read() > 0; }));
  for (int round = 0; round < 300; ++round) {
    const uint64_t before = read();
    engine->configure({}, one);
    engine->configure(open, none);
    if (round % 10 == 0) CHECK(eventually([&] { return read() > before; }));
  }
  done = true;
  flood.join();
  CHECK_EQ(account.drops(DropReason::no_targets), 0u);
  CHECK(account.count(GatewayCounter::packets_bypassed) > 0);
}

TEST(a_start_that_fails_leaves_nothing) {
  auto engine = started(config_for(2));
  REQUIRE(engine != nullptr);
  const int before = open_descriptors();
  std::unique_ptr<engine::GatewayEngine> second;
  for (const uint32_t workers : {1u, 3u}) {
    engine::GatewayEngineConfig config = config_for(workers);
    config.udp.port = engine->port();  // in use, and shared by the other's workers
    const io::OsError error = engine::GatewayEngine::open(config, &second);
    CHECK_EQ(error.number, EADDRINUSE);
    CHECK_EQ(error.syscall, "bind");
    CHECK_EQ(error.detail, "127.0.1.2:" + std::to_string(engine->port()));
    CHECK_EQ(open_descriptors(), before);
  }
  engine::GatewayEngineConfig config = config_for(2);
  config.udp.source_port_base = 43005;  // taken by the first engine
  config.udp.source_port_count = 1;
  CHECK_EQ(engine::GatewayEngine::open(config, &second).detail, "127.0.1.2:43005");
  CHECK_EQ(open_descriptors(), before);
  config = config_for(2);
  config.udp.netns = "gwlb-no-such-netns";
  CHECK_EQ(engine::GatewayEngine::open(config, &second).detail, "/run/netns/gwlb-no-such-netns");
  for (const uint32_t workers : {0u, base::kWorkersMax + 1}) {
    const io::OsError error = engine::GatewayEngine::open(config_for(workers), &second);
    CHECK_EQ(error.number, EINVAL);
    CHECK_EQ(error.detail, "workers " + std::to_string(workers));
  }
  CHECK(second == nullptr);
  CHECK_EQ(open_descriptors(), before);
}

TEST(stop_leaves_nothing_open) {
  const int before = open_descriptors();
  for (uint32_t workers = 1; workers <= 3; ++workers) {
    auto engine = started(config_for(workers));
    CHECK(open_descriptors() > before);
    engine.reset();
    CHECK_EQ(open_descriptors(), before);
  }
}

TEST(both_directions_errors_and_fragments_have_one_owner) {
  const base::HashKey key{21, 22};
  constexpr uint32_t kWorkers = 7;
  const auto owner = [&](const Bytes& packet) {
    return engine::owner_of_packet(key, packet.data(), static_cast<uint32_t>(packet.size()),
                                   kWorkers, 99);
  };
  uint32_t used = 0;
  for (uint32_t host = 0; host < 200; ++host) {
    const uint32_t client = 0x0a010000 + host;
    const uint32_t server = 0x0a020000 + host * 7;
    const Bytes there = ipv4(client, server, 17, udp(1000, 53));
    const uint32_t of = owner(there);
    REQUIRE(of < kWorkers);
    used |= 1u << of;
    CHECK_EQ(owner(ipv4(server, client, 17, udp(53, 1000))), of);
    CHECK_EQ(owner(ipv4(client, server, 17, Bytes(16, 1), 2)), of);  // a later fragment
    // A router's error about the packet, sent to the client.
    CHECK_EQ(owner(ipv4(0xc0000201, client, 1, icmp_unreachable(there, 28))), of);
    for (const Bytes& datagram : {geneve(there)}) {
      CHECK_EQ(engine::owner_of_datagram(key, datagram.data(),
                                         static_cast<uint32_t>(datagram.size()), kWorkers, 99),
               of);
    }
    // Inner Ethernet, with one VLAN tag.
    Bytes frame(18);
    put16(frame, 12, 0x8100);
    put16(frame, 16, 0x0800);
    frame.insert(frame.end(), there.begin(), there.end());
    Bytes bridged(8);
    put16(bridged, 2, 0x6558);
    bridged.insert(bridged.end(), frame.begin(), frame.end());
    CHECK_EQ(engine::owner_of_datagram(key, bridged.data(), static_cast<uint32_t>(bridged.size()),
                                       kWorkers, 99),
             of);
    // Cut anywhere it stays where it is, or belongs to the same flow.
    for (uint32_t length = 0; length < bridged.size(); ++length) {
      const uint32_t cut = engine::owner_of_datagram(key, bridged.data(), length, kWorkers, 99);
      CHECK(cut == 99 || cut == of);
    }
  }
  CHECK_EQ(used, (1u << kWorkers) - 1);
}

}  // namespace
}  // namespace gwlb::test
