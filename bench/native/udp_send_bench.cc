// How should flows get different outer source ports: a set of bound sockets, or one raw socket that
// writes the UDP header itself? Batches of 64 packets, of 64 different flows (the worst case:
// nearly every packet has a socket of its own) or of 8 flows with 8 packets each, sent to a socket
// on 127.0.0.x that is drained between rounds, outside the timing.
//
// CPU time is the kernel's too, and on loopback also that of the delivery. The raw socket needs
// CAP_NET_RAW.
#include <netinet/in.h>
#include <netinet/ip.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <vector>

#include "base/bytes.h"
#include "batch/packet_batch.h"
#include "bench/native/bench.h"
#include "io/udp_returner.h"

namespace {

using gwlb::base::store_be16;
using gwlb::base::store_be32;
using gwlb::batch::PacketBatch;
using gwlb::batch::Verdict;

constexpr uint32_t kSource = 0x7f000203;
constexpr uint32_t kSink = 0x7f000204;
constexpr uint32_t kPackets = 64;
constexpr uint32_t kBatchesPerRound = 40;
constexpr uint32_t kRounds = 61;
constexpr uint16_t kPortBase = 45000;

[[noreturn]] void fail(const char* what) {
  std::perror(what);
  std::exit(1);
}

uint16_t every_packet[kPackets];

struct Sink {
  int fd;
  uint16_t port;
  uint64_t drained = 0;

  Sink() {
    fd = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK, 0);
    const int room = 8 << 20;
    setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &room, sizeof room);
    sockaddr_in local{};
    local.sin_family = AF_INET;
    local.sin_addr.s_addr = htonl(kSink);
    socklen_t size = sizeof local;
    if (bind(fd, reinterpret_cast<sockaddr*>(&local), size) != 0) fail("bind");
    getsockname(fd, reinterpret_cast<sockaddr*>(&local), &size);
    port = ntohs(local.sin_port);
  }
  void drain() {
    char bytes[16];
    while (recv(fd, bytes, sizeof bytes, MSG_TRUNC) >= 0) ++drained;
  }
};

// As the gateway leaves a batch: every flow with its own flow-stable source number.
void fill(PacketBatch& batch, uint32_t bytes, uint32_t flows, uint16_t port, uint32_t round) {
  batch.count = kPackets;
  for (uint32_t i = 0; i < kPackets; ++i) {
    batch.reset(i, bytes);
    batch.verdict[i] = static_cast<uint8_t>(Verdict::forward);
    batch.address[i] = kSink;
    batch.port[i] = port;
    batch.source_port[i] = static_cast<uint16_t>((round * flows + i % flows) * 40503u);
  }
}

uint16_t udp_checksum(const uint8_t* udp, uint32_t length) {
  uint64_t sum = (kSource >> 16) + (kSource & 0xffff) + (kSink >> 16) + (kSink & 0xffff) +
                 IPPROTO_UDP + length;
  for (uint32_t i = 0; i + 1 < length; i += 2) sum += gwlb::base::load_be16(udp + i);
  if (length % 2 != 0) sum += static_cast<uint32_t>(udp[length - 1]) << 8;
  while (sum >> 16 != 0) sum = (sum & 0xffff) + (sum >> 16);
  return static_cast<uint16_t>(sum == 0xffff ? 0xffff : ~sum);
}

// One raw socket: IPv4 and UDP headers written into the headroom. IPPROTO_RAW means IP_HDRINCL.
struct Raw {
  int fd = socket(AF_INET, SOCK_RAW | SOCK_NONBLOCK, IPPROTO_RAW);
  mmsghdr headers[kPackets] = {};
  iovec vectors[kPackets];
  sockaddr_in to{};
  bool checksum;

  explicit Raw(bool with_checksum) : checksum(with_checksum) {
    const int room = 8 << 20;
    setsockopt(fd, SOL_SOCKET, SO_SNDBUFFORCE, &room, sizeof room);
    to.sin_family = AF_INET;
    to.sin_addr.s_addr = htonl(kSink);
  }
  uint32_t send(PacketBatch& batch) {
    for (uint32_t i = 0; i < batch.count; ++i) {
      const uint32_t payload = batch.length[i];
      uint8_t* ip = batch.packet(i) - 28;
      std::memset(ip, 0, 28);
      ip[0] = 0x45;
      store_be16(ip + 2, static_cast<uint16_t>(payload + 28));
      ip[8] = 255;
      ip[9] = IPPROTO_UDP;
      store_be32(ip + 12, kSource);
      store_be32(ip + 16, kSink);
      uint8_t* udp = ip + 20;
      store_be16(udp, static_cast<uint16_t>(kPortBase + batch.source_port[i] % 256));
      store_be16(udp + 2, batch.port[i]);
      store_be16(udp + 4, static_cast<uint16_t>(payload + 8));
      if (checksum) store_be16(udp + 6, udp_checksum(udp, payload + 8));
      vectors[i] = {ip, payload + 28};
      headers[i].msg_hdr.msg_name = &to;
      headers[i].msg_hdr.msg_namelen = sizeof to;
      headers[i].msg_hdr.msg_iov = &vectors[i];
      headers[i].msg_hdr.msg_iovlen = 1;
    }
    const int n = sendmmsg(fd, headers, batch.count, 0);
    return n < 0 ? 0 : static_cast<uint32_t>(n);
  }
};

using Send = std::function<uint32_t(PacketBatch&)>;

gwlb::bench::Contender contender(const char* name, Send send, PacketBatch& batch, Sink& sink,
                                 uint32_t bytes, uint32_t flows) {
  return {name,
          [&batch, send](uint32_t) -> uint64_t {
            uint64_t sent = 0;
            for (uint32_t k = 0; k < kBatchesPerRound; ++k) sent += send(batch);
            return sent;
          },
          [=, &batch, &sink](uint32_t round) {
            // A way that loses packets measures nothing.
            sink.drain();
            if (sink.drained % (kBatchesPerRound * kPackets) != 0) fail("packets were lost");
            fill(batch, bytes, flows, sink.port, round);
          }};
}

std::unique_ptr<gwlb::io::UdpSender> sockets(uint16_t base, uint16_t count) {
  gwlb::io::UdpConfig config;
  config.address = kSource;
  config.source_port_base = base;
  config.source_port_count = count;
  std::unique_ptr<gwlb::io::UdpSender> sender;
  const gwlb::io::OsError error = gwlb::io::UdpSender::open(config, nullptr, &sender);
  if (error.ok() && sender->sockets() == count) return sender;
  std::fprintf(stderr, "%s\n", error.ok() ? "ports are taken" : gwlb::io::sentence(error).c_str());
  std::exit(1);
}

// Packets that go back from the ports they came from: the same 64 all the time, or others each
// time.
void return_case(gwlb::bench::Suite& suite, PacketBatch& batch, Sink& sink) {
  const char* name = "udp return 64 ports, 104 B";
  if (!suite.wanted(name)) return;
  gwlb::io::UdpConfig config;
  config.address = kSource;
  config.port = 0;
  std::unique_ptr<gwlb::io::UdpReceiver> receiver;
  std::unique_ptr<gwlb::io::UdpReturner> returner;
  if (!gwlb::io::UdpReceiver::open(config, &receiver).ok() ||
      !gwlb::io::UdpReturner::open(config, *receiver, kPackets, &returner).ok()) {
    fail("no socket to return from");
  }
  gwlb::io::UdpSendScratch scratch(kPackets);
  uint32_t next = 0;
  const auto back = [&](bool others) -> Send {
    return [&, others](PacketBatch& b) {
      for (uint32_t i = 0; i < kPackets; ++i) {
        const uint32_t port = others ? 1000 + next++ % 8000 : i;
        b.source_port[i] = static_cast<uint16_t>(kPortBase + 1000 + port);
        b.port[i] = sink.port;
      }
      uint32_t other_port = 0;
      const uint32_t sent = returner->send(b, every_packet, b.count, scratch, &other_port);
      gwlb::bench::prove(other_port == 0, "every port could be bound");
      return sent;
    };
  };
  suite.run(name, "ns/packet", kRounds, 1,
            {contender("bound before", back(false), batch, sink, 104, kPackets),
             contender("bound for it", back(true), batch, sink, 104, kPackets)});
}

}  // namespace

int main(int argc, char** argv) {
  gwlb::bench::Options options;
  if (!gwlb::bench::parse_options(argc, argv, &options)) return 2;
  gwlb::bench::Suite suite("udp_send", options);
  for (uint32_t i = 0; i < kPackets; ++i) every_packet[i] = static_cast<uint16_t>(i);
  Sink sink;
  gwlb::io::UdpSendScratch scratch;
  const auto set256 = sockets(kPortBase, 256);
  const auto set64 = sockets(kPortBase + 256, 64);
  const auto set16 = sockets(kPortBase + 320, 16);
  const auto set1 = sockets(kPortBase + 336, 1);
  const auto by = [&scratch](const gwlb::io::UdpSender& sender) -> Send {
    return [&sender, &scratch](PacketBatch& batch) {
      return sender.send(batch, every_packet, batch.count, scratch);
    };
  };
  Raw raw(true);
  Raw raw_without_checksum(false);
  if (raw.fd < 0) std::fprintf(stderr, "no raw socket here (CAP_NET_RAW): left out\n");
  auto batch = PacketBatch::create(kPackets, gwlb::base::kSlotStrideStandard);
  for (const uint32_t flows : {64u, 8u}) {
    for (const uint32_t bytes : {104u, 1440u}) {
      const std::string name =
          "udp send " + std::to_string(flows) + " flows, " + std::to_string(bytes) + " B";
      if (!suite.wanted(name)) continue;
      const auto way = [&](const char* of, Send send) {
        return contender(of, std::move(send), *batch, sink, bytes, flows);
      };
      std::vector<gwlb::bench::Contender> ways = {
          way("256 sockets", by(*set256)), way("64 sockets", by(*set64)),
          way("16 sockets", by(*set16)), way("1 socket", by(*set1))};
      if (raw.fd >= 0) {
        ways.push_back(way("raw socket", [&](PacketBatch& b) { return raw.send(b); }));
        ways.push_back(way("raw socket, checksum 0",
                           [&](PacketBatch& b) { return raw_without_checksum.send(b); }));
      }
      suite.run(name, "ns/packet", kRounds, 1, ways);
    }
  }
  return_case(suite, *batch, sink);
  return 0;
}
