#include "io/tun.h"

#include <linux/if_tun.h>

#include <algorithm>

#include "test/native/io_rig.h"
#include "test/native/test.h"

namespace gwlb::test {
namespace {

using base::DropReason;
using batch::PacketBatch;

constexpr char kNoTun[] = "no network namespace or no TUN device can be made here";

std::unique_ptr<io::Tun> open_tun(const io::TunConfig& config) {
  std::unique_ptr<io::Tun> tun;
  const io::OsError error = io::Tun::open(config, &tun);
  CHECK_EQ(io::sentence(error), "");
  return tun;
}

bool can_make(const PrivateNetns& netns) {
  return netns.made() && access("/dev/net/tun", R_OK | W_OK) == 0;
}

io::TunConfig config_in(const PrivateNetns& netns, const char* name, uint32_t queues = 1) {
  io::TunConfig config;
  config.name = name;
  config.netns = netns.path();
  config.queues = queues;
  return config;
}

uint32_t receive(io::TunQueue& queue, PacketBatch& batch, uint16_t endpoint, io::OsError* error) {
  bool more = false;
  return queue.receive(batch, endpoint, &more, error);
}

bool send(io::TunQueue& queue, PacketBatch& batch, uint16_t i) {
  queue.send(batch, &i, 1);
  return batch.verdict[i] != static_cast<uint8_t>(batch::Verdict::drop);
}

uint32_t receive_some(io::TunQueue& queue, PacketBatch& batch, uint16_t endpoint) {
  io::OsError error;
  for (int k = 0; k < 200; ++k) {
    const uint32_t n = receive(queue, batch, endpoint, &error);
    CHECK(error.ok());
    if (n != 0) return n;
    usleep(1000);
  }
  return 0;
}

// IPv4 UDP: the answer is the question with both ends swapped; every checksum stays right.
void turn_round(uint8_t* packet) {
  std::swap_ranges(packet + 12, packet + 16, packet + 16);
  std::swap_ranges(packet + 20, packet + 22, packet + 22);
}

TEST(packets_go_out_and_come_back) {
  PrivateNetns netns;
  if (!can_make(netns)) SKIP(kNoTun);
  auto tun = open_tun(config_in(netns, "gwlbt0"));
  REQUIRE(tun != nullptr);
  CHECK_EQ(tun->name(), "gwlbt0");
  std::unique_ptr<PlainUdp> client;
  CHECK(netns.run([&] {
    CHECK_EQ(link_mtu("gwlbt0"), 8500);
    CHECK(set_address("gwlbt0", 0x0a090001, 0xffffff00));
    client = std::make_unique<PlainUdp>(0x0a090001);
  }));
  REQUIRE(client && client->bound());
  auto batch = PacketBatch::create(64, base::kSlotStrideJumbo);
  // Nothing but what was sent: no router solicitations, no multicast reports.
  usleep(20'000);
  io::OsError error;
  batch->count = 0;
  CHECK_EQ(receive(tun->queue(0), *batch, 0, &error), 0u);

  const uint32_t payloads[] = {0, 1, 1472, 8472};
  for (const uint32_t payload : payloads) CHECK(client->send(Bytes(payload, 7), 0x0a090002, 9999));
  batch->count = 0;
  uint32_t got = 0;
  while (got < 4) {
    const uint32_t n = receive_some(tun->queue(0), *batch, 5);
    REQUIRE(n != 0);
    got += n;
  }
  REQUIRE(batch->count == 4);
  for (uint16_t i = 0; i < 4; ++i) {
    CHECK_EQ(batch->length[i], 28 + payloads[i]);
    CHECK_EQ(batch->endpoint[i], 5);
    CHECK_EQ(batch->headroom(i), base::kHeadroom);
    CHECK(batch->pending(i));
    turn_round(batch->packet(i));
    CHECK(send(tun->queue(0), *batch, i));
  }
  for (const uint32_t payload : payloads) {
    Bytes bytes;
    sockaddr_in from;
    REQUIRE(client->receive(&bytes, &from));
    CHECK_EQ(bytes.size(), payload);
    CHECK_EQ(ntohl(from.sin_addr.s_addr), 0x0a090002u);
    CHECK_EQ(ntohs(from.sin_port), 9999);
  }
}

TEST(a_batch_stops_when_it_is_full) {
  PrivateNetns netns;
  if (!can_make(netns)) SKIP(kNoTun);
  auto tun = open_tun(config_in(netns, "gwlbt0"));
  REQUIRE(tun != nullptr);
  CHECK(netns.run([&] {
    CHECK(set_address("gwlbt0", 0x0a090001, 0xffffff00));
    PlainUdp client(0x0a090001);
    for (uint8_t k = 0; k < 10; ++k) CHECK(client.send(Bytes(8, k), 0x0a090002, 9999));
  }));
  auto batch = PacketBatch::create(6, base::kSlotStrideJumbo);
  io::OsError error;
  batch->count = 2;  // appends
  CHECK_EQ(receive(tun->queue(0), *batch, 1, &error), 4u);
  CHECK_EQ(batch->packet(2)[28], 0);
  CHECK_EQ(receive(tun->queue(0), *batch, 1, &error), 0u);
  batch->count = 0;
  CHECK_EQ(receive(tun->queue(0), *batch, 1, &error), 6u);
  CHECK_EQ(batch->packet(5)[28], 9);
  batch->count = 0;
  CHECK_EQ(receive(tun->queue(0), *batch, 1, &error), 0u);
  CHECK(error.ok());
}

TEST(several_queues_share_the_device) {
  PrivateNetns netns;
  if (!can_make(netns)) SKIP(kNoTun);
  auto tun = open_tun(config_in(netns, "gwlbt0", 3));
  REQUIRE(tun != nullptr && tun->queues() == 3);
  CHECK(netns.run([&] {
    CHECK(set_address("gwlbt0", 0x0a090001, 0xffffff00));
    for (uint16_t port = 0; port < 60; ++port) {
      PlainUdp client(0x0a090001);
      CHECK(client.send(Bytes(8, 1), 0x0a090002, static_cast<uint16_t>(9000 + port)));
    }
  }));
  auto batch = PacketBatch::create(64, base::kSlotStrideJumbo);
  io::OsError error;
  uint32_t got = 0;
  uint32_t used = 0;
  for (uint32_t q = 0; q < 3; ++q) {
    batch->count = 0;
    const uint32_t n = receive(tun->queue(q), *batch, 1, &error);
    got += n;
    used += n != 0;
  }
  CHECK_EQ(got, 60u);
  CHECK(used > 1);
}

TEST(a_packet_the_kernel_refuses_is_a_drop) {
  PrivateNetns netns;
  if (!can_make(netns)) SKIP(kNoTun);
  io::TunConfig config = config_in(netns, "gwlbt0");
  config.up = false;
  auto tun = open_tun(config);
  REQUIRE(tun != nullptr);
  auto batch = PacketBatch::create(2, base::kSlotStrideJumbo);
  Bytes packet(28);  // IPv4 and UDP, as far as a TUN device looks
  packet[0] = 0x45;
  packet[9] = 17;
  batch->reset(0, static_cast<uint32_t>(packet.size()));
  std::memcpy(batch->packet(0), packet.data(), packet.size());
  CHECK(!send(tun->queue(0), *batch, 0));  // the link is down
  CHECK_EQ(batch->reason[0], static_cast<uint8_t>(DropReason::send_failed));
  CHECK(netns.run([] { CHECK(set_link_up("gwlbt0")); }));
  batch->reset(0, static_cast<uint32_t>(packet.size()));
  CHECK(send(tun->queue(0), *batch, 0));
  batch->packet(0)[0] = 0x75;  // no IP version
  CHECK(!send(tun->queue(0), *batch, 0));
}

TEST(errors_say_what_and_leave_nothing) {
  PrivateNetns netns;
  if (!can_make(netns)) SKIP(kNoTun);
  std::unique_ptr<io::Tun> tun;
  io::OsError error = io::Tun::open(config_in(netns, "sixteen-bytes-xx"), &tun);
  CHECK_EQ(error.number, ENAMETOOLONG);
  CHECK_EQ(error.detail, "sixteen-bytes-xx");
  error = io::Tun::open(config_in(netns, "a/b"), &tun);
  CHECK_EQ(error.number, EINVAL);
  CHECK_EQ(error.syscall, "ioctl(TUNSETIFF)");
  io::TunConfig config = config_in(netns, "gwlbt0");
  config.mtu = 8501;
  error = io::Tun::open(config, &tun);
  CHECK_EQ(error.number, EINVAL);
  CHECK_EQ(error.detail, "gwlbt0 mtu 8501");
  config = config_in(netns, "gwlbt0");
  config.netns = "gwlb-no-such-netns";
  error = io::Tun::open(config, &tun);
  CHECK_EQ(error.number, ENOENT);
  CHECK_EQ(error.detail, "/run/netns/gwlb-no-such-netns");

  auto first = open_tun(config_in(netns, "gwlbt0"));
  const int before = open_descriptors();
  error = io::Tun::open(config_in(netns, "gwlbt0"), &tun);
  CHECK_EQ(error.number, EBUSY);
  CHECK_EQ(error.syscall, "ioctl(TUNSETIFF)");
  CHECK_EQ(error.detail, "gwlbt0");
  CHECK(tun == nullptr);
  CHECK_EQ(open_descriptors(), before);
}

TEST(a_device_with_several_queues_is_not_shared_but_a_prepared_one_is_taken) {
  PrivateNetns netns;
  if (!can_make(netns)) SKIP(kNoTun);
  auto first = open_tun(config_in(netns, "gwlbt0", 2));
  REQUIRE(first != nullptr);
  const int before = open_descriptors();
  std::unique_ptr<io::Tun> second;
  CHECK_EQ(io::Tun::open(config_in(netns, "gwlbt0", 2), &second).number, EBUSY);
  CHECK_EQ(open_descriptors(), before);
  // As `ip tuntap add` leaves it.
  REQUIRE(ioctl(first->queue(0).fd(), TUNSETPERSIST, 1) == 0);
  first.reset();
  CHECK(netns.run([] { CHECK_EQ(link_mtu("gwlbt0"), 8500); }));
  second = open_tun(config_in(netns, "gwlbt0", 2));
  REQUIRE(second != nullptr);
  CHECK_EQ(io::Tun::open(config_in(netns, "gwlbt0", 2), &first).number, EBUSY);
  CHECK_EQ(io::Tun::open(config_in(netns, "gwlbt0", 1), &first).number, EBUSY);
  // Also one that somebody holds but has set down.
  CHECK(netns.run([] { CHECK(set_link_down("gwlbt0")); }));
  CHECK_EQ(io::Tun::open(config_in(netns, "gwlbt0", 2), &first).number, EBUSY);
}

// A device as it was left by another number of workers, or by `ip tuntap add` without multi_queue.
void other_queues(uint32_t made, uint32_t taken, io::TunLifetime lifetime) {
  PrivateNetns netns;
  io::TunConfig config = config_in(netns, "gwlbt0", made);
  auto first = open_tun(config);
  REQUIRE(first != nullptr);
  if (lifetime == io::TunLifetime::as_found) {
    REQUIRE(ioctl(first->queue(0).fd(), TUNSETPERSIST, 1) == 0);
  } else {
    first.reset();
    config.lifetime = lifetime;
    first = open_tun(config);
  }
  first.reset();
  auto tun = open_tun(config_in(netns, "gwlbt0", taken));
  REQUIRE(tun != nullptr);
  CHECK_EQ(tun->queues(), taken);
  CHECK(tun->queue(0).readable());
  std::unique_ptr<PlainUdp> client;
  CHECK(netns.run([&] {
    CHECK(set_address("gwlbt0", 0x0a090001, 0xffffff00));
    client = std::make_unique<PlainUdp>(0x0a090001);
  }));
  auto batch = PacketBatch::create(64, base::kSlotStrideJumbo);
  uint32_t got = 0;
  for (int k = 0; k < 500 && got == 0; ++k, usleep(1000)) {
    // Until the kernel has seen the new carrier it drops what is sent.
    if (k % 10 == 0) REQUIRE(client->send(Bytes(40, 7), 0x0a090002, 4242));
    for (uint32_t q = 0; q < taken && got == 0; ++q) {
      if (!tun->queue(q).readable()) continue;
      io::OsError error;
      got = receive(tun->queue(q), *batch, 0, &error);
    }
  }
  REQUIRE(got == 1);
  // Every queue writes.
  turn_round(batch->packet(0));
  for (uint32_t q = 0; q < taken; ++q) {
    CHECK(send(tun->queue(q), *batch, 0));
    Bytes back;
    CHECK(client->receive(&back));
    CHECK(back == Bytes(40, 7));
  }
}

TEST(a_prepared_device_has_any_number_of_queues) {
  PrivateNetns netns;
  if (!can_make(netns)) SKIP(kNoTun);
  other_queues(1, 3, io::TunLifetime::as_found);
  other_queues(3, 1, io::TunLifetime::as_found);
  other_queues(1, 3, io::TunLifetime::persistent);
  other_queues(3, 1, io::TunLifetime::persistent);
}

TEST(a_persistent_device_stays_until_it_is_taken_away) {
  PrivateNetns netns;
  if (!can_make(netns)) SKIP(kNoTun);
  const auto there = [&] {
    bool found = false;
    netns.run([&] { found = link_mtu("gwlbt0") > 0; });
    return found;
  };
  io::TunConfig config = config_in(netns, "gwlbt0");
  config.lifetime = io::TunLifetime::persistent;
  auto tun = open_tun(config);
  CHECK_EQ(io::Tun::remove("gwlbt0", netns.path()).number, EBUSY);
  tun.reset();
  CHECK(there());
  tun = open_tun(config_in(netns, "gwlbt0"));
  tun.reset();
  CHECK(there());
  config.lifetime = io::TunLifetime::held;
  tun = open_tun(config);
  tun.reset();
  CHECK(!there());
  config.lifetime = io::TunLifetime::persistent;
  open_tun(config);
  CHECK(there());
  CHECK_EQ(io::sentence(io::Tun::remove("gwlbt0", netns.path())), "");
  CHECK(!there());
  CHECK_EQ(io::Tun::remove("gwlbt0", netns.path()).number, ENODEV);
  CHECK_EQ(io::Tun::remove("lo", netns.path()).number, EINVAL);
}

TEST(a_refused_persistent_device_is_not_left_behind) {
  PrivateNetns netns;
  if (!can_make(netns)) SKIP(kNoTun);
  io::TunConfig config = config_in(netns, "gwlbt0");
  config.lifetime = io::TunLifetime::persistent;
  config.mtu = 8501;
  std::unique_ptr<io::Tun> tun;
  CHECK_EQ(io::Tun::open(config, &tun).number, EINVAL);
  CHECK(netns.run([] { CHECK_EQ(link_mtu("gwlbt0"), -1); }));
}

TEST(a_device_tells_how_it_is) {
  PrivateNetns netns;
  if (!can_make(netns)) SKIP(kNoTun);
  auto tun = open_tun(config_in(netns, "gwlbt0", 2));
  REQUIRE(tun != nullptr);
  CHECK(tun->state() == io::LinkState::up);
  CHECK(netns.run([] { CHECK(set_link_down("gwlbt0")); }));
  CHECK(tun->state() == io::LinkState::down);
  CHECK_EQ(io::sentence(tun->set_up()), "");
  CHECK(tun->state() == io::LinkState::up);
  CHECK(netns.run([] { CHECK(delete_link("gwlbt0")); }));
  CHECK(tun->state() == io::LinkState::gone);
  CHECK(!tun->set_up().ok());
}

TEST(the_kernel_names_a_device_and_takes_it_away) {
  PrivateNetns netns;
  if (!can_make(netns)) SKIP(kNoTun);
  auto tun = open_tun(config_in(netns, "gw%d"));
  REQUIRE(tun != nullptr);
  CHECK_EQ(tun->name(), "gw0");
  CHECK(netns.run([] { CHECK_EQ(link_mtu("gw0"), 8500); }));
  tun.reset();
  CHECK(netns.run([] { CHECK_EQ(link_mtu("gw0"), -1); }));
}

TEST(a_deleted_device_is_a_lasting_error) {
  PrivateNetns netns;
  if (!can_make(netns)) SKIP(kNoTun);
  auto tun = open_tun(config_in(netns, "gwlbt0"));
  REQUIRE(tun != nullptr);
  CHECK(netns.run([] { CHECK(delete_link("gwlbt0")); }));
  auto batch = PacketBatch::create(2, base::kSlotStrideJumbo);
  io::OsError error;
  CHECK_EQ(receive(tun->queue(0), *batch, 0, &error), 0u);
  CHECK_EQ(error.number, EBADFD);
  CHECK_EQ(error.syscall, "read");
  CHECK_EQ(error.detail, "gwlbt0");
  batch->reset(0, 20);
  CHECK(!send(tun->queue(0), *batch, 0));
}

}  // namespace
}  // namespace gwlb::test
