// Targets whose daemon is gone: what ICMP port unreachable does to sending, and who hears of it. On
// the loopback the error is there before the next packet is sent.
#include <set>

#include "engine/gateway_engine.h"
#include "test/native/engine_rig.h"

namespace gwlb::test {
namespace {

using batch::PacketBatch;
using batch::Verdict;

constexpr uint32_t kOwn = 0x7f000203;
constexpr uint32_t kDead = 0x7f000204;

std::unique_ptr<io::UdpSender> sender_with(uint16_t sources, uint16_t base) {
  io::UdpConfig config;
  config.address = kOwn;
  config.source_port_base = base;
  config.source_port_count = sources;
  std::unique_ptr<io::UdpSender> sender;
  const io::OsError error = io::UdpSender::open(config, nullptr, &sender);
  CHECK_EQ(io::sentence(error), "");
  return sender;
}

uint16_t closed_port(uint32_t address) {
  const PlainUdp gone(address);
  return gone.port();
}

void put(PacketBatch& batch, uint32_t i, uint16_t source, uint32_t address, uint16_t port) {
  batch.reset(i, 20);
  std::memset(batch.packet(i), static_cast<int>(i), 20);
  batch.verdict[i] = static_cast<uint8_t>(Verdict::forward);
  batch.address[i] = address;
  batch.port[i] = port;
  batch.source_port[i] = source;
  batch.count = i + 1;
}

TEST(errors_of_dead_targets_cost_nobody_a_packet) {
  const auto sender = sender_with(4, 42300);
  auto batch = PacketBatch::create(64, base::kSlotStrideStandard);
  io::UdpSendScratch scratch;
  PlainUdp alive(0x7f000205);
  const uint16_t dead = closed_port(kDead);
  uint32_t to_alive = 0;
  for (int round = 0; round < 20; ++round) {
    for (uint32_t i = 0; i < 64; ++i) {
      const bool is_alive = i % 3 == 0;
      to_alive += is_alive;
      put(*batch, i, static_cast<uint16_t>(i % 4), is_alive ? alive.address() : kDead,
          is_alive ? alive.port() : dead);
    }
    CHECK_EQ(send_all(*sender, *batch, scratch), 64u);
    for (uint32_t i = 0; i < 64; ++i) {
      CHECK(batch->verdict[i] == static_cast<uint8_t>(Verdict::forward));
    }
  }
  for (uint32_t k = 0; k < to_alive; ++k) {
    Bytes bytes;
    REQUIRE(alive.receive(&bytes));
  }
  Bytes more;
  const timeval soon{0, 50'000};
  setsockopt(alive.fd(), SOL_SOCKET, SO_RCVTIMEO, &soon, sizeof soon);
  CHECK(!alive.receive(&more));  // nothing went twice either
}

TEST(who_is_unreachable_is_told_once_each) {
  const auto sender = sender_with(4, 42310);
  auto batch = PacketBatch::create(64, base::kSlotStrideStandard);
  io::UdpSendScratch scratch;
  io::UdpPeer peers[8];
  CHECK_EQ(sender->drain_unreachable(peers, 8), 0u);
  PlainUdp alive(0x7f000205);
  const uint16_t dead = closed_port(kDead);
  for (uint32_t i = 0; i < 12; ++i) {
    const uint16_t port = i % 3 == 0 ? alive.port() : dead;
    put(*batch, i, static_cast<uint16_t>(i % 4), i % 3 == 0 ? alive.address() : kDead + i % 3,
        port);
  }
  CHECK_EQ(send_all(*sender, *batch, scratch), 12u);
  std::set<uint32_t> told;
  const uint32_t n = sender->drain_unreachable(peers, 8);
  for (uint32_t k = 0; k < n; ++k) {
    CHECK_EQ(peers[k].port, dead);
    told.insert(peers[k].address);
  }
  CHECK_EQ(n, 2u);
  CHECK(told == (std::set<uint32_t>{kDead + 1, kDead + 2}));
  CHECK_EQ(sender->drain_unreachable(peers, 8), 0u);
}

TEST(more_than_asked_for_waits) {
  const auto sender = sender_with(1, 42320);
  auto batch = PacketBatch::create(64, base::kSlotStrideStandard);
  io::UdpSendScratch scratch;
  const uint16_t dead = closed_port(kDead);
  for (uint32_t i = 0; i < 5; ++i) put(*batch, i, 0, kDead + i, dead);
  CHECK_EQ(send_all(*sender, *batch, scratch), 5u);
  io::UdpPeer peers[8];
  std::set<uint32_t> told;
  for (int k = 0; k < 3; ++k) {
    const uint32_t n = sender->drain_unreachable(peers, 2);
    CHECK(n == (k < 2 ? 2u : 1u));
    for (uint32_t j = 0; j < n; ++j) told.insert(peers[j].address);
  }
  CHECK_EQ(told.size(), 5u);
}

TEST(errors_that_nobody_asks_for_take_bounded_memory) {
  const auto sender = sender_with(1, 42330);
  auto batch = PacketBatch::create(64, base::kSlotStrideStandard);
  io::UdpSendScratch scratch;
  const uint16_t dead = closed_port(kDead);
  for (int round = 0; round < 50; ++round) {
    for (uint32_t i = 0; i < 64; ++i) put(*batch, i, 0, kDead, dead);
    CHECK_EQ(send_all(*sender, *batch, scratch), 64u);
  }
  io::UdpPeer peers[8];
  int calls = 0;
  while (sender->drain_unreachable(peers, 8) != 0) ++calls;
  CHECK(calls > 0 && calls < 100);
}

TEST(an_engine_sends_datagrams_and_hears_of_dead_targets) {
  auto engine = started(config_for(2));
  REQUIRE(engine != nullptr);
  PlainUdp target(kTarget);
  const Bytes bytes = {1, 2, 3};
  CHECK(engine->send_datagram(kTarget, target.port(), 5, bytes.data(), 3));
  Bytes received;
  sockaddr_in from{};
  REQUIRE(target.receive(&received, &from));
  CHECK(received == bytes);
  CHECK_EQ(ntohl(from.sin_addr.s_addr), kGateway);
  CHECK_EQ(ntohs(from.sin_port), 43005u);
  const Bytes most(engine::GatewayEngine::kDatagramBytesMax + 1);
  const auto most_bytes = static_cast<uint32_t>(most.size());
  CHECK(!engine->send_datagram(kTarget, target.port(), 0, most.data(), most_bytes));
  CHECK(engine->send_datagram(kTarget, target.port(), 0, most.data(), most_bytes - 1));

  io::UdpPeer peers[4];
  CHECK_EQ(engine->drain_unreachable(peers, 4), 0u);
  const uint16_t dead = closed_port(kDead);
  CHECK(engine->send_datagram(kDead, dead, 1, bytes.data(), 3));
  CHECK_EQ(engine->drain_unreachable(peers, 4), 1u);
  CHECK(peers[0].address == kDead && peers[0].port == dead);
  CHECK(engine->send_datagram(kDead, dead, 1, bytes.data(), 3));
  engine->stop();
  CHECK_EQ(engine->drain_unreachable(peers, 4), 0u);
  CHECK(!engine->send_datagram(kTarget, target.port(), 0, bytes.data(), 3));
}

}  // namespace
}  // namespace gwlb::test
