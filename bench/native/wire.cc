// The parts of the wire benchmarks that must not be the limit, and the peers in C: no library, only
// sockets. Each prints one line of JSON when its time is over, or works until it is killed.
//
//   wire generate FROM TO AT SECONDS WINDOW BYTES FLOWS RUN GENEVE
//       RUN packets of a flow follow each other.
//       GENEVE datagrams (or bare ones) from FROM:6081 to TO:6081; what reaches AT (an address,
//       or one with :PORT) makes room for the next: at most WINDOW are on their way. AT may be
//       FROM.
//   wire echo NETNS ADDRESS [blocking]
//       recvmmsg/sendmmsg, everything back to where it came from; with `blocking` one at a time.
//   wire spread NETNS ADDRESS TO PORTS
//       The same to TO:6081, but a flow (a source port of the packets in the datagrams) leaves by
//       its own of PORTS sockets, as GENEVE wants it (RFC 8926, 3.3).
//   wire relay NETNS TUN UDP_NETNS ADDRESS PEER
//       a TUN device's packets to PEER:6081 and what comes from there into the device, one at a
//       time
//   wire chain NETNS TUN UDP_NETNS ADDRESS PEER
//       UDP super-packets of a TUN device (with vnet_hdr) to PEER:6081, each packet behind headers
//       as the gateway's, in trains: the same system calls, but no lookup and no checksum
//   wire blast NETNS TO SECONDS BYTES FLOWS
//       UDP super-packets (UDP_SEGMENT) of 64 KiB to TO:9
//   wire reflect NETNS ADDRESS
//       UDP_GRO in, UDP_SEGMENT out: trains back to where they came from
#include <arpa/inet.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <netinet/in.h>
#include <netinet/udp.h>
#include <poll.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <string>
#include <vector>

#include "bench/native/open_tun.h"

namespace {

constexpr uint16_t kPort = 6081;
constexpr uint32_t kBatch = 64;
constexpr uint32_t kVni = 7;
constexpr size_t kGeneveBytes = 8;
constexpr size_t kInnerHeaders = 28;

[[noreturn]] void fail(const char* what) {
  std::perror(what);
  std::exit(1);
}

double now_seconds() {
  timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return static_cast<double>(now.tv_sec) + static_cast<double>(now.tv_nsec) / 1e9;
}

void enter(const std::string& netns) {
  if (netns == "-") return;
  const int fd = open(("/run/netns/" + netns).c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0 || setns(fd, CLONE_NEWNET) != 0) fail(netns.c_str());
  close(fd);
}

sockaddr_in address_of(const char* text, uint16_t port) {
  sockaddr_in out = {};
  out.sin_family = AF_INET;
  out.sin_port = htons(port);
  if (inet_pton(AF_INET, text, &out.sin_addr) != 1) fail(text);
  return out;
}

int udp_socket(const char* address, uint16_t port) {
  const int fd = socket(AF_INET, SOCK_DGRAM, 0);
  const int bytes = 8 << 20;
  setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &bytes, sizeof bytes);
  setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &bytes, sizeof bytes);
  const sockaddr_in own = address_of(address, port);
  if (bind(fd, reinterpret_cast<const sockaddr*>(&own), sizeof own) != 0) fail(address);
  return fd;
}

// Buffers for recvmmsg and sendmmsg.
struct Batch {
  explicit Batch(size_t bytes) : size(bytes), memory(kBatch * bytes) {
    for (uint32_t i = 0; i < kBatch; ++i) {
      vectors[i] = {&memory[i * bytes], bytes};
      messages[i] = {};
      messages[i].msg_hdr.msg_iov = &vectors[i];
      messages[i].msg_hdr.msg_iovlen = 1;
      messages[i].msg_hdr.msg_name = &peers[i];
    }
  }
  int receive(int fd, int flags) {
    for (uint32_t i = 0; i < kBatch; ++i) {
      vectors[i].iov_len = size;
      messages[i].msg_hdr.msg_namelen = sizeof peers[i];
    }
    return recvmmsg(fd, messages, kBatch, flags, nullptr);
  }

  size_t size;
  std::vector<uint8_t> memory;
  iovec vectors[kBatch];
  mmsghdr messages[kBatch];
  sockaddr_in peers[kBatch];
};

uint16_t ipv4_checksum(const uint8_t* header) {
  uint32_t sum = 0;
  for (int i = 0; i < 20; i += 2) sum += static_cast<uint32_t>(header[i] << 8 | header[i + 1]);
  while (sum >> 16 != 0) sum = (sum & 0xffff) + (sum >> 16);
  return static_cast<uint16_t>(~sum);
}

void put_16(uint8_t* to, uint32_t value) {
  to[0] = static_cast<uint8_t>(value >> 8);
  to[1] = static_cast<uint8_t>(value);
}

// An inner UDP packet of `bytes` bytes without UDP checksum, behind a plain GENEVE header if
// wanted.
size_t make_datagram(uint8_t* to, uint32_t flow, size_t bytes, bool geneve) {
  uint8_t* inner = to;
  if (geneve) {
    const uint8_t header[kGeneveBytes] = {0, 0, 8, 0, 0, 0, kVni, 0};
    std::memcpy(to, header, sizeof header);
    inner += sizeof header;
  }
  std::memset(inner, 0, bytes);
  const uint8_t ip[20] = {0x45, 0, 0, 0, 0, 0, 0x40, 0, 64, 17, 0, 0, 10, 1, 0, 0, 10, 2, 0, 1};
  std::memcpy(inner, ip, sizeof ip);
  put_16(inner + 2, static_cast<uint32_t>(bytes));
  put_16(inner + 14, 256 + flow / 1000);
  put_16(inner + 10, ipv4_checksum(inner));
  put_16(inner + 20, 1024 + flow % 1000);
  put_16(inner + 22, 80);
  put_16(inner + 24, static_cast<uint32_t>(bytes - 20));
  return static_cast<size_t>(inner - to) + bytes;
}

int generate(char** arg) {
  const sockaddr_in to = address_of(arg[1], kPort);
  const int out = udp_socket(arg[0], kPort);
  const std::string at = arg[2];
  const size_t colon = at.find(':');
  const uint16_t port =
      colon == std::string::npos ? kPort : static_cast<uint16_t>(std::atoi(&at[colon + 1]));
  const int in = at == arg[0] ? out : udp_socket(at.substr(0, colon).c_str(), port);
  const double seconds = std::atof(arg[3]);
  const auto window = static_cast<uint64_t>(std::atoi(arg[4]));
  const auto bytes = static_cast<size_t>(std::atoi(arg[5]));
  const auto flows = static_cast<uint32_t>(std::atoi(arg[6]));
  const auto run = static_cast<uint32_t>(std::atoi(arg[7]));
  const bool geneve = std::atoi(arg[8]) != 0;
  if (bytes < kInnerHeaders || bytes > 8500 || flows == 0 || run == 0) return 2;
  if (connect(out, reinterpret_cast<const sockaddr*>(&to), sizeof to) != 0 && in != out) {
    fail("connect");
  }
  Batch sending(bytes + kGeneveBytes);
  Batch receiving(bytes + 256);
  for (auto& message : sending.messages) {
    message.msg_hdr.msg_name = nullptr;
    message.msg_hdr.msg_namelen = 0;
  }
  uint64_t sent = 0, came = 0, lost = 0;
  uint64_t place = 0;
  const double start = now_seconds();
  double now = start;
  while (now - start < seconds) {
    const uint64_t room = window - (sent - came - lost);
    const auto n = static_cast<uint32_t>(room < kBatch ? room : kBatch);
    for (uint32_t i = 0; i < n; ++i) {
      auto* at = static_cast<uint8_t*>(sending.vectors[i].iov_base);
      sending.vectors[i].iov_len =
          make_datagram(at, static_cast<uint32_t>(place / run % flows), bytes, geneve);
      ++place;
    }
    const int done = n == 0 ? 0 : sendmmsg(out, sending.messages, n, 0);
    if (done > 0) sent += static_cast<uint64_t>(done);
    int got = receiving.receive(in, MSG_DONTWAIT);
    if (got <= 0 && n == 0) {
      pollfd wait = {in, POLLIN, 0};
      if (poll(&wait, 1, 20) == 0)
        lost = sent - came;  // what is late is lost, and counted when it comes
      got = receiving.receive(in, MSG_DONTWAIT);
    }
    if (got > 0) came += static_cast<uint64_t>(got);
    if (came + lost > sent) lost = sent - came;
    now = now_seconds();
  }
  // What is still on its way.
  for (pollfd wait = {in, POLLIN, 0}; came < sent && poll(&wait, 1, 100) > 0;) {
    const int got = receiving.receive(in, MSG_DONTWAIT);
    if (got > 0) came += static_cast<uint64_t>(got);
  }
  std::printf("{\"sent\":%llu,\"came\":%llu,\"lost\":%llu,\"seconds\":%.6f}\n",
              static_cast<unsigned long long>(sent), static_cast<unsigned long long>(came),
              static_cast<unsigned long long>(lost), now - start);
  return 0;
}

int echo(const char* netns, const char* address, bool blocking) {
  enter(netns);
  const int fd = udp_socket(address, kPort);
  if (blocking) {
    uint8_t bytes[9216];
    for (;;) {
      sockaddr_in peer;
      socklen_t length = sizeof peer;
      const ssize_t n =
          recvfrom(fd, bytes, sizeof bytes, 0, reinterpret_cast<sockaddr*>(&peer), &length);
      if (n > 0)
        sendto(fd, bytes, static_cast<size_t>(n), 0, reinterpret_cast<sockaddr*>(&peer), length);
    }
  }
  Batch batch(9216);
  for (;;) {
    const int n = batch.receive(fd, MSG_WAITFORONE);
    if (n <= 0) continue;
    for (int i = 0; i < n; ++i) batch.vectors[i].iov_len = batch.messages[i].msg_len;
    for (int done = 0; done < n;) {
      const int more = sendmmsg(fd, batch.messages + done, static_cast<uint32_t>(n - done), 0);
      done += more > 0 ? more : 1;
    }
  }
}

int spread(char** arg) {
  enter(arg[0]);
  const int in = udp_socket(arg[1], kPort);
  sockaddr_in to = address_of(arg[2], kPort);
  const auto ports = static_cast<uint32_t>(std::atoi(arg[3]));
  std::vector<int> sockets;
  for (uint32_t i = 0; i < ports; ++i) sockets.push_back(udp_socket(arg[1], 0));
  Batch batch(9216);
  std::vector<std::vector<mmsghdr>> leaving(ports);
  std::vector<uint32_t> used;
  for (;;) {
    const int n = batch.receive(in, MSG_WAITFORONE);
    for (int i = 0; i < n; ++i) {
      batch.vectors[i].iov_len = batch.messages[i].msg_len;
      const auto* packet = static_cast<const uint8_t*>(batch.vectors[i].iov_base);
      const uint32_t by = static_cast<uint32_t>(packet[20] << 8 | packet[21]) % ports;
      if (leaving[by].empty()) used.push_back(by);
      leaving[by].push_back(batch.messages[i]);
      leaving[by].back().msg_hdr.msg_name = &to;
    }
    for (const uint32_t by : used) {
      auto& messages = leaving[by];
      for (size_t done = 0; done < messages.size();) {
        const int more = sendmmsg(sockets[by], &messages[done],
                                  static_cast<uint32_t>(messages.size() - done), 0);
        done += more > 0 ? static_cast<size_t>(more) : 1;
      }
      messages.clear();
    }
    used.clear();
  }
}

// The message is a train of datagrams of this size. `control` has room for one number.
void set_train(msghdr* message, char* control, size_t bytes) {
  message->msg_control = control;
  message->msg_controllen = CMSG_SPACE(sizeof(uint16_t));
  cmsghdr* c = CMSG_FIRSTHDR(message);
  c->cmsg_level = SOL_UDP;
  c->cmsg_type = UDP_SEGMENT;
  c->cmsg_len = CMSG_LEN(sizeof(uint16_t));
  const auto size = static_cast<uint16_t>(bytes);
  std::memcpy(CMSG_DATA(c), &size, sizeof size);
}

int relay(char** arg) {
  enter(arg[0]);
  const int tun = open_tun(arg[1]);
  enter(arg[2]);
  const int udp = udp_socket(arg[3], kPort);
  const sockaddr_in peer = address_of(arg[4], kPort);
  if (connect(udp, reinterpret_cast<const sockaddr*>(&peer), sizeof peer) != 0) fail("connect");
  uint8_t bytes[9216];
  pollfd both[2] = {{tun, POLLIN, 0}, {udp, POLLIN, 0}};
  for (;;) {
    poll(both, 2, -1);
    if ((both[0].revents & POLLIN) != 0) {
      const ssize_t n = read(tun, bytes, sizeof bytes);
      if (n > 0 && send(udp, bytes, static_cast<size_t>(n), 0) < 0) continue;
    }
    if ((both[1].revents & POLLIN) != 0) {
      const ssize_t n = recv(udp, bytes, sizeof bytes, 0);
      if (n > 0 && write(tun, bytes, static_cast<size_t>(n)) < 0) continue;
    }
  }
}

int chain(char** arg) {
  constexpr size_t kOuter = 40, kHeaders = kOuter + kInnerHeaders;
  constexpr size_t kTrain = 65'507;
  constexpr unsigned kTunUso = 0x20 | 0x40;  // TUN_F_USO4 and 6, which older headers lack
  // struct virtio_net_hdr, whose header C++ cannot read.
  constexpr size_t kVnetHeader = 10, kGsoSizeAt = 4;
  enter(arg[0]);
  const int tun = open_tun(arg[1], 0, IFF_VNET_HDR);
  if (ioctl(tun, TUNSETOFFLOAD, TUN_F_CSUM | TUN_F_TSO4 | TUN_F_TSO6 | kTunUso) != 0) {
    fail("TUNSETOFFLOAD");
  }
  enter(arg[2]);
  const int udp = udp_socket(arg[3], kPort);
  sockaddr_in peer = address_of(arg[4], kPort);
  std::vector<uint8_t> bytes(kVnetHeader + 65'536);
  std::vector<uint8_t> headers(kBatch * kHeaders);
  iovec vectors[2 * kBatch];
  for (;;) {
    const ssize_t n = read(tun, bytes.data(), bytes.size());
    uint16_t gso_size = 0;
    std::memcpy(&gso_size, &bytes[kGsoSizeAt], sizeof gso_size);
    const uint8_t* packet = &bytes[kVnetHeader];
    const ssize_t payload = n - static_cast<ssize_t>(kVnetHeader + kInnerHeaders);
    if (payload <= 0 || packet[0] != 0x45 || packet[9] != IPPROTO_UDP) continue;
    const size_t all = static_cast<size_t>(payload);
    const size_t each = gso_size != 0 ? gso_size : all;
    const size_t train = std::min<size_t>(kBatch, kTrain / (kHeaders + each));
    for (size_t from = 0; from < all;) {
      size_t count = 0;
      for (; from < all && count < train; ++count) {
        const size_t part = std::min(each, all - from);
        uint8_t* to = &headers[count * kHeaders];
        std::memset(to, 0, kOuter);
        to[0] = 8;  // GENEVE, 32 bytes of options
        to[2] = 8;
        std::memcpy(to + kOuter, packet, kInnerHeaders);
        put_16(to + kOuter + 2, static_cast<uint32_t>(kInnerHeaders + part));
        put_16(to + kOuter + 10, 0);
        put_16(to + kOuter + 10, ipv4_checksum(to + kOuter));
        put_16(to + kOuter + 24, static_cast<uint32_t>(8 + part));
        put_16(to + kOuter + 26, 0);
        vectors[2 * count] = {to, kHeaders};
        vectors[2 * count + 1] = {const_cast<uint8_t*>(packet) + kInnerHeaders + from, part};
        from += part;
      }
      msghdr message = {};
      message.msg_name = &peer;
      message.msg_namelen = sizeof peer;
      message.msg_iov = vectors;
      message.msg_iovlen = 2 * count;
      alignas(cmsghdr) char control[CMSG_SPACE(sizeof(uint16_t))];
      if (count > 1) set_train(&message, control, kHeaders + each);
      sendmsg(udp, &message, 0);
    }
  }
}

int blast(char** arg) {
  enter(arg[0]);
  const sockaddr_in to = address_of(arg[1], 9);
  const double seconds = std::atof(arg[2]);
  const int bytes = std::atoi(arg[3]) - static_cast<int>(kInnerHeaders);
  const int flows = std::atoi(arg[4]);
  if (bytes < 1 || flows < 1) return 2;
  const int segments = 65'000 / bytes < 64 ? 65'000 / bytes : 64;
  std::vector<uint8_t> payload(static_cast<size_t>(segments * bytes));
  std::vector<int> sockets;
  for (int i = 0; i < flows; ++i) {
    const int fd = socket(AF_INET, SOCK_DGRAM, 0);
    if (setsockopt(fd, SOL_UDP, UDP_SEGMENT, &bytes, sizeof bytes) != 0) fail("UDP_SEGMENT");
    if (connect(fd, reinterpret_cast<const sockaddr*>(&to), sizeof to) != 0) fail("connect");
    sockets.push_back(fd);
  }
  uint64_t sent = 0;
  const double start = now_seconds();
  while (now_seconds() - start < seconds) {
    for (int fd : sockets) {
      const bool gone = send(fd, payload.data(), payload.size(), 0) > 0;
      if (gone) sent += static_cast<uint64_t>(segments);
    }
  }
  std::printf("{\"sent\":%llu,\"seconds\":%.6f}\n", static_cast<unsigned long long>(sent),
              now_seconds() - start);
  return 0;
}

int reflect(const char* netns, const char* address) {
  enter(netns);
  const int fd = udp_socket(address, kPort);
  const int on = 1;
  if (setsockopt(fd, SOL_UDP, UDP_GRO, &on, sizeof on) != 0) fail("UDP_GRO");
  std::vector<uint8_t> bytes(65'536);
  for (;;) {
    sockaddr_in peer;
    iovec vector = {bytes.data(), bytes.size()};
    alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int))];
    msghdr message = {};
    message.msg_name = &peer;
    message.msg_namelen = sizeof peer;
    message.msg_iov = &vector;
    message.msg_iovlen = 1;
    message.msg_control = control;
    message.msg_controllen = sizeof control;
    const ssize_t n = recvmsg(fd, &message, 0);
    if (n <= 0) continue;
    int segment = 0;
    for (cmsghdr* c = CMSG_FIRSTHDR(&message); c != nullptr; c = CMSG_NXTHDR(&message, c)) {
      if (c->cmsg_level == SOL_UDP && c->cmsg_type == UDP_GRO) {
        std::memcpy(&segment, CMSG_DATA(c), sizeof segment);
      }
    }
    peer.sin_port = htons(kPort);  // what is returned goes to the gateway's GENEVE port
    vector.iov_len = static_cast<size_t>(n);
    message.msg_controllen = 0;
    message.msg_control = nullptr;
    if (segment > 0 && segment < n) set_train(&message, control, static_cast<size_t>(segment));
    sendmsg(fd, &message, 0);
  }
}

}  // namespace

int main(int argc, char** argv) {
  const std::string mode = argc > 1 ? argv[1] : "";
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  char** arg = argv + 2;
  if (mode == "generate" && argc == 11) return generate(arg);
  if (mode == "echo" && argc >= 4) return echo(arg[0], arg[1], argc > 4);
  if (mode == "spread" && argc == 6) return spread(arg);
  if (mode == "relay" && argc == 7) return relay(arg);
  if (mode == "chain" && argc == 7) return chain(arg);
  if (mode == "blast" && argc == 7) return blast(arg);
  if (mode == "reflect" && argc == 4) return reflect(arg[0], arg[1]);
  std::fprintf(stderr, "usage: see bench/native/wire.cc\n");
  return 2;
}
