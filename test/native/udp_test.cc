#include "io/udp.h"

#include <linux/if_tun.h>
#include <time.h>

#include <map>
#include <set>

#include "test/native/io_rig.h"
#include "test/native/test.h"

namespace gwlb::test {
namespace {

using base::DropReason;
using batch::PacketBatch;
using batch::Verdict;

constexpr uint32_t kLocal = 0x7f000001;

io::UdpConfig config_on(uint32_t address, uint16_t sources, uint16_t base) {
  io::UdpConfig config;
  config.address = address;
  config.port = 0;
  config.source_port_base = base;
  config.source_port_count = sources;
  return config;
}

std::unique_ptr<io::UdpReceiver> receiver_on(const io::UdpConfig& config) {
  std::unique_ptr<io::UdpReceiver> receiver;
  const io::OsError error = io::UdpReceiver::open(config, &receiver);
  CHECK_EQ(io::sentence(error), "");
  return receiver;
}

std::unique_ptr<io::UdpSender> sender_on(const io::UdpConfig& config,
                                         const io::UdpReceiver* receiver = nullptr) {
  std::unique_ptr<io::UdpSender> sender;
  const io::OsError error = io::UdpSender::open(config, receiver, &sender);
  CHECK_EQ(io::sentence(error), "");
  return sender;
}

// Packet i: `bytes` long, the number in front.
void put(PacketBatch& batch, uint32_t i, uint32_t number, uint32_t bytes, uint16_t source,
         const PlainUdp& to) {
  batch.reset(i, bytes);
  std::memset(batch.packet(i), 0x55, bytes);
  std::memcpy(batch.packet(i), &number, sizeof number);
  batch.verdict[i] = static_cast<uint8_t>(Verdict::forward);
  batch.address[i] = to.address();
  batch.port[i] = to.port();
  batch.source_port[i] = source;
  batch.count = i + 1;
}

bool dropped(const PacketBatch& batch, uint32_t i, DropReason why) {
  return batch.verdict[i] == static_cast<uint8_t>(Verdict::drop) &&
         batch.reason[i] == static_cast<uint8_t>(why);
}

// Waits until something can be read.
uint32_t receive_some(io::UdpReceiver& receiver, PacketBatch& batch) {
  io::OsError error;
  for (int k = 0; k < 200; ++k) {
    const uint32_t n = receiver.receive(batch, &error);
    CHECK(error.ok());
    if (n != 0) return n;
    usleep(1000);
  }
  return 0;
}

TEST(a_batch_arrives_with_its_sources_and_tos) {
  auto receiver = receiver_on(config_on(kLocal, 0, 1));
  auto batch = PacketBatch::create(64, base::kSlotStrideStandard);
  PlainUdp peer(0x7f000005);
  const int tos = 0x2e << 2 | 3;
  setsockopt(peer.fd(), IPPROTO_IP, IP_TOS, &tos, sizeof tos);
  io::OsError error;
  CHECK_EQ(receiver->receive(*batch, &error), 0u);
  CHECK(error.ok());
  for (uint8_t k = 0; k < 5; ++k) peer.send(Bytes(10u + k, k), kLocal, receiver->port());
  REQUIRE(receive_some(*receiver, *batch) == 5);
  CHECK_EQ(batch->count, 5u);
  for (uint32_t k = 0; k < 5; ++k) {
    CHECK_EQ(batch->length[k], 10 + k);
    CHECK_EQ(batch->packet(k)[9], k);
    CHECK_EQ(batch->headroom(k), base::kHeadroom);
    CHECK_EQ(batch->address[k], 0x7f000005u);
    CHECK_EQ(batch->port[k], peer.port());
    CHECK_EQ(batch->tos[k] & 0xfc, tos & 0xfc);
    CHECK(batch->pending(k));
  }
  CHECK_EQ(receiver->drops(), 0u);
}

TEST(a_datagram_above_the_slot_is_a_drop_and_the_rest_arrives) {
  auto receiver = receiver_on(config_on(kLocal, 0, 1));
  auto batch = PacketBatch::create(64, base::kSlotStrideStandard);
  PlainUdp peer(kLocal);
  const uint32_t room = batch->slot_bytes();
  peer.send(Bytes(room, 1), kLocal, receiver->port());
  peer.send(Bytes(room + 1, 2), kLocal, receiver->port());
  peer.send(Bytes(8, 3), kLocal, receiver->port());
  REQUIRE(receive_some(*receiver, *batch) == 3);
  CHECK(batch->pending(0));
  CHECK_EQ(batch->length[0], room);
  CHECK(dropped(*batch, 1, DropReason::receive_truncated));
  CHECK(batch->pending(2));
  CHECK_EQ(batch->packet(2)[0], 3);
}

TEST(what_the_kernel_drops_is_known) {
  io::UdpConfig config = config_on(kLocal, 0, 1);
  config.receive_buffer_bytes = 16384;
  auto receiver = receiver_on(config);
  auto batch = PacketBatch::create(64, base::kSlotStrideStandard);
  PlainUdp peer(kLocal);
  constexpr uint32_t kSent = 300;
  for (uint32_t k = 0; k < kSent; ++k) peer.send(Bytes(1000, 1), kLocal, receiver->port());
  uint32_t got = 0;
  io::OsError error;
  while (const uint32_t n = receiver->receive(*batch, &error)) got += n;
  REQUIRE(got > 0 && got < kSent);
  CHECK_EQ(got + receiver->drops(), kSent);
  peer.send(Bytes(8, 1), kLocal, receiver->port());
  CHECK_EQ(receive_some(*receiver, *batch), 1u);
  CHECK_EQ(got + receiver->drops(), kSent);
}

TEST(an_address_in_use_is_named) {
  auto first = receiver_on(config_on(kLocal, 0, 1));
  io::UdpConfig config = config_on(kLocal, 0, 1);
  config.port = first->port();
  const int before = open_descriptors();
  std::unique_ptr<io::UdpReceiver> second;
  const io::OsError error = io::UdpReceiver::open(config, &second);
  CHECK(second == nullptr);
  CHECK_EQ(error.number, EADDRINUSE);
  CHECK_EQ(error.syscall, "bind");
  CHECK_EQ(error.detail, "127.0.0.1:" + std::to_string(first->port()));
  CHECK_EQ(open_descriptors(), before);

  config.address = 0xc0000201;  // 192.0.2.1, nobody's
  const io::OsError foreign = io::UdpReceiver::open(config, &second);
  CHECK_EQ(foreign.number, EADDRNOTAVAIL);
  CHECK_EQ(foreign.detail, "192.0.2.1:" + std::to_string(first->port()));
  CHECK_EQ(open_descriptors(), before);
}

TEST(sockets_share_a_port_only_after_the_first_agreed) {
  auto first = receiver_on(config_on(kLocal, 0, 1));
  io::UdpConfig config = config_on(kLocal, 0, 1);
  config.port = first->port();
  config.reuse_port = true;
  std::unique_ptr<io::UdpReceiver> second;
  CHECK_EQ(io::UdpReceiver::open(config, &second).number, EADDRINUSE);
  CHECK(first->share().ok());
  CHECK(io::UdpReceiver::open(config, &second).ok());
  // An outsider that shares nothing stays out.
  config.reuse_port = false;
  std::unique_ptr<io::UdpReceiver> third;
  CHECK_EQ(io::UdpReceiver::open(config, &third).number, EADDRINUSE);

  auto batch = PacketBatch::create(64, base::kSlotStrideStandard);
  uint32_t got[2] = {};
  for (int k = 0; k < 64; ++k) PlainUdp(kLocal).send(Bytes(8, 1), kLocal, first->port());
  io::OsError error;
  got[0] = first->receive(*batch, &error);
  got[1] = second->receive(*batch, &error);
  CHECK_EQ(got[0] + got[1], 64u);
  CHECK(got[0] > 0 && got[1] > 0);
}

TEST(packets_leave_by_their_sources_in_order) {
  auto sender = sender_on(config_on(0x7f000003, 8, 42100));
  REQUIRE(sender->sockets() == 8);
  PlainUdp peer(0x7f000004);
  auto batch = PacketBatch::create(256, base::kSlotStrideStandard);
  io::UdpSendScratch scratch;
  for (uint32_t round = 0; round < 3; ++round) {
    for (uint32_t i = 0; i < 256; ++i) {
      put(*batch, i, round * 256 + i, 60, static_cast<uint16_t>(i * i * 31), peer);
    }
    CHECK_EQ(send_all(*sender, *batch, scratch), 256u);
  }
  std::map<uint16_t, uint32_t> last;  // by source port
  for (uint32_t k = 0; k < 3 * 256; ++k) {
    Bytes bytes;
    sockaddr_in from;
    REQUIRE(peer.receive(&bytes, &from));
    uint32_t number;
    std::memcpy(&number, bytes.data(), sizeof number);
    const uint32_t i = number % 256;
    const auto source = static_cast<uint16_t>(i * i * 31);
    CHECK_EQ(ntohs(from.sin_port), 42100 + source % 8);
    CHECK_EQ(ntohl(from.sin_addr.s_addr), 0x7f000003u);
    const auto [entry, is_first] = last.try_emplace(ntohs(from.sin_port), number);
    CHECK(is_first || entry->second < number);
    entry->second = number;
  }
}

TEST(only_packets_of_the_list_leave) {
  auto sender = sender_on(config_on(0x7f000003, 4, 42110));
  PlainUdp peer(0x7f000004, 0, 200);
  auto batch = PacketBatch::create(8, base::kSlotStrideStandard);
  io::UdpSendScratch scratch;
  for (uint32_t i = 0; i < 8; ++i) put(*batch, i, i, 20, static_cast<uint16_t>(i), peer);
  const uint16_t packets[] = {0, 1, 2, 7};
  CHECK_EQ(sender->send(*batch, packets, 4, scratch), 4u);
  std::set<uint32_t> numbers;
  Bytes bytes;
  while (peer.receive(&bytes)) {
    uint32_t number;
    std::memcpy(&number, bytes.data(), sizeof number);
    numbers.insert(number);
  }
  CHECK(numbers == (std::set<uint32_t>{0, 1, 2, 7}));
}

TEST(taken_ports_are_left_out) {
  PlainUdp taken(0x7f000003, 42121);
  REQUIRE(taken.bound());
  auto sender = sender_on(config_on(0x7f000003, 4, 42120));
  REQUIRE(sender->sockets() == 3);
  CHECK_EQ(sender->source_port(0), 42120);
  CHECK_EQ(sender->source_port(1), 42122);

  const int before = open_descriptors();
  std::unique_ptr<io::UdpSender> none;
  const io::OsError error = io::UdpSender::open(config_on(0x7f000003, 1, 42121), nullptr, &none);
  CHECK_EQ(error.number, EADDRINUSE);
  CHECK_EQ(error.detail, "127.0.0.3:42121");
  const io::OsError range = io::UdpSender::open(config_on(0x7f000003, 256, 65500), nullptr, &none);
  CHECK_EQ(range.number, EINVAL);
  CHECK_EQ(range.detail, "source ports 65500 and 256 in all");
  CHECK_EQ(open_descriptors(), before);
}

TEST(without_a_set_everything_leaves_by_the_receiving_socket) {
  io::UdpConfig config = config_on(0x7f000003, 4, 42130);
  auto receiver = receiver_on(config);
  PlainUdp peer(0x7f000004);
  auto batch = PacketBatch::create(8, base::kSlotStrideStandard);
  io::UdpSendScratch scratch;
  config.source_port_count = 0;
  auto plain = sender_on(config, receiver.get());
  CHECK_EQ(plain->sockets(), 1);
  CHECK_EQ(plain->source_port(0), receiver->port());
  put(*batch, 0, 0, 20, 777, peer);
  CHECK_EQ(send_all(*plain, *batch, scratch), 1u);
  Bytes bytes;
  sockaddr_in from;
  REQUIRE(peer.receive(&bytes, &from));
  CHECK_EQ(ntohs(from.sin_port), receiver->port());
}

TEST(a_refused_packet_is_a_drop_and_the_rest_goes) {
  auto sender = sender_on(config_on(0x7f000003, 1, 42140));
  PlainUdp peer(0x7f000004);
  auto batch = PacketBatch::create(8, base::kSlotStrideStandard);
  io::UdpSendScratch scratch;
  for (uint32_t i = 0; i < 5; ++i) put(*batch, i, i, 20, 0, peer);
  batch->address[1] = 0xffffffff;  // broadcast without leave: EACCES
  batch->port[3] = 0;              // EINVAL
  CHECK_EQ(send_all(*sender, *batch, scratch), 3u);
  CHECK(dropped(*batch, 1, DropReason::send_failed));
  CHECK(dropped(*batch, 3, DropReason::send_failed));
  for (const uint32_t expected : {0u, 2u, 4u}) {
    Bytes bytes;
    REQUIRE(peer.receive(&bytes));
    CHECK_EQ(bytes[0], expected);
  }
}

TEST(a_datagram_above_the_mtu_is_fragmented_unless_forbidden) {
  io::UdpConfig config = config_on(kLocal, 1, 42150);
  PrivateNetns netns;
  if (!netns.made()) SKIP("no network namespace can be made here");
  config.netns = netns.path();
  CHECK(netns.run([] {
    CHECK(set_link_up("lo"));
    const int fd = socket(AF_INET, SOCK_DGRAM, 0);
    ifreq request{};
    std::strcpy(request.ifr_name, "lo");
    request.ifr_mtu = 1500;
    CHECK(ioctl(fd, SIOCSIFMTU, &request) == 0);
    close(fd);
  }));
  auto receiver = receiver_on(config);
  auto in = PacketBatch::create(8, base::kSlotStrideJumbo);
  auto out = PacketBatch::create(8, base::kSlotStrideJumbo);
  io::UdpSendScratch scratch;
  for (const bool forbidden : {false, true}) {
    config.dont_fragment = forbidden;
    auto sender = sender_on(config);
    for (uint32_t i = 0; i < 2; ++i) {
      out->reset(i, i == 0 ? 8500 : 100);
      out->verdict[i] = static_cast<uint8_t>(Verdict::forward);
      out->address[i] = kLocal;
      out->port[i] = receiver->port();
    }
    out->count = 2;
    CHECK_EQ(send_all(*sender, *out, scratch), forbidden ? 1u : 2u);
    CHECK_EQ(dropped(*out, 0, DropReason::send_failed), forbidden);
    uint32_t got = 0;
    while (got < (forbidden ? 1u : 2u)) {
      const uint32_t n = receive_some(*receiver, *in);
      REQUIRE(n != 0);
      got += n;
    }
  }
}

TEST(a_full_send_buffer_is_waited_for_once_and_then_counted) {
  // A TAP device whose other end answers no ARP: packets wait for it, charged to their sender.
  PrivateNetns netns;
  if (!netns.made()) SKIP("no network namespace can be made here");
  int tap = -1;
  CHECK(netns.run([&] {
    tap = open("/dev/net/tun", O_RDWR | O_CLOEXEC | O_NONBLOCK);
    ifreq request{};
    std::strcpy(request.ifr_name, "tap0");
    request.ifr_flags = IFF_TAP | IFF_NO_PI;
    if (tap < 0 || ioctl(tap, TUNSETIFF, &request) != 0) return;
    CHECK(set_link_up("tap0"));
    CHECK(set_address("tap0", 0x0a090901, 0xffffff00));
  }));
  if (tap < 0) SKIP("no TAP device can be made here");
  io::UdpConfig config = config_on(0x0a090901, 1, 42160);
  config.netns = netns.path();
  config.send_buffer_bytes = 4608;
  auto sender = sender_on(config);
  auto batch = PacketBatch::create(64, base::kSlotStrideStandard);
  io::UdpSendScratch scratch;
  PlainUdp port(kLocal);
  for (uint32_t i = 0; i < 64; ++i) {
    put(*batch, i, i, 1000, 0, port);
    batch->address[i] = 0x0a090902;
  }
  timespec before;
  timespec after;
  clock_gettime(CLOCK_MONOTONIC, &before);
  const uint32_t sent = send_all(*sender, *batch, scratch);
  clock_gettime(CLOCK_MONOTONIC, &after);
  const int64_t took_us =
      (after.tv_sec - before.tv_sec) * 1'000'000 + (after.tv_nsec - before.tv_nsec) / 1000;
  CHECK(sent > 0 && sent < 64);
  for (uint32_t i = 0; i < 64; ++i) {
    CHECK_EQ(dropped(*batch, i, DropReason::send_would_block), i >= sent);
  }
  CHECK(took_us >= 2000 && took_us < 1'000'000);
  close(tap);
}

TEST(what_is_sent_to_a_sending_socket_takes_no_memory_and_does_no_harm) {
  auto sender = sender_on(config_on(0x7f000003, 1, 42170));
  PlainUdp peer(0x7f000004);
  for (int k = 0; k < 1000; ++k) peer.send(Bytes(1000, 1), 0x7f000003, 42170);
  auto batch = PacketBatch::create(8, base::kSlotStrideStandard);
  io::UdpSendScratch scratch;
  put(*batch, 0, 77, 20, 0, peer);
  CHECK_EQ(send_all(*sender, *batch, scratch), 1u);
  Bytes bytes;
  REQUIRE(peer.receive(&bytes));
  CHECK_EQ(bytes[0], 77);
}

TEST(a_port_unreachable_does_not_stop_the_receiver) {
  // With its own socket for sending, what the network says lands on the receiving socket.
  io::UdpConfig config = config_on(kLocal, 0, 1);
  auto receiver = receiver_on(config);
  auto sender = sender_on(config, receiver.get());
  const int yes = 1;  // otherwise an unconnected socket is not told
  setsockopt(receiver->fd(), IPPROTO_IP, IP_RECVERR, &yes, sizeof yes);
  uint16_t closed_port;
  {
    PlainUdp gone(kLocal);
    closed_port = gone.port();
  }
  PlainUdp peer(kLocal);
  auto batch = PacketBatch::create(8, base::kSlotStrideStandard);
  io::UdpSendScratch scratch;
  for (uint32_t i = 0; i < 4; ++i) put(*batch, i, i, 20, 0, peer);
  batch->port[0] = batch->port[2] = closed_port;
  // The errors of packets 0 and 2 hit the packets behind them, which are sent again.
  CHECK_EQ(send_all(*sender, *batch, scratch), 4u);
  put(*batch, 0, 9, 20, 0, peer);
  batch->port[0] = closed_port;
  CHECK_EQ(send_all(*sender, *batch, scratch), 1u);
  peer.send(Bytes(5, 1), kLocal, receiver->port());
  CHECK_EQ(receive_some(*receiver, *batch), 1u);
  CHECK_EQ(batch->length[0], 5u);
}

TEST(sockets_open_in_a_namespace) {
  PrivateNetns netns;
  if (!netns.made()) SKIP("no network namespace can be made here");
  CHECK(netns.run([] { CHECK(set_link_up("lo")); }));
  io::UdpConfig config = config_on(kLocal, 2, 42180);
  config.netns = netns.path();
  auto receiver = receiver_on(config);
  auto sender = sender_on(config);
  PlainUdp outside(kLocal, 0, 100);
  auto batch = PacketBatch::create(8, base::kSlotStrideStandard);
  io::UdpSendScratch scratch;
  put(*batch, 0, 1, 20, 0, outside);  // not reachable from there
  put(*batch, 1, 2, 20, 1, outside);
  batch->port[1] = receiver->port();
  CHECK_EQ(send_all(*sender, *batch, scratch), 2u);
  REQUIRE(receive_some(*receiver, *batch) == 1);
  CHECK_EQ(batch->packet(0)[0], 2);
  Bytes bytes;
  CHECK(!outside.receive(&bytes));
}

}  // namespace
}  // namespace gwlb::test
