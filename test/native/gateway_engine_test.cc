#include "engine/gateway_engine.h"

#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <time.h>

#include <atomic>
#include <map>
#include <thread>

#include "engine/steer.h"
#include "test/native/io_rig.h"
#include "test/native/test.h"

namespace gwlb::test {
namespace {

using base::DropReason;
using gateway::GatewayCounter;

constexpr uint32_t kGateway = 0x7f000102;
constexpr uint32_t kTarget = 0x7f000103;
constexpr uint32_t kPeer = 0x7f000104;
constexpr uint64_t kEndpointId = 0x0123456789abcdef;

// A UDP packet of flow `flow` with a number in its payload. Flows differ in their addresses, so
// that they have different owners.
Bytes numbered(uint32_t flow, uint32_t number, uint32_t payload = 32) {
  Bytes transport = udp(static_cast<uint16_t>(20000 + flow % 1000), 53, payload);
  put32(transport, 8, flow);
  put32(transport, 12, number);
  return ipv4(0x0a010000 + flow, 0x0a020001, 17, transport);
}
uint32_t number_at(const Bytes& bytes, size_t at) {
  return static_cast<uint32_t>(bytes[at]) << 24 | bytes[at + 1] << 16 | bytes[at + 2] << 8 |
         bytes[at + 3];
}

Bytes geneve(const Bytes& inner, uint32_t vni = 7) {
  Bytes out(8);
  put16(out, 2, inner.empty() || inner[0] >> 4 == 4 ? 0x0800 : 0x86dd);
  put32(out, 4, vni << 8);
  out.insert(out.end(), inner.begin(), inner.end());
  return out;
}

engine::GatewayEngineConfig config_for(uint32_t workers, const std::string& netns = "") {
  engine::GatewayEngineConfig config;
  config.gateway.hash_key = {11, 12};
  config.gateway.cookie_key = {13, 14};
  config.gateway.flows_ipv4 = config.gateway.flows_ipv6 = 2 * base::kFlowsMin;
  config.udp.address = kGateway;
  config.udp.port = 0;
  config.udp.netns = netns;
  config.udp.source_port_base = 43000;
  config.udp.source_port_count = 16;
  config.workers = workers;
  return config;
}

struct Account {
  engine::GatewayEngine& engine;
  uint64_t count(GatewayCounter which) const {
    uint64_t sum = 0;
    for (uint32_t w = 0; w < engine.workers(); ++w) sum += engine.counters(w).get(which);
    return sum;
  }
  uint64_t drops(DropReason which) const {
    uint64_t sum = 0;
    for (uint32_t w = 0; w < engine.workers(); ++w) sum += engine.counters(w).drops(which);
    return sum;
  }
  uint64_t all_drops() const {
    uint64_t sum = 0;
    for (uint32_t k = 1; k < base::kDropReasons; ++k) sum += drops(static_cast<DropReason>(k));
    return sum;
  }
  uint64_t input_drops() const {
    return drops(DropReason::receive_overflow) + drops(DropReason::receive_truncated) +
           drops(DropReason::worker_ring_full);
  }
};

template <class Condition>
bool eventually(Condition condition, int timeout_ms = 20'000) {
  for (int waited = 0; !condition(); waited += 2) {
    if (waited > timeout_ms) return false;
    usleep(2000);
  }
  return true;
}

// Returns every datagram to the gateway's port, whatever port it came from.
class EchoAppliance {
 public:
  EchoAppliance(const PrivateNetns* netns, uint16_t gateway_port) : gateway_port_(gateway_port) {
    const auto open = [this] { socket_ = std::make_unique<PlainUdp>(kTarget, 0, 20); };
    if (netns != nullptr) {
      netns->run(open);
    } else {
      open();
    }
    thread_ = std::thread([this] { run(); });
  }
  ~EchoAppliance() { stop(); }
  void stop() {
    stop_ = true;
    if (thread_.joinable()) thread_.join();
  }
  uint16_t port() const { return socket_->port(); }
  uint64_t received() const { return received_; }
  uint64_t returned() const { return returned_; }

 private:
  void run() {
    Bytes bytes;
    while (!stop_) {
      if (!socket_->receive(&bytes)) continue;
      ++received_;
      if (socket_->send(bytes, kGateway, gateway_port_)) ++returned_;
    }
  }
  uint16_t gateway_port_;
  std::unique_ptr<PlainUdp> socket_;
  std::thread thread_;
  std::atomic<bool> stop_{false};
  std::atomic<uint64_t> received_{0};
  std::atomic<uint64_t> returned_{0};
};

std::shared_ptr<const select::TargetTable> one_target(uint16_t port) {
  select::TargetSpec target;
  target.address = kTarget;
  target.port = port;
  target.flags = select::kRegistered | select::kEligible;
  target.identity = 5;
  return select::TargetTable::build({target}, 1, false, 9);
}

gateway::EndpointSpec peer_endpoint(uint16_t port) {
  gateway::EndpointSpec endpoint;
  endpoint.kind = gateway::EndpointKind::geneve;
  endpoint.id = kEndpointId;
  endpoint.peer = kPeer;
  endpoint.peer_port = port;
  endpoint.vni = 7;
  return endpoint;
}

std::unique_ptr<engine::GatewayEngine> started(const engine::GatewayEngineConfig& config) {
  std::unique_ptr<engine::GatewayEngine> engine;
  const io::OsError error = engine::GatewayEngine::start(config, &engine);
  CHECK_EQ(io::sentence(error), "");
  return engine;
}

// What a peer gets back of what it sends, in windows, so that no buffer overflows.
void all_comes_back(uint32_t workers) {
  auto engine = started(config_for(workers));
  REQUIRE(engine != nullptr);
  EchoAppliance appliance(nullptr, engine->port());
  PlainUdp peer(kPeer);
  engine->set_targets(one_target(appliance.port()));
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
  engine->set_targets(one_target(appliance.port()));
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
  CHECK(eventually(
      [&] {
        const uint64_t to_targets = account.count(GatewayCounter::packets_to_targets);
        return appliance.returned() == to_targets && seen() == sent + to_targets;
      },
      60'000));
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

// A packet socket on a TUN device: what it sends enters the endpoint, what it receives left by it.
class TunSide {
 public:
  TunSide(const PrivateNetns& netns, const char* device) {
    netns.run([&] {
      fd_ = socket(AF_PACKET, SOCK_DGRAM | SOCK_CLOEXEC, htons(ETH_P_IP));
      address_.sll_family = AF_PACKET;
      address_.sll_protocol = htons(ETH_P_IP);
      address_.sll_ifindex = static_cast<int>(if_nametoindex(device));
      const timeval timeout{10, 0};
      setsockopt(fd_, SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof timeout);
      const int room = 8 << 20;
      setsockopt(fd_, SOL_SOCKET, SO_RCVBUFFORCE, &room, sizeof room);
      const int ignore = 1;
      setsockopt(fd_, SOL_PACKET, PACKET_IGNORE_OUTGOING, &ignore, sizeof ignore);
      open_ = bind(fd_, reinterpret_cast<const sockaddr*>(&address_), sizeof address_) == 0;
    });
  }
  ~TunSide() { close(fd_); }
  bool open() const { return open_; }
  bool enter(const Bytes& packet) {
    return sendto(fd_, packet.data(), packet.size(), 0,
                  reinterpret_cast<const sockaddr*>(&address_),
                  sizeof address_) == static_cast<ssize_t>(packet.size());
  }
  bool leave(Bytes* packet) {
    packet->resize(10000);
    const ssize_t n = recv(fd_, packet->data(), packet->size(), 0);
    packet->resize(n < 0 ? 0 : static_cast<size_t>(n));
    return n >= 0;
  }

 private:
  int fd_ = -1;
  bool open_ = false;
  sockaddr_ll address_{};
};

bool can_make_tun(const PrivateNetns& netns) {
  return netns.made() && access("/dev/net/tun", R_OK | W_OK) == 0;
}
constexpr char kNoTun[] = "no network namespace or no TUN device can be made here";

io::TunConfig tun_in(const PrivateNetns& netns, const char* name = "gwlbt0") {
  io::TunConfig tun;
  tun.name = name;
  tun.netns = netns.path();
  return tun;
}
gateway::EndpointSpec tun_endpoint() {
  gateway::EndpointSpec endpoint;
  endpoint.id = kEndpointId;
  return endpoint;
}

void tun_carries(const PrivateNetns& netns, uint32_t workers) {
  CHECK(netns.run([] { CHECK(set_link_up("lo")); }));
  auto engine = started(config_for(workers, netns.path()));
  REQUIRE(engine != nullptr);
  EchoAppliance appliance(&netns, engine->port());
  engine->set_targets(one_target(appliance.port()));
  std::string name;
  const io::OsError error = engine->add_tun(0, tun_endpoint(), tun_in(netns), &name);
  CHECK_EQ(io::sentence(error), "");
  CHECK_EQ(name, "gwlbt0");
  TunSide side(netns, "gwlbt0");
  REQUIRE(side.open());
  constexpr uint32_t kWindow = 40;
  constexpr uint32_t kWindows = 20;
  std::map<uint32_t, uint32_t> last;
  bool right = true;
  for (uint32_t window = 0; window < kWindows; ++window) {
    const uint32_t payload = window % 4 == 3 ? 8472 : 32 + window * 60;
    for (uint32_t k = 0; k < kWindow; ++k) {
      REQUIRE(side.enter(numbered(k % 23, 1 + window * kWindow + k, payload)));
    }
    for (uint32_t k = 0; k < kWindow; ++k) {
      Bytes bytes;
      REQUIRE(side.leave(&bytes));
      REQUIRE(bytes.size() == 28 + payload);
      const uint32_t flow = number_at(bytes, 28);
      const uint32_t number = number_at(bytes, 32);
      right = right && bytes == numbered(flow, number, payload) && last[flow] < number;
      last[flow] = number;
    }
  }
  CHECK(right);
  engine->stop();
  const Account account{*engine};
  CHECK_EQ(account.count(GatewayCounter::packets_in), kWindow * kWindows);
  CHECK_EQ(account.count(GatewayCounter::packets_out), kWindow * kWindows);
  CHECK_EQ(account.all_drops(), 0u);
}

TEST(a_tun_endpoint_carries_packets_with_one_worker) {
  PrivateNetns netns;
  if (!can_make_tun(netns)) SKIP(kNoTun);
  tun_carries(netns, 1);
}
TEST(a_tun_endpoint_carries_packets_with_two_workers) {
  PrivateNetns netns;
  if (!can_make_tun(netns)) SKIP(kNoTun);
  tun_carries(netns, 2);
}

TEST(a_lost_device_takes_only_its_endpoint_along) {
  PrivateNetns netns;
  if (!can_make_tun(netns)) SKIP(kNoTun);
  CHECK(netns.run([] { CHECK(set_link_up("lo")); }));
  auto engine = started(config_for(1, netns.path()));
  REQUIRE(engine != nullptr);
  std::unique_ptr<PlainUdp> appliance;
  std::unique_ptr<PlainUdp> peer;
  netns.run([&] {
    appliance = std::make_unique<PlainUdp>(kTarget);
    peer = std::make_unique<PlainUdp>(kPeer);
  });
  engine->set_targets(one_target(appliance->port()));
  std::string name;
  CHECK(engine->add_tun(0, tun_endpoint(), tun_in(netns), &name).ok());
  gateway::EndpointSpec other = peer_endpoint(peer->port());
  other.id = kEndpointId + 1;
  engine->add_endpoint(1, other);
  {
    TunSide side(netns, "gwlbt0");
    REQUIRE(side.enter(numbered(1, 1)));
  }
  Bytes datagram;
  REQUIRE(appliance->receive(&datagram));
  io::OsError error;
  CHECK(!engine->failed(&error));
  CHECK(netns.run([] { CHECK(delete_link("gwlbt0")); }));
  CHECK(eventually([&] { return engine->failed(&error); }));
  CHECK_EQ(io::sentence(error), "read gwlbt0: File descriptor in bad state (EBADFD)");
  REQUIRE(appliance->send(datagram, kGateway, engine->port()));
  const Account account{*engine};
  CHECK(eventually([&] { return account.drops(DropReason::endpoint_has_no_device) == 1; }));
  // The other endpoint lives on, and the index can be used again.
  REQUIRE(peer->send(geneve(numbered(2, 2)), kGateway, engine->port()));
  REQUIRE(appliance->receive(&datagram));
  REQUIRE(appliance->send(datagram, kGateway, engine->port()));
  CHECK(peer->receive(&datagram));
  engine->remove_endpoint(0);
  CHECK(engine->add_tun(0, tun_endpoint(), tun_in(netns), &name).ok());
}

TEST(devices_come_and_go) {
  PrivateNetns netns;
  if (!can_make_tun(netns)) SKIP(kNoTun);
  auto engine = started(config_for(2));
  REQUIRE(engine != nullptr);
  const int before = open_descriptors();
  std::string name;
  for (int round = 0; round < 3; ++round) {
    CHECK(engine->add_tun(7, tun_endpoint(), tun_in(netns, "gw%d"), &name).ok());
    CHECK_EQ(name, "gw0");
    io::OsError error = engine->add_tun(7, tun_endpoint(), tun_in(netns, "gw%d"), &name);
    CHECK_EQ(error.number, EEXIST);
    error = engine->add_tun(8, tun_endpoint(), tun_in(netns, "gw0"), &name);
    CHECK_EQ(error.number, EBUSY);
    engine->remove_endpoint(7);
    CHECK(netns.run([] { CHECK_EQ(link_mtu("gw0"), -1); }));
    CHECK_EQ(open_descriptors(), before);
  }
  CHECK_EQ(engine->add_tun(4096, tun_endpoint(), tun_in(netns), &name).number, EINVAL);
  engine->stop();
  CHECK_EQ(engine->add_tun(7, tun_endpoint(), tun_in(netns), &name).number, ESHUTDOWN);
}

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
  engine->set_targets(one_target(appliance.port()));
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
  engine->set_targets(one_target(appliance.port()));
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
  engine->set_idle_timeouts(100, 100);
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
    for (int round = 0; round < 30; ++round) {
      engine->set_targets(one_target(appliance.port()));
      engine->add_endpoint(3, peer_endpoint(peer.port()));
      const Bytes packet = numbered(1, 1);
      engine->explain(packet.data(), static_cast<uint32_t>(packet.size()), 3);
      engine->set_fail_open(round % 2 == 0);
      gateway::FlowEvent events[64];
      engine->drain_events(events, 64);
      if (round % 5 == 4) engine->remove_endpoint(3);
    }
    engine->stop();
    engine->stop();
    done = true;
    flood.join();
    const Account account{*engine};
    CHECK(sent > 0);
    CHECK(account.count(GatewayCounter::packets_in) + account.all_drops() > 0);
  }
}

TEST(a_start_that_fails_leaves_nothing) {
  auto engine = started(config_for(2));
  REQUIRE(engine != nullptr);
  const int before = open_descriptors();
  std::unique_ptr<engine::GatewayEngine> second;
  for (const uint32_t workers : {1u, 3u}) {
    engine::GatewayEngineConfig config = config_for(workers);
    config.udp.port = engine->port();  // in use, and shared by the other's workers
    const io::OsError error = engine::GatewayEngine::start(config, &second);
    CHECK_EQ(error.number, EADDRINUSE);
    CHECK_EQ(error.syscall, "bind");
    CHECK_EQ(error.detail, "127.0.1.2:" + std::to_string(engine->port()));
    CHECK_EQ(open_descriptors(), before);
  }
  engine::GatewayEngineConfig config = config_for(2);
  config.udp.source_port_base = 43005;  // taken by the first engine
  config.udp.source_port_count = 1;
  CHECK_EQ(engine::GatewayEngine::start(config, &second).detail, "127.0.1.2:43005");
  CHECK_EQ(open_descriptors(), before);
  config = config_for(2);
  config.udp.netns = "gwlb-no-such-netns";
  CHECK_EQ(engine::GatewayEngine::start(config, &second).detail, "/run/netns/gwlb-no-such-netns");
  for (const uint32_t workers : {0u, base::kWorkersMax + 1}) {
    const io::OsError error = engine::GatewayEngine::start(config_for(workers), &second);
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
