// What came from any port goes back from that port, and from the address that was asked.
#include "io/udp_returner.h"

#include <sys/resource.h>

#include <algorithm>
#include <random>
#include <vector>

#include "test/native/io_rig.h"
#include "test/native/test.h"

namespace gwlb::test {
namespace {

using batch::PacketBatch;
using batch::Verdict;

constexpr uint32_t kHere = 0x7f001e01;     // 127.0.30.1
constexpr uint32_t kHere2 = 0x7f001e02;    // 127.0.30.2
constexpr uint32_t kGateway = 0x7f001e05;  // 127.0.30.5
constexpr uint8_t kAll6[16] = {};
constexpr uint8_t kLoopback6[16] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1};

// Returns every datagram to one port of its sender, as an appliance does.
struct Echo {
  std::unique_ptr<io::UdpReceiver> receiver;
  std::unique_ptr<io::UdpReturner> returner;
  std::unique_ptr<PacketBatch> batch = PacketBatch::create(64, base::kSlotStrideTrain);
  std::unique_ptr<io::UdpSendScratch> scratch;
  uint32_t other_port = 0;
  uint32_t sent = 0;

  explicit Echo(io::UdpConfig config, uint32_t sockets_max = 64) {
    config.port = 0;
    config.offload = true;
    CHECK_EQ(io::sentence(io::UdpReceiver::open(config, &receiver)), "");
    if (config.keeps_paths()) batch->keep_paths();
    CHECK(io::UdpReturner::open(config, *receiver, sockets_max, &returner).ok());
    scratch = std::make_unique<io::UdpSendScratch>(returner->sockets_max());
  }

  // Until so many have been received.
  void turn(uint32_t datagrams, uint16_t to_port) {
    io::OsError error;
    for (int tries = 0; tries < 1000 && datagrams > 0; ++tries) {
      const uint32_t n = receiver->receive(*batch, &error);
      CHECK(error.ok());
      for (uint32_t i = 0; i < n; ++i) {
        batch->verdict[i] = static_cast<uint8_t>(Verdict::forward);
        batch->source_port[i] = batch->port[i];
        batch->port[i] = to_port;
      }
      uint32_t other = 0;
      sent += send_all(*returner, *batch, *scratch, &other);
      other_port += other;
      datagrams -= std::min(n, datagrams);
      if (n == 0) usleep(1000);
    }
    CHECK_EQ(datagrams, 0u);
  }
};

io::UdpConfig on(uint32_t address) {
  io::UdpConfig config;
  config.address = address;
  return config;
}

io::UdpConfig on6(const uint8_t (&address)[16]) {
  io::UdpConfig config;
  config.ipv6 = true;
  std::copy(address, address + 16, config.address6);
  return config;
}

// Free ports all over the range, in no order.
std::vector<uint16_t> any_ports(size_t n, uint32_t seed) {
  std::mt19937 random(seed);
  std::vector<uint16_t> ports;
  while (ports.size() < n) {
    const auto port = static_cast<uint16_t>(1024 + random() % (65536 - 1024));
    if (std::find(ports.begin(), ports.end(), port) != ports.end()) continue;
    // Other programs have some of this machine's.
    if (PlainUdp(kGateway, port).bound() && PlainUdp(kHere, port).bound()) ports.push_back(port);
  }
  return ports;
}

// Sends one datagram from each port to `to`, and holds what comes back against it.
void check_ports(Echo& echo, const std::vector<uint16_t>& ports, uint32_t to, PlainUdp& back) {
  for (const uint16_t port : ports) {
    PlainUdp from(kGateway, port);
    REQUIRE(from.bound());
    CHECK(from.send(Bytes{static_cast<uint8_t>(port >> 8), static_cast<uint8_t>(port)}, to,
                    echo.receiver->port()));
  }
  echo.turn(static_cast<uint32_t>(ports.size()), back.port());
  for (size_t n = 0; n < ports.size(); ++n) {
    Bytes bytes;
    sockaddr_in from;
    REQUIRE(back.receive(&bytes, &from));
    CHECK_EQ(ntohs(from.sin_port), bytes[0] << 8 | bytes[1]);
    CHECK_EQ(ntohl(from.sin_addr.s_addr), to);
  }
}

TEST(sixty_four_flows_from_any_ports_come_back_from_them) {
  Echo echo(on(kHere));
  PlainUdp back(kGateway);
  for (uint32_t seed = 1; seed <= 3; ++seed) check_ports(echo, any_ports(64, seed), kHere, back);
  CHECK_EQ(echo.other_port, 0u);
  CHECK_EQ(echo.returner->sockets(), 64u);
}

TEST(sockets_are_bounded_and_the_oldest_gives_way) {
  const int before = open_descriptors();
  {
    Echo echo(on(kHere), 4);
    PlainUdp back(kGateway);
    const std::vector<uint16_t> ports = any_ports(12, 9);
    for (int round = 0; round < 2; ++round) {
      for (const uint16_t port : ports) check_ports(echo, {port}, kHere, back);
    }
    CHECK_EQ(echo.returner->sockets(), 4u);
    CHECK_EQ(echo.other_port, 0u);
    // The one in use stays: a port that nobody can take away from it is bound here.
    check_ports(echo, {ports[0]}, kHere, back);
    PlainUdp taken(kHere, ports[0]);
    CHECK(!taken.bound());
    for (size_t n = 1; n < 8; ++n) {
      check_ports(echo, {ports[n]}, kHere, back);
      check_ports(echo, {ports[0]}, kHere, back);
    }
    CHECK_EQ(echo.other_port, 0u);
    // More at once than there may be: the rest goes from the receiving port, and is counted.
    for (size_t n = 0; n < 6; ++n) {
      PlainUdp from(kGateway, ports[n]);
      CHECK(from.send(Bytes{1}, kHere, echo.receiver->port()));
    }
    usleep(1000);
    echo.turn(6, back.port());
    CHECK_EQ(echo.sent, 24u + 1 + 14 + 6);
    CHECK_EQ(echo.other_port, 2u);
  }
  CHECK_EQ(open_descriptors(), before);
}

TEST(a_port_that_is_taken_is_counted_and_tried_again) {
  Echo echo(on(kHere));
  PlainUdp back(kGateway);
  const uint16_t port = any_ports(1, 17)[0];
  Bytes bytes;
  sockaddr_in answer;
  {
    PlainUdp taken(kHere, port);
    REQUIRE(taken.bound());
    PlainUdp from(kGateway, port);
    for (uint32_t n = 1; n <= 3; ++n) {
      CHECK(from.send(Bytes{1}, kHere, echo.receiver->port()));
      echo.turn(1, back.port());
      REQUIRE(back.receive(&bytes, &answer));
      CHECK_EQ(ntohs(answer.sin_port), echo.receiver->port());
      CHECK_EQ(echo.other_port, n);
    }
  }
  CHECK_EQ(echo.returner->sockets(), 0u);
  usleep((io::UdpReturner::kRetryMs + 50) * 1000);
  check_ports(echo, {port}, kHere, back);
  CHECK_EQ(echo.other_port, 3u);
}

TEST(the_receiving_port_is_its_own_and_none_is_nobodys) {
  Echo echo(on(kHere));
  PlainUdp back(kGateway);
  check_ports(echo, {echo.receiver->port()}, kHere, back);
  CHECK_EQ(echo.other_port, 0u);
  // RFC 768: a source port of zero means none.
  PlainUdp from(kGateway);
  CHECK(from.send(Bytes{1}, kHere, echo.receiver->port()));
  io::OsError error;
  for (int tries = 0; tries < 1000 && echo.receiver->receive(*echo.batch, &error) == 0; ++tries) {
    usleep(1000);
  }
  REQUIRE(echo.batch->count == 1);
  echo.batch->verdict[0] = static_cast<uint8_t>(Verdict::forward);
  echo.batch->source_port[0] = 0;
  echo.batch->port[0] = back.port();
  uint32_t other = 0;
  CHECK_EQ(send_all(*echo.returner, *echo.batch, *echo.scratch, &other), 1u);
  CHECK_EQ(other, 1u);
  CHECK_EQ(echo.returner->sockets(), 0u);
}

TEST(every_address_answers_as_itself) {
  Echo echo(on(0));
  PlainUdp back(kGateway);
  const std::vector<uint16_t> ports = any_ports(20, 23);
  check_ports(echo, ports, kHere, back);
  check_ports(echo, ports, kHere2, back);
  CHECK_EQ(echo.returner->sockets(), 40u);
  // Also by the receiving socket, which has no address of its own.
  PlainUdp taken(kHere2, 20'001);
  PlainUdp from(kGateway, 20'001);
  REQUIRE(taken.bound() && from.bound());
  CHECK(from.send(Bytes{1}, kHere2, echo.receiver->port()));
  echo.turn(1, back.port());
  Bytes bytes;
  sockaddr_in answer;
  REQUIRE(back.receive(&bytes, &answer));
  CHECK_EQ(ntohl(answer.sin_addr.s_addr), kHere2);
  CHECK_EQ(ntohs(answer.sin_port), echo.receiver->port());
  CHECK_EQ(echo.other_port, 1u);
}

int udp6(uint16_t* port) {
  const int fd = socket(AF_INET6, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  const timeval timeout{kPatienceMs / 1000, 0};
  setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof timeout);
  sockaddr_in6 local{};
  local.sin6_family = AF_INET6;
  std::memcpy(&local.sin6_addr, kLoopback6, sizeof kLoopback6);
  local.sin6_port = htons(*port);
  socklen_t bytes = sizeof local;
  if (bind(fd, reinterpret_cast<sockaddr*>(&local), bytes) != 0) return -1;
  getsockname(fd, reinterpret_cast<sockaddr*>(&local), &bytes);
  *port = ntohs(local.sin6_port);
  return fd;
}

// From this port of ::1 to ::1 and back, from `expected`: the same one as far as it is free by
// then.
void check_port6(Echo& echo, uint16_t port, bool is_free, uint16_t expected) {
  uint16_t back_port = 0;
  const int back = udp6(&back_port);
  const int from = udp6(&port);
  REQUIRE(back >= 0 && from >= 0);
  sockaddr_in6 to{};
  to.sin6_family = AF_INET6;
  to.sin6_port = htons(echo.receiver->port());
  std::memcpy(&to.sin6_addr, kLoopback6, sizeof kLoopback6);
  CHECK_EQ(sendto(from, "x", 1, 0, reinterpret_cast<sockaddr*>(&to), sizeof to), 1);
  if (is_free) close(from);
  echo.turn(1, back_port);
  CHECK_EQ(echo.batch->address[0], 0u);
  sockaddr_in6 answer{};
  socklen_t bytes = sizeof answer;
  uint8_t byte;
  CHECK_EQ(recvfrom(back, &byte, 1, 0, reinterpret_cast<sockaddr*>(&answer), &bytes), 1);
  CHECK_EQ(ntohs(answer.sin6_port), expected);
  CHECK_EQ(std::memcmp(&answer.sin6_addr, kLoopback6, sizeof kLoopback6), 0);
  if (!is_free) close(from);
  close(back);
}

TEST(both_families_by_one_socket) {
  Echo echo(on6(kAll6));
  PlainUdp back(kGateway);
  const std::vector<uint16_t> ports = any_ports(8, 31);
  check_ports(echo, ports, kHere, back);
  check_ports(echo, ports, kHere2, back);
  for (const uint16_t port : ports) check_port6(echo, port, true, port);
  CHECK_EQ(echo.other_port, 0u);
  // By the receiving socket.
  check_port6(echo, 20'003, false, echo.receiver->port());
  PlainUdp taken(kHere, 20'002);
  PlainUdp from(kGateway, 20'002);
  CHECK(from.send(Bytes{1}, kHere, echo.receiver->port()));
  echo.turn(1, back.port());
  Bytes bytes;
  sockaddr_in answer;
  REQUIRE(back.receive(&bytes, &answer));
  CHECK_EQ(ntohl(answer.sin_addr.s_addr), kHere);
  CHECK_EQ(echo.other_port, 2u);
}

TEST(an_ipv6_address_of_its_own) {
  Echo echo(on6(kLoopback6));
  check_port6(echo, 20'004, true, 20'004);
}

TEST(trains_come_back_as_they_came_from_one_address_of_many) {
  Echo echo(on(0));
  PlainUdp back(kGateway);
  PlainUdp from(kGateway);
  constexpr uint32_t kDatagrams = 30;
  for (uint32_t n = 0; n < kDatagrams; ++n) {
    Bytes bytes(100, static_cast<uint8_t>(n));
    CHECK(from.send(bytes, n % 2 == 0 ? kHere : kHere2, echo.receiver->port()));
  }
  echo.turn(kDatagrams, back.port());
  uint8_t next[2] = {0, 1};
  for (uint32_t n = 0; n < kDatagrams; ++n) {
    Bytes bytes;
    sockaddr_in answer;
    REQUIRE(back.receive(&bytes, &answer));
    uint8_t& expected = next[bytes[0] % 2];
    CHECK_EQ(bytes[0], expected);
    CHECK(bytes == Bytes(100, expected));
    CHECK_EQ(ntohl(answer.sin_addr.s_addr), expected % 2 == 0 ? kHere : kHere2);
    CHECK_EQ(ntohs(answer.sin_port), from.port());
    expected = static_cast<uint8_t>(expected + 2);
  }
}

TEST(congestion_marks_are_received_of_both_families) {
  Echo echo(on6(kAll6));
  uint16_t port = 0;
  const int from = udp6(&port);
  const int mark = 3;
  CHECK_EQ(setsockopt(from, IPPROTO_IPV6, IPV6_TCLASS, &mark, sizeof mark), 0);
  sockaddr_in6 to{};
  to.sin6_family = AF_INET6;
  to.sin6_port = htons(echo.receiver->port());
  std::memcpy(&to.sin6_addr, kLoopback6, sizeof kLoopback6);
  CHECK_EQ(sendto(from, "x", 1, 0, reinterpret_cast<sockaddr*>(&to), sizeof to), 1);
  echo.turn(1, port);
  CHECK_EQ(echo.batch->tos[0], 3);
  close(from);
  PlainUdp from4(kGateway);
  CHECK_EQ(setsockopt(from4.fd(), IPPROTO_IP, IP_TOS, &mark, sizeof mark), 0);
  CHECK(from4.send(Bytes{1}, kHere, echo.receiver->port()));
  echo.turn(1, port);
  CHECK_EQ(echo.batch->tos[0], 3);
}

}  // namespace
}  // namespace gwlb::test
