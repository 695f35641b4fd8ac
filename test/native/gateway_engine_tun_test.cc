// The gateway engine's TUN endpoints, in network namespaces of their own.
#include <linux/if_tun.h>

#include <map>

#include "test/native/engine_rig.h"

namespace gwlb::test {
namespace {

void tun_carries(const PrivateNetns& netns, uint32_t workers) {
  CHECK(netns.run([] { CHECK(set_link_up("lo")); }));
  auto engine = started(config_for(workers, netns.path()));
  REQUIRE(engine != nullptr);
  EchoAppliance appliance(&netns, engine->port());
  engine->configure({}, one_target(appliance.port()));
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
  engine->configure({}, one_target(appliance->port()));
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
  CHECK(device_state(*engine, 0) == io::LinkState::up);
  CHECK(!device_state(*engine, 1));
  CHECK(netns.run([] { CHECK(delete_link("gwlbt0")); }));
  CHECK(device_state(*engine, 0) == io::LinkState::gone);
  REQUIRE(appliance->send(datagram, kGateway, engine->port()));
  const Account account{*engine};
  CHECK(eventually([&] { return account.drops(DropReason::endpoint_has_no_device) == 1; }));
  // The other endpoint lives on, and the index can be used again.
  REQUIRE(peer->send(geneve(numbered(2, 2)), kGateway, engine->port()));
  REQUIRE(appliance->receive(&datagram));
  REQUIRE(appliance->send(datagram, kGateway, engine->port()));
  CHECK(peer->receive(&datagram));
  io::OsError error;
  CHECK(!engine->failed(&error));
  engine->remove_endpoint(0);
  CHECK(engine->add_tun(0, tun_endpoint(), tun_in(netns), &name).ok());
}

// What returns for the first packet after its device was lost, made again, or set down and up.
void restored(uint32_t workers, io::TunLifetime lifetime, bool deleted) {
  PrivateNetns netns;
  CHECK(netns.run([] { CHECK(set_link_up("lo")); }));
  auto engine = started(config_for(workers, netns.path()));
  REQUIRE(engine != nullptr);
  EchoAppliance appliance(&netns, engine->port());
  engine->configure({}, one_target(appliance.port()));
  io::TunConfig config = tun_in(netns);
  config.lifetime = lifetime;
  std::string name;
  REQUIRE(engine->add_tun(0, tun_endpoint(), config, &name).ok());
  const auto carries = [&](uint32_t number) {
    TunSide side(netns, "gwlbt0");
    Bytes back;
    // Until the kernel has seen the new carrier it drops what is sent.
    return side.open() && eventually([&] {
             return side.enter(numbered(1, number)) && side.leave(&back) &&
                    back == numbered(1, number);
           });
  };
  CHECK(carries(1));
  for (uint32_t round = 0; round < 3; ++round) {
    CHECK(netns.run([&] { CHECK(deleted ? delete_link("gwlbt0") : set_link_down("gwlbt0")); }));
    CHECK(device_state(*engine, 0) == (deleted ? io::LinkState::gone : io::LinkState::down));
    CHECK_EQ(io::sentence(engine->restore_tun(0)), "");
    CHECK(device_state(*engine, 0) == io::LinkState::up);
    CHECK(carries(2 + round));
  }
  CHECK_EQ(io::sentence(engine->restore_tun(0)), "");
  CHECK_EQ(engine->restore_tun(1).number, EINVAL);
  // The flow has lived on.
  const Account account{*engine};
  CHECK_EQ(account.count(GatewayCounter::flows_new), 1u);
  engine->stop();
  CHECK(!device_state(*engine, 0));
  CHECK_EQ(engine->restore_tun(0).number, ESHUTDOWN);
  CHECK(netns.run(
      [&] { CHECK_EQ(link_mtu("gwlbt0") > 0, lifetime == io::TunLifetime::persistent); }));
}

TEST(a_lost_device_is_made_again) {
  PrivateNetns netns;
  if (!can_make_tun(netns)) SKIP(kNoTun);
  restored(1, io::TunLifetime::as_found, true);
  restored(2, io::TunLifetime::persistent, true);
}
TEST(a_device_that_is_down_is_set_up_again) {
  PrivateNetns netns;
  if (!can_make_tun(netns)) SKIP(kNoTun);
  restored(2, io::TunLifetime::as_found, false);
}

// As `ip tuntap add` makes it: one queue, which the first worker reads for all.
TEST(a_device_with_one_queue_serves_two_workers) {
  PrivateNetns netns;
  if (!can_make_tun(netns)) SKIP(kNoTun);
  std::unique_ptr<io::Tun> made;
  io::TunConfig config = tun_in(netns);
  CHECK(io::Tun::open(config, &made).ok());
  CHECK_EQ(ioctl(made->queue(0).fd(), TUNSETPERSIST, 1), 0);
  made.reset();
  tun_carries(netns, 2);
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

}  // namespace
}  // namespace gwlb::test
