// Packets through the devices of an appliance's worker, over ports in memory: whatever those do,
// what comes is given to the kernel, returned, or dropped for one reason.
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <map>
#include <thread>

#include "engine/appliance_engine.h"
#include "test/native/datagrams.h"
#include "test/native/eventually.h"
#include "test/native/fake_port.h"
#include "test/native/faulty_port.h"
#include "test/native/test.h"

namespace gwlb::test {
namespace {

using appliance::ApplianceCounter;
using appliance::Counters;
using base::DropReason;
using engine::ApplianceDevicesConfig;
using engine::ApplianceEngine;

constexpr uint32_t kClient = 0x0a000001;
constexpr uint32_t kServer = 0x0a000002;

Bytes packet(uint16_t flow, bool client, size_t payload = 40) {
  const auto port = static_cast<uint16_t>(1000 + flow);
  return client ? ipv4(kClient, kServer, 17, udp(port, 53, payload))
                : ipv4(kServer, kClient, 17, udp(53, port, payload));
}

Bytes of_endpoint(uint64_t endpoint, const Bytes& inner) {
  std::vector<Option> options = gateway_options(static_cast<uint32_t>(endpoint));
  options[0].data = big_endian(endpoint, 8);
  return geneve(0x0800, options) + inner;
}

ApplianceDevicesConfig small(uint32_t devices = 1) {
  ApplianceDevicesConfig config;
  config.limits.flows_ipv4 = config.limits.flows_ipv6 = 1024;
  config.devices = devices;
  config.per_endpoint = devices > 1;
  config.any_endpoint = true;
  config.offload = false;
  return config;
}

struct ThroughPorts {
  std::shared_ptr<FakePort> tunnel = std::make_shared<FakePort>();
  std::shared_ptr<io::Port> line = tunnel;
  std::unique_ptr<ApplianceEngine> engine;
  std::atomic<uint32_t> ready{0};

  explicit ThroughPorts(const ApplianceDevicesConfig& devices, const Faults* faults = nullptr) {
    if (faults != nullptr) line = std::make_shared<FaultyPort>(tunnel, *faults, 7);
    engine::ApplianceEngineConfig config;
    config.udp.address = 0x0a630002;
    io::OsError error = ApplianceEngine::start_on(
        config, line, [this] { ++ready; }, &engine);
    if (error.ok()) error = engine->attach_devices(devices);
    CHECK_EQ(io::sentence(error), "");
  }
  // A kernel that forwards what enters by `in` to `out`.
  std::shared_ptr<FakePort> add(uint32_t number, std::shared_ptr<FakePort> out = nullptr) {
    auto in = std::make_shared<FakePort>();
    FakePort* back = out != nullptr ? out.get() : in.get();
    in->leave([back](Item&& item) { back->put(Item{std::move(item.bytes)}); });
    CHECK_EQ(io::sentence(engine->add_device_on(number, in, out)), "");
    return in;
  }
  uint64_t count(ApplianceCounter which) const {
    return __atomic_load_n(&engine->counters()[static_cast<uint32_t>(which)], __ATOMIC_RELAXED);
  }
  uint64_t drops(DropReason which) const {
    return __atomic_load_n(&engine->counters()[Counters::kDropsAt + static_cast<uint32_t>(which)],
                           __ATOMIC_RELAXED);
  }
  uint64_t all_drops() const {
    uint64_t sum = 0;
    for (uint32_t k = 1; k < base::kDropReasons; ++k) sum += drops(static_cast<DropReason>(k));
    return sum;
  }
  bool balanced() const {
    return count(ApplianceCounter::packets_received) +
               count(ApplianceCounter::packets_from_kernel) ==
           count(ApplianceCounter::packets_returned) + count(ApplianceCounter::packets_to_kernel) +
               all_drops();
  }
  void send(const Bytes& bytes, uint16_t port = 40000) { tunnel->put({bytes, 0xc0000201, port}); }
};

TEST(packets_go_through_the_kernel_and_back_with_their_own_headers) {
  for (const bool pair : {false, true}) {
    ThroughPorts run(small());
    const auto in = run.add(0, pair ? std::make_shared<FakePort>() : nullptr);
    for (uint16_t flow = 0; flow < 200; ++flow) {
      run.send(datagram(packet(flow, true), 2u * flow + 1), static_cast<uint16_t>(40000 + flow));
      run.send(datagram(packet(flow, false), 2u * flow + 2), static_cast<uint16_t>(41000 + flow));
    }
    CHECK(eventually([&] { return run.count(ApplianceCounter::packets_returned) == 400; }));
    std::map<uint32_t, Bytes> back;
    for (const Item& item : run.tunnel->take_sent()) {
      CHECK_EQ(item.address, 0xc0000201u);
      CHECK_EQ(item.port, 6081);
      back[base::load_be32(item.bytes.data() + 36)] = item.bytes;
    }
    CHECK_EQ(back.size(), 400u);
    for (uint16_t flow = 0; flow < 200; ++flow) {
      CHECK(back[2u * flow + 1] == datagram(packet(flow, true), 2u * flow + 1));
      CHECK(back[2u * flow + 2] == datagram(packet(flow, false), 2u * flow + 2));
    }
    CHECK_EQ(run.count(ApplianceCounter::packets_to_kernel), 400u);
    CHECK_EQ(run.count(ApplianceCounter::bytes_to_kernel), 400u * 68);
    CHECK_EQ(run.count(ApplianceCounter::bytes_from_kernel), 400u * 68);
    CHECK_EQ(run.count(ApplianceCounter::bytes_returned), 400u * 68);
    CHECK_EQ(run.engine->device_flows().ipv4, 200u);
    CHECK(run.balanced());
  }
}

TEST(what_a_faulty_line_and_kernel_do_is_counted) {
  const Faults faults = {20, 20, 20, 20};
  ThroughPorts run(small(), &faults);
  const auto in = run.add(0);
  std::atomic<uint32_t> refused{0};
  in->refuse([&](const Item&, uint64_t number) {
    if (number % 17 != 0) return 0;
    ++refused;
    return number % 2 == 0 ? EIO : ENOBUFS;
  });
  run.tunnel->refuse([](const Item&, uint64_t number) { return number % 13 == 0 ? EPERM : 0; });
  in->in_halves();
  for (uint32_t n = 0; n < 5000; ++n) {
    run.send(datagram(packet(static_cast<uint16_t>(n % 900), n % 3 != 0), n + 1));
  }
  const auto quiet = [&] {
    const uint64_t before = run.count(ApplianceCounter::packets_from_kernel);
    usleep(20'000);
    return run.tunnel->empty() && in->empty() &&
           before == run.count(ApplianceCounter::packets_from_kernel);
  };
  CHECK(eventually(quiet));
  CHECK(run.balanced());
  CHECK(refused > 0);
  CHECK(run.drops(DropReason::send_failed) > 0);
  CHECK(run.drops(DropReason::send_would_block) > 0);
  CHECK(run.count(ApplianceCounter::packets_returned) > 3000);
}

TEST(a_super_packet_of_the_kernel_is_returned_as_many) {
  ThroughPorts run(small());
  const auto in = run.add(0);
  const auto segment = [](uint32_t first, size_t payload) {
    Bytes bytes = tcp(443, 4000, wire::kAck, payload);
    put32(bytes, 4, first);
    return ipv4(kServer, kClient, 6, bytes);
  };
  run.send(datagram(segment(1, 10), 77));
  CHECK(eventually([&] { return run.count(ApplianceCounter::packets_returned) == 1; }));
  run.tunnel->take_sent();
  // The tunnel refuses the second of five.
  run.tunnel->refuse([](const Item&, uint64_t number) { return number == 2 ? EPERM : 0; });
  Item super{segment(1, 4500)};
  super.segment = 1000;
  in->put(std::move(super));
  CHECK(eventually([&] { return run.count(ApplianceCounter::packets_from_kernel) == 6; }));
  CHECK(eventually([&] { return run.balanced(); }));
  CHECK_EQ(run.count(ApplianceCounter::packets_returned), 5u);
  CHECK_EQ(run.count(ApplianceCounter::bytes_returned), 50u + 3 * 1040 + 540);
  CHECK_EQ(run.drops(DropReason::send_failed), 1u);
  for (const Item& item : run.tunnel->take_sent()) {
    CHECK_EQ(base::load_be32(item.bytes.data() + 36), 77u);
  }
}

TEST(endpoints_get_devices_of_their_own) {
  ThroughPorts run(small(2));
  run.send(of_endpoint(0x11, packet(1, true)));
  CHECK(eventually([&] { return run.drops(DropReason::device_unavailable) == 1; }));
  CHECK(run.ready > 0);
  CHECK(run.engine->endpoints_from(0) == std::vector<uint64_t>{0x11});
  run.add(0);
  // The same addresses and ports behind two endpoints, told apart.
  run.send(of_endpoint(0x22, packet(1, true)));
  CHECK(eventually([&] { return run.drops(DropReason::device_unavailable) == 2; }));
  CHECK(run.engine->endpoints_from(1) == std::vector<uint64_t>{0x22});
  run.add(1);
  run.send(of_endpoint(0x11, packet(1, true)));
  run.send(of_endpoint(0x22, packet(1, true)));
  run.send(of_endpoint(0x33, packet(1, true)));
  CHECK(eventually([&] { return run.count(ApplianceCounter::packets_returned) == 2; }));
  CHECK_EQ(run.drops(DropReason::device_limit), 1u);
  std::map<uint64_t, Bytes> back;
  for (const Item& item : run.tunnel->take_sent()) {
    back[base::load_be64(item.bytes.data() + 12)] = item.bytes;
  }
  CHECK(back[0x11] == of_endpoint(0x11, packet(1, true)));
  CHECK(back[0x22] == of_endpoint(0x22, packet(1, true)));
  CHECK_EQ(run.engine->device_flows().ipv4, 2u);
  const auto words = run.engine->device_counters(1);
  CHECK_EQ(words[static_cast<uint32_t>(appliance::DeviceCounter::packets_returned)], 1u);
  CHECK(run.engine->device_counters(2) == nullptr);
  const uint32_t at = appliance::DeviceCounters::kDropsAt;
  CHECK_EQ(run.engine->deviceless_counters()[at + static_cast<uint32_t>(DropReason::device_limit)],
           1u);
  CHECK(run.balanced());
}

TEST(only_endpoints_that_are_allowed_get_one) {
  ApplianceDevicesConfig config = small(4);
  config.any_endpoint = false;
  config.endpoints = {0x99, 0x11, 0x55};
  ThroughPorts run(config);
  run.send(of_endpoint(0x12, packet(1, true)));
  run.send(of_endpoint(0x11, packet(1, true)));
  CHECK(eventually([&] { return run.drops(DropReason::device_unavailable) == 1; }));
  CHECK_EQ(run.drops(DropReason::device_not_allowed), 1u);
  CHECK(run.engine->endpoints_from(0) == std::vector<uint64_t>{0x11});
}

TEST(a_device_that_fails_takes_its_packets_along_and_nothing_else) {
  ThroughPorts run(small(2));
  run.send(of_endpoint(0x11, packet(1, true)));
  run.send(of_endpoint(0x22, packet(2, true)));
  CHECK(eventually([&] { return run.drops(DropReason::device_unavailable) == 2; }));
  const auto first = run.add(0);
  run.add(1);
  first->break_with(EBADFD);
  CHECK(eventually([&] { return first->state() == io::LinkState::gone; }));
  run.send(of_endpoint(0x11, packet(1, true)));
  run.send(of_endpoint(0x22, packet(2, true)));
  CHECK(eventually([&] { return run.count(ApplianceCounter::packets_returned) == 1; }));
  CHECK(eventually([&] { return run.drops(DropReason::device_unavailable) == 3; }));
  io::OsError error;
  CHECK(!run.engine->failed(&error));
  // It is made again, and flows live on.
  run.add(0);
  run.send(of_endpoint(0x11, packet(1, true)));
  CHECK(eventually([&] { return run.count(ApplianceCounter::packets_returned) == 2; }));
  CHECK(run.balanced());
}

TEST(devices_come_and_go_while_packets_pass) {
  ThroughPorts run(small());
  std::atomic<bool> over{false};
  std::thread sender([&] {
    for (uint32_t n = 0; !over; ++n) {
      run.send(datagram(packet(static_cast<uint16_t>(n % 100), true), n));
      if (n % 64 == 0) usleep(100);
    }
  });
  for (uint32_t round = 0; round < 20; ++round) {
    run.add(0);
    usleep(2000);
    CHECK(run.engine->attach_devices(small()).number == EEXIST);
    run.engine->look_at_devices();
    run.engine->device_flows();
    run.engine->device_counters(0);
    run.engine->detach_devices();
    usleep(1000);
    CHECK(run.engine->device_counters(0) == nullptr);
    CHECK_EQ(io::sentence(run.engine->attach_devices(small())), "");
  }
  run.engine->detach_devices();
  over = true;
  sender.join();
  CHECK(eventually([&] { return run.tunnel->empty(); }));
  const uint64_t before = run.count(ApplianceCounter::packets_to_kernel);
  CHECK(before > 0);
  run.send(datagram(packet(1, true)));
  const uint64_t returned = run.count(ApplianceCounter::packets_returned);
  CHECK(eventually([&] { return run.count(ApplianceCounter::packets_returned) >= returned; }));
  CHECK_EQ(run.count(ApplianceCounter::packets_to_kernel), before);
  run.engine->stop();
  CHECK(run.engine->attach_devices(small()).number == ESHUTDOWN);
}

TEST(verdicts_of_the_inspector_come_before_the_kernel) {
  ThroughPorts run(small());
  run.add(0);
  CHECK(run.engine->set_inspect(true));
  const auto look = [&](const std::function<void(int)>& judge) {
    CHECK(eventually([&] {
      const int number = run.engine->next_batch();
      if (number < 0) return false;
      judge(number);
      return run.engine->release(number);
    }));
  };
  run.send(datagram(packet(1, true), 1));
  look([&](int number) { run.engine->batch(number).drop(0, DropReason::appliance_verdict); });
  CHECK(eventually([&] { return run.drops(DropReason::appliance_verdict) == 1; }));
  run.send(datagram(packet(1, true), 2));
  look([&](int number) {
    CHECK(run.engine->appliance(number).reject(run.engine->batch(number), 0));
  });
  CHECK(eventually([&] { return run.count(ApplianceCounter::packets_returned) == 1; }));
  CHECK_EQ(run.count(ApplianceCounter::packets_to_kernel), 0u);
  run.send(datagram(packet(1, true), 3));
  look([&](int number) {
    const Bytes other = packet(9, true);
    CHECK(run.engine->appliance(number).rewrite(run.engine->batch(number), 0, other.data(),
                                                static_cast<uint32_t>(other.size())));
  });
  CHECK(eventually([&] { return run.count(ApplianceCounter::packets_returned) == 2; }));
  CHECK_EQ(run.count(ApplianceCounter::packets_to_kernel), 1u);
  CHECK(run.tunnel->take_sent()[1].bytes == datagram(packet(9, true), 3));
  CHECK(run.balanced());
}

TEST(a_flow_that_is_passed_past_the_kernel_stays_away_from_it) {
  ThroughPorts run(small());
  run.add(0);
  CHECK(run.engine->set_inspect(true));
  const auto returned = [&] { return run.count(ApplianceCounter::packets_returned); };
  const auto judge = [&](appliance::After after) {
    CHECK(eventually([&] {
      const int number = run.engine->next_batch();
      if (number < 0) return false;
      CHECK(run.engine->decide(number, 0, appliance::FlowVerdict::direct, after));
      return run.engine->release(number);
    }));
  };
  run.send(datagram(packet(1, true), 1));
  judge(appliance::kAtOnce);
  CHECK(eventually([&] { return returned() == 1; }));
  run.send(datagram(packet(1, true), 2));
  run.send(datagram(packet(1, false), 3));
  CHECK(eventually([&] { return returned() == 3; }));
  CHECK_EQ(run.count(ApplianceCounter::packets_to_kernel), 0u);
  CHECK_EQ(run.count(ApplianceCounter::flow_packets_passed), 2u);
  // Later: what comes before the verdict goes through the kernel.
  run.send(datagram(packet(2, true), 4));
  judge({1, UINT64_MAX});
  CHECK(eventually([&] { return returned() == 4; }));
  run.send(datagram(packet(2, true), 5));
  CHECK(eventually([&] {
    const int number = run.engine->next_batch();
    return number >= 0 && run.engine->release(number);
  }));
  CHECK(eventually([&] { return returned() == 5; }));
  CHECK_EQ(run.count(ApplianceCounter::packets_to_kernel), 2u);
  run.send(datagram(packet(2, true), 6));
  CHECK(eventually([&] { return returned() == 6; }));
  CHECK_EQ(run.count(ApplianceCounter::packets_to_kernel), 2u);
  CHECK(run.balanced());
}

}  // namespace
}  // namespace gwlb::test
