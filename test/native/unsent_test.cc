// What could not be sent counts once: as a drop, and not as sent.
#include <net/if.h>

#include "test/native/engine_rig.h"
#include "wire/gwlb_options.h"

namespace gwlb::test {
namespace {

using gateway::TargetCounter;

// No route leads there from a namespace that has loopback alone.
constexpr uint32_t kNowhere = 0xcb007105;

select::TargetSpec target_at(uint32_t address, uint16_t slot, uint16_t port) {
  select::TargetSpec target;
  target.address = address;
  target.port = port;
  target.slot = slot;
  target.flags = select::kRegistered | select::kEligible;
  target.identity = 5u + slot;
  return target;
}

uint64_t of_target(engine::GatewayEngine& engine, uint16_t slot, TargetCounter which) {
  uint64_t sum = 0;
  for (uint32_t w = 0; w < engine.workers(); ++w) sum += engine.counters(w).get(slot, which);
  return sum;
}

// What entered went to a target, or is a drop.
void check_books(const Account& account) {
  CHECK_EQ(account.count(GatewayCounter::packets_in),
           account.count(GatewayCounter::packets_to_targets) +
               account.count(GatewayCounter::packets_bypassed) +
               account.count(GatewayCounter::packets_waiting) + account.all_drops());
}

void unreachable_targets(uint32_t workers) {
  PrivateNetns netns;
  if (!netns.made()) SKIP("no network namespace can be made here");
  netns.run([] { CHECK(set_link_up("lo")); });
  engine::GatewayEngineConfig config = config_for(workers, netns.path());
  config.gateway.flow_counters = true;
  auto engine = started(config);
  REQUIRE(engine != nullptr);
  EchoAppliance appliance(&netns, engine->port());
  std::unique_ptr<PlainUdp> peer;
  netns.run([&] { peer = std::make_unique<PlainUdp>(kPeer); });
  engine->configure({}, select::TargetTable::build(
                            {target_at(kTarget, 0, appliance.port()), target_at(kNowhere, 1, 6081)},
                            1, false, 9));
  engine->add_endpoint(3, peer_endpoint(peer->port()));
  constexpr uint32_t kPackets = 400;
  for (uint32_t number = 0; number < kPackets; ++number) {
    REQUIRE(peer->send(geneve(numbered(number % 40, number)), kGateway, engine->port()));
  }
  const Account account{*engine};
  CHECK(eventually([&] {
    return account.count(GatewayCounter::packets_in) == kPackets &&
           account.count(GatewayCounter::packets_to_targets) == appliance.received() &&
           account.count(GatewayCounter::packets_out) == appliance.received() &&
           account.count(GatewayCounter::packets_to_targets) + account.all_drops() == kPackets;
  }));
  engine->stop();
  check_books(account);
  const uint64_t lost = account.drops(DropReason::send_failed);
  CHECK(lost > 0 && lost < kPackets);
  CHECK_EQ(account.all_drops(), lost);
  CHECK_EQ(of_target(*engine, 1, TargetCounter::packets_to), 0u);
  CHECK_EQ(of_target(*engine, 1, TargetCounter::bytes_to), 0u);
  CHECK_EQ(of_target(*engine, 0, TargetCounter::packets_to), kPackets - lost);
  CHECK_EQ(of_target(*engine, 0, TargetCounter::packets_to), appliance.received());
  CHECK_EQ(of_target(*engine, 0, TargetCounter::bytes_to), (kPackets - lost) * 60);
}

TEST(what_could_not_be_sent_to_a_target_is_a_drop_alone) { unreachable_targets(1); }
TEST(nor_is_it_counted_twice_with_two_workers) { unreachable_targets(2); }

// A device that is down takes nothing.
TEST(what_a_device_refuses_has_not_left) {
  PrivateNetns netns;
  if (!can_make_tun(netns)) SKIP(kNoTun);
  netns.run([] { CHECK(set_link_up("lo")); });
  auto engine = started(config_for(1, netns.path()));
  REQUIRE(engine != nullptr);
  EchoAppliance appliance(&netns, engine->port());
  engine->configure({}, one_target(appliance.port()));
  std::string name;
  REQUIRE(engine->add_tun(0, tun_endpoint(), tun_in(netns), &name).ok());
  TunSide side(netns, name.c_str());
  REQUIRE(side.open() && side.enter(numbered(1, 1)));
  Bytes back;
  REQUIRE(side.leave(&back));
  const Account account{*engine};
  // A datagram as the target would return it, for a device that is down by then.
  std::unique_ptr<PlainUdp> target;
  netns.run([&] { target = std::make_unique<PlainUdp>(kTarget); });
  netns.run([&] {
    const int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    ifreq request{};
    std::strncpy(request.ifr_name, name.c_str(), IFNAMSIZ - 1);
    CHECK(ioctl(fd, SIOCGIFFLAGS, &request) == 0);
    request.ifr_flags = static_cast<short>(request.ifr_flags & ~IFF_UP);
    CHECK(ioctl(fd, SIOCSIFFLAGS, &request) == 0);
    close(fd);
  });
  Bytes returned(40);
  const gateway::Explanation flow = [&] {
    const Bytes packet = numbered(1, 1);
    return engine->explain(packet.data(), static_cast<uint32_t>(packet.size()), 0);
  }();
  wire::GatewayOptions options{kEndpointId, 0, flow.cookie};
  wire::write_gateway_header(returned.data(), 0x0800, 0x0108, options);
  const Bytes inner = numbered(1, 2);
  returned.insert(returned.end(), inner.begin(), inner.end());
  REQUIRE(target->send(returned, kGateway, engine->port()));
  CHECK(eventually([&] { return account.all_drops() == 1; }));
  engine->stop();
  CHECK_EQ(account.drops(DropReason::send_failed), 1u);
  CHECK_EQ(account.count(GatewayCounter::packets_from_targets), 2u);
  CHECK_EQ(account.count(GatewayCounter::packets_out), 1u);
  CHECK_EQ(account.count(GatewayCounter::bytes_out), 60u);
}

}  // namespace
}  // namespace gwlb::test
