// What the kernel loses before anybody reads it is counted, each under its reason.
#include <netinet/ip.h>
#include <netinet/udp.h>

#include "engine/appliance_engine.h"
#include "test/native/engine_rig.h"

namespace gwlb::test {
namespace {

// A datagram with a wrong UDP checksum, as an appliance sends that leaves it to nobody.
bool send_bad_checksum(uint32_t to, uint16_t port, uint32_t payload) {
  Bytes transport(8 + payload, 0x55);
  put16(transport, 0, 6081);
  put16(transport, 2, port);
  put16(transport, 4, static_cast<uint16_t>(transport.size()));
  put16(transport, 6, 0x1234);
  const Bytes packet = ipv4(kTarget, to, 17, transport);
  const int fd = socket(AF_INET, SOCK_RAW | SOCK_CLOEXEC, IPPROTO_RAW);
  const sockaddr_in address = address_of(to, 0);
  const bool sent =
      sendto(fd, packet.data(), packet.size(), 0, reinterpret_cast<const sockaddr*>(&address),
             sizeof address) == static_cast<ssize_t>(packet.size());
  close(fd);
  return sent;
}

TEST(wrong_checksums_have_a_reason_of_their_own) {
  PrivateNetns netns;
  if (!netns.made()) SKIP("no network namespace can be made here");
  netns.run([] { CHECK(set_link_up("lo")); });
  auto engine = started(config_for(2, netns.path()));
  REQUIRE(engine != nullptr);
  const Account account{*engine};
  // 68 bytes of payload: the last size that the kernel judges before it knows whose it is.
  const uint32_t sizes[] = {20, 68, 69, 100, 1400};
  uint64_t sent = 0;
  for (const uint32_t payload : sizes) {
    netns.run([&] { CHECK(send_bad_checksum(kGateway, engine->port(), payload)); });
    ++sent;
    CHECK(eventually([&] { return account.drops(DropReason::outer_bad_checksum) == sent; }));
  }
  CHECK_EQ(account.all_drops(), sent);
  engine->stop();
  CHECK_EQ(account.all_drops(), sent);
}

TEST(an_appliance_counts_wrong_checksums_too) {
  PrivateNetns netns;
  if (!netns.made()) SKIP("no network namespace can be made here");
  netns.run([] { CHECK(set_link_up("lo")); });
  engine::ApplianceEngineConfig config;
  config.udp.address = kTarget;
  config.udp.port = 0;
  config.udp.netns = netns.path();
  std::unique_ptr<engine::ApplianceEngine> engine;
  CHECK_EQ(io::sentence(engine::ApplianceEngine::start(
               config, [] {}, &engine)),
           "");
  REQUIRE(engine != nullptr);
  const auto drops = [&](DropReason reason) {
    engine->count_losses();
    return (*engine).counters()[appliance::Counters::kDropsAt + static_cast<uint32_t>(reason)];
  };
  for (const uint32_t payload : {20u, 500u}) {
    netns.run([&] { CHECK(send_bad_checksum(kTarget, engine->port(), payload)); });
  }
  CHECK(eventually([&] { return drops(DropReason::outer_bad_checksum) == 2; }));
  CHECK_EQ(drops(DropReason::receive_overflow), 0u);
}

TEST(swapped_ports_are_counted) {
  auto engine = started(config_for(1));
  REQUIRE(engine != nullptr);
  PlainUdp target(kTarget);
  for (uint16_t k = 0; k < 10; ++k) {
    REQUIRE(target.send(Bytes(100, 1), kGateway, static_cast<uint16_t>(43000 + k % 3)));
  }
  const Account account{*engine};
  CHECK_EQ(account.drops(DropReason::returned_to_source_port), 10u);
  engine->stop();
  CHECK_EQ(account.all_drops(), 10u);
}

int queue_packets(const PrivateNetns& netns, const std::string& name) {
  int packets = -1;
  netns.run([&] {
    const int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    ifreq request{};
    std::strncpy(request.ifr_name, name.c_str(), IFNAMSIZ - 1);
    if (ioctl(fd, SIOCGIFTXQLEN, &request) == 0) packets = request.ifr_qlen;
    close(fd);
  });
  return packets;
}

TEST(what_a_full_device_queue_loses_is_counted) {
  PrivateNetns netns;
  if (!can_make_tun(netns)) SKIP(kNoTun);
  std::unique_ptr<io::Tun> tun;
  io::TunConfig config = tun_in(netns);
  config.queue_packets = 10;
  REQUIRE(io::Tun::open(config, &tun).ok());
  CHECK_EQ(queue_packets(netns, tun->name()), 10);
  TunSide side(netns, tun->name().c_str());
  REQUIRE(side.open());
  CHECK_EQ(tun->drops(), 0u);
  constexpr uint32_t kPackets = 100;
  for (uint32_t k = 0; k < kPackets; ++k) side.enter(numbered(1, k));
  auto batch = batch::PacketBatch::create(64, base::kSlotStrideJumbo);
  io::OsError error;
  bool more = false;
  batch->count = 0;
  const uint32_t got = tun->queue(0).receive(*batch, 0, &more, &error);
  CHECK(got >= 10 && got < 64);
  CHECK_EQ(got + tun->drops(), kPackets);
}

TEST(a_new_device_has_a_longer_queue_than_the_kernel_gives_it) {
  PrivateNetns netns;
  if (!can_make_tun(netns)) SKIP(kNoTun);
  std::unique_ptr<io::Tun> tun;
  REQUIRE(io::Tun::open(tun_in(netns), &tun).ok());
  CHECK_EQ(queue_packets(netns, tun->name()), static_cast<int>(io::kTunQueueDefault));
}

// As on a router, whose kernel reports multicast groups and looks for other routers.
TEST(a_new_device_makes_the_kernel_say_nothing) {
  PrivateNetns netns;
  if (!can_make_tun(netns)) SKIP(kNoTun);
  netns.run([] {
    for (const char* path : {"/proc/sys/net/ipv6/conf/all/disable_ipv6",
                             "/proc/sys/net/ipv6/conf/default/disable_ipv6"}) {
      const int fd = open(path, O_WRONLY | O_CLOEXEC);
      CHECK(write(fd, "0", 1) == 1);
      close(fd);
    }
    const int fd = open("/proc/sys/net/ipv6/conf/all/forwarding", O_WRONLY | O_CLOEXEC);
    CHECK(write(fd, "1", 1) == 1);
    close(fd);
  });
  std::unique_ptr<io::Tun> tun;
  REQUIRE(io::Tun::open(tun_in(netns), &tun).ok());
  auto batch = batch::PacketBatch::create(64, base::kSlotStrideJumbo);
  io::OsError error;
  bool more = false;
  uint32_t got = 0;
  // Reports come within the first second and are sent again.
  for (int waited = 0; waited < 2500; waited += 50) {
    usleep(50'000);
    batch->count = 0;
    got += tun->queue(0).receive(*batch, 0, &more, &error);
  }
  CHECK_EQ(got, 0u);
  CHECK(error.ok());
}

}  // namespace
}  // namespace gwlb::test
