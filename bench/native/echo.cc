// The programs at either end of the benchmarks of appliances (bench/appliance.ts,
// bench/wire-single.ts):
//
//   echo echo ADDRESS PORTS
//     A plain echo with the appliance's system calls and nothing else: recvmmsg of 64 datagrams on
//     port 6081, sendmmsg back to port 6081 of their senders, each from the port it came from.
//
//   echo cross ADDRESS PORTS DEVICE
//     The same through the kernel: each inner packet is written to a TUN device, and what the
//     kernel routes back into it is sent behind the last header that came with its UDP source port.
//     No table, no check, no offload.
//
//   echo generate OWN TARGET FLOWS PORTS BYTES WINDOW WARM_MS MEASURE_MS PID [routed]
//     Plays the gateway in a closed loop: WINDOW packets of FLOWS flows are under way, each answer
//     is compared with what was sent, byte by byte and in its flow's order, and lets the next
//     packet of its flow go. Prints, of the measured time: packets, nanoseconds, CPU nanoseconds of
//     process PID and of its main thread, packets lost and packets that came back wrong. With
//     `routed` the inner packets come back with a TTL that is one less.
#include <arpa/inet.h>
#include <dirent.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <utility>
#include <vector>

#include "bench/native/open_tun.h"

namespace {

constexpr uint16_t kPort = 6081;
constexpr uint16_t kSourceBase = 32768;
constexpr uint32_t kBatch = 64;
constexpr uint32_t kSlotBytes = 2240;
constexpr int kLostAfterMs = 300;
constexpr uint32_t kHeader = 40;                         // GENEVE with AWS's three options
constexpr uint32_t kCookieAt = 36;                       // the flow
constexpr uint32_t kInnerHeaders = 28;                   // IPv4 and UDP
constexpr uint32_t kNumberAt = kHeader + kInnerHeaders;  // of the packet in its flow
constexpr uint32_t kInnerBytesMin = 32;
constexpr uint8_t kTtl = 64;

[[noreturn]] void fail(const char* what) {
  std::perror(what);
  std::exit(1);
}

int open_socket(const char* address, uint16_t port) {
  const int fd = socket(AF_INET, SOCK_DGRAM, 0);
  const int bytes = 8 << 20;
  for (const int option : {SO_RCVBUFFORCE, SO_SNDBUFFORCE}) {
    if (setsockopt(fd, SOL_SOCKET, option, &bytes, sizeof bytes) == 0) continue;
    setsockopt(fd, SOL_SOCKET, option == SO_RCVBUFFORCE ? SO_RCVBUF : SO_SNDBUF, &bytes,
               sizeof bytes);
  }
  sockaddr_in local{};
  local.sin_family = AF_INET;
  local.sin_port = htons(port);
  if (inet_pton(AF_INET, address, &local.sin_addr) != 1) fail(address);
  if (bind(fd, reinterpret_cast<sockaddr*>(&local), sizeof local) != 0) fail("bind");
  return fd;
}

// Sockets on kSourceBase + i.
std::vector<int> open_ports(const char* address, uint32_t ports) {
  std::vector<int> fds;
  for (uint32_t i = 0; i < ports; ++i) {
    fds.push_back(open_socket(address, static_cast<uint16_t>(kSourceBase + i)));
  }
  return fds;
}

// Datagrams for one system call, each in a slot of its own.
struct Batch {
  mmsghdr headers[kBatch] = {};
  iovec vectors[kBatch] = {};
  sockaddr_in peers[kBatch] = {};
  std::vector<uint8_t> memory = std::vector<uint8_t>(size_t{kBatch} * kSlotBytes);

  Batch() {
    for (uint32_t i = 0; i < kBatch; ++i) {
      headers[i].msg_hdr.msg_name = &peers[i];
      headers[i].msg_hdr.msg_iov = &vectors[i];
      headers[i].msg_hdr.msg_iovlen = 1;
    }
  }
  uint8_t* slot(uint32_t i) { return &memory[size_t{i} * kSlotBytes]; }
  uint32_t receive(int fd) {
    for (uint32_t i = 0; i < kBatch; ++i) {
      vectors[i] = {slot(i), kSlotBytes};
      headers[i].msg_hdr.msg_namelen = sizeof peers[i];
    }
    const int n = recvmmsg(fd, headers, kBatch, MSG_DONTWAIT, nullptr);
    return n > 0 ? static_cast<uint32_t>(n) : 0;
  }
  void send(int fd, uint32_t count) {
    for (uint32_t at = 0; at < count;) {
      const int n = sendmmsg(fd, headers + at, count - at, 0);
      if (n <= 0) fail("sendmmsg");
      at += static_cast<uint32_t>(n);
    }
  }
};

// Hands datagrams to one batch for each port, and those to the kernel.
class Senders {
 public:
  explicit Senders(std::vector<int> fds)
      : fds_(std::move(fds)), batches_(fds_.size()), counts_(fds_.size()) {}
  uint32_t ports() const { return static_cast<uint32_t>(fds_.size()); }
  // The bytes have to stay until flush(), or, with `copied`, are to be written to what is returned.
  uint8_t* add(uint32_t port, const sockaddr_in& to, uint8_t* bytes, size_t length) {
    if (counts_[port] == kBatch) flush(port);
    Batch& batch = batches_[port];
    const uint32_t i = counts_[port]++;
    uint8_t* const at = bytes != nullptr ? bytes : batch.slot(i);
    batch.vectors[i] = {at, length};
    batch.peers[i] = to;
    batch.headers[i].msg_hdr.msg_namelen = sizeof to;
    return at;
  }
  void flush() {
    for (uint32_t port = 0; port < ports(); ++port) flush(port);
  }

 private:
  void flush(uint32_t port) {
    if (counts_[port] == 0) return;
    batches_[port].send(fds_[port], counts_[port]);
    counts_[port] = 0;
  }
  std::vector<int> fds_;
  std::vector<Batch> batches_;
  std::vector<uint32_t> counts_;
};

void put16(uint8_t* to, uint32_t value) {
  to[0] = static_cast<uint8_t>(value >> 8);
  to[1] = static_cast<uint8_t>(value);
}
void put32(uint8_t* to, uint32_t value) {
  put16(to, value >> 16);
  put16(to + 2, value);
}
uint32_t get32(const uint8_t* from) {
  return uint32_t{from[0]} << 24 | uint32_t{from[1]} << 16 | uint32_t{from[2]} << 8 | from[3];
}

// Where what came from there is returned to, and from which of the sockets.
sockaddr_in answer_to(sockaddr_in from, uint32_t ports, uint32_t* port) {
  *port = static_cast<uint32_t>(ntohs(from.sin_port) - kSourceBase) % ports;
  from.sin_port = htons(kPort);
  return from;
}

[[noreturn]] void echo(const char* address, uint32_t ports) {
  const int receiver = open_socket(address, kPort);
  Senders senders(open_ports(address, ports));
  Batch batch;
  std::puts("ready");
  std::fflush(stdout);
  for (;;) {
    const uint32_t n = batch.receive(receiver);
    if (n == 0) {
      pollfd wait{receiver, POLLIN, 0};
      poll(&wait, 1, -1);
      continue;
    }
    for (uint32_t i = 0; i < n; ++i) {
      uint32_t port;
      const sockaddr_in to = answer_to(batch.peers[i], ports, &port);
      senders.add(port, to, batch.slot(i), batch.headers[i].msg_len);
    }
    senders.flush();
  }
}

// What came in front of a flow's packets, and where that goes back.
struct Front {
  uint8_t header[kHeader] = {};
  sockaddr_in to = {};
  uint32_t port = 0;
};

[[noreturn]] void cross(const char* address, uint32_t ports, const char* device) {
  const int receiver = open_socket(address, kPort);
  const int tun = open_tun(device, O_NONBLOCK);
  Senders senders(open_ports(address, ports));
  std::vector<Front> fronts(65'536);
  const auto front_of = [&](const uint8_t* packet) -> Front& {
    return fronts[get32(packet + 20) >> 16];
  };
  Batch batch;
  std::puts("ready");
  std::fflush(stdout);
  for (;;) {
    const uint32_t n = batch.receive(receiver);
    for (uint32_t i = 0; i < n; ++i) {
      const uint32_t bytes = batch.headers[i].msg_len;
      if (bytes < kHeader + kInnerHeaders) continue;
      const uint8_t* packet = batch.slot(i) + kHeader;
      Front& front = front_of(packet);
      std::memcpy(front.header, batch.slot(i), kHeader);
      front.to = answer_to(batch.peers[i], ports, &front.port);
      if (write(tun, packet, bytes - kHeader) < 0) fail("write");
    }
    uint32_t back = 0;
    while (back < kBatch) {
      uint8_t* slot = batch.slot(back);
      const ssize_t length = read(tun, slot + kHeader, kSlotBytes - kHeader);
      if (length < 0) break;
      // The kernel says things of its own too.
      if (length < ssize_t{kInnerHeaders} || slot[kHeader] != 0x45) continue;
      const Front& front = front_of(slot + kHeader);
      std::memcpy(slot, front.header, kHeader);
      senders.add(front.port, front.to, slot, kHeader + static_cast<size_t>(length));
      ++back;
    }
    senders.flush();
    if (n > 0 || back > 0) continue;
    pollfd waits[] = {{receiver, POLLIN, 0}, {tun, POLLIN, 0}};
    poll(waits, 2, -1);
  }
}

std::vector<uint8_t> datagram(uint32_t flow, uint32_t inner_bytes, uint8_t ttl) {
  std::vector<uint8_t> b(kHeader + inner_bytes, static_cast<uint8_t>(flow));
  static constexpr uint8_t kGeneve[] = {8, 0, 8, 0, 0, 0, 0, 0};
  std::memcpy(b.data(), kGeneve, sizeof kGeneve);
  const struct {
    uint32_t at, type, words;
  } options[] = {{8, 1, 2}, {20, 2, 2}, {32, 3, 1}};
  for (const auto& option : options) {
    put32(&b[option.at], 0x01080000 | option.type << 8 | option.words);
    std::memset(&b[option.at + 4], 0x11, 4 * option.words);
  }
  put32(&b[kCookieAt], flow);
  uint8_t* ip = &b[kHeader];
  std::memset(ip, 0, kInnerHeaders);
  ip[0] = 0x45;
  put16(ip + 2, inner_bytes);
  ip[8] = ttl;
  ip[9] = 17;
  put32(ip + 12, 0x0a000000 + flow);
  put32(ip + 16, 0x0ac80001);
  uint32_t sum = 0;
  for (uint32_t i = 0; i < 20; i += 2) sum += get32(ip + i) >> 16;
  while (sum >> 16 != 0) sum = (sum & 0xffff) + (sum >> 16);
  put16(ip + 10, ~sum & 0xffff);
  put16(ip + 20, 1024 + flow % 50000);
  put16(ip + 22, 443);
  put16(ip + 24, inner_bytes - 20);
  return b;
}

struct Flow {
  std::vector<uint8_t> sent;    // as its next packet goes out
  std::vector<uint8_t> answer;  // as the next one comes back
  uint32_t number = 0;          // of the next packet
  uint32_t expected = 0;        // of the next answer
};

uint64_t now_ns() {
  timespec now{};
  clock_gettime(CLOCK_MONOTONIC, &now);
  return static_cast<uint64_t>(now.tv_sec) * 1'000'000'000 + static_cast<uint64_t>(now.tv_nsec);
}

uint64_t thread_cpu_ns(const std::string& task) {
  FILE* file = std::fopen((task + "/schedstat").c_str(), "r");
  unsigned long long ns = 0;
  if (file == nullptr) return 0;
  if (std::fscanf(file, "%llu", &ns) != 1) ns = 0;
  std::fclose(file);
  return ns;
}

// Of all threads, and of the main one.
void cpu_ns(const std::string& pid, uint64_t* all, uint64_t* main) {
  const std::string tasks = "/proc/" + pid + "/task";
  *all = 0;
  *main = thread_cpu_ns(tasks + "/" + pid);
  DIR* folder = opendir(tasks.c_str());
  if (folder == nullptr) fail(tasks.c_str());
  while (const dirent* entry = readdir(folder)) {
    if (entry->d_name[0] != '.') *all += thread_cpu_ns(tasks + "/" + entry->d_name);
  }
  closedir(folder);
}

struct Generator {
  Generator(int fd, std::vector<int> fds) : receiver(fd), senders(std::move(fds)) {}

  int receiver;
  Senders senders;
  std::vector<Flow> flows;
  sockaddr_in target{};
  uint64_t answered = 0;
  uint64_t lost = 0;
  uint64_t wrong = 0;
  Batch batch;

  void send(uint32_t flow) {
    Flow& f = flows[flow];
    put32(&f.sent[kNumberAt], f.number++);
    uint8_t* to = senders.add(flow % senders.ports(), target, nullptr, f.sent.size());
    std::memcpy(to, f.sent.data(), f.sent.size());
  }
  bool is_good(uint32_t i, uint32_t flow) {
    Flow& f = flows[flow];
    const uint8_t* got = batch.slot(i);
    if (batch.headers[i].msg_len != f.answer.size()) return false;
    put32(&f.answer[kNumberAt], f.expected);
    return ntohs(batch.peers[i].sin_port) == kSourceBase + flow % senders.ports() &&
           std::memcmp(got, f.answer.data(), f.answer.size()) == 0;
  }
  void take() {
    const uint32_t n = batch.receive(receiver);
    if (n == 0) {
      pollfd wait{receiver, POLLIN, 0};
      if (poll(&wait, 1, kLostAfterMs) == 0) begin_anew();
      return;
    }
    for (uint32_t i = 0; i < n; ++i) {
      const uint32_t flow = get32(batch.slot(i) + kCookieAt);
      if (batch.headers[i].msg_len < kNumberAt + 4 || flow >= flows.size()) {
        ++wrong;
        continue;
      }
      wrong += is_good(i, flow) ? 0 : 1;
      flows[flow].expected = get32(batch.slot(i) + kNumberAt) + 1;
      ++answered;
      send(flow);
    }
    senders.flush();
  }
  // What does not come back any more is sent again.
  void begin_anew() {
    for (uint32_t flow = 0; flow < flows.size(); ++flow) {
      const uint32_t missing = flows[flow].number - flows[flow].expected;
      lost += missing;
      flows[flow].expected = flows[flow].number;
      for (uint32_t i = 0; i < missing; ++i) send(flow);
    }
    senders.flush();
  }
  void run(uint64_t ms) {
    for (const uint64_t end = now_ns() + ms * 1'000'000; now_ns() < end;) take();
  }
};

int generate(char** args, bool routed) {
  const auto number = [&](int i) {
    return static_cast<uint32_t>(std::strtoul(args[i], nullptr, 10));
  };
  const uint32_t bytes = number(4);
  if (bytes < kInnerBytesMin || bytes + kHeader > kSlotBytes) fail("BYTES");
  Generator g(open_socket(args[0], kPort), open_ports(args[0], number(3)));
  g.target.sin_family = AF_INET;
  g.target.sin_port = htons(kPort);
  inet_pton(AF_INET, args[1], &g.target.sin_addr);
  g.flows.resize(number(2));
  for (uint32_t flow = 0; flow < g.flows.size(); ++flow) {
    g.flows[flow].sent = datagram(flow, bytes, kTtl);
    g.flows[flow].answer = datagram(flow, bytes, routed ? kTtl - 1 : kTtl);
  }
  for (uint32_t i = 0; i < number(5); ++i) g.send(i % static_cast<uint32_t>(g.flows.size()));
  g.senders.flush();
  g.run(number(6));

  uint64_t cpu[2];
  uint64_t main_cpu[2];
  const uint64_t before = g.answered;
  cpu_ns(args[8], &cpu[0], &main_cpu[0]);
  const uint64_t started = now_ns();
  g.run(number(7));
  cpu_ns(args[8], &cpu[1], &main_cpu[1]);
  const uint64_t ended = now_ns();
  std::printf(
      "{\"packets\":%llu,\"ns\":%llu,\"cpuNs\":%llu,\"mainCpuNs\":%llu,\"lost\":%llu,"
      "\"wrong\":%llu}\n",
      static_cast<unsigned long long>(g.answered - before),
      static_cast<unsigned long long>(ended - started),
      static_cast<unsigned long long>(cpu[1] - cpu[0]),
      static_cast<unsigned long long>(main_cpu[1] - main_cpu[0]),
      static_cast<unsigned long long>(g.lost), static_cast<unsigned long long>(g.wrong));
  return 0;
}

}  // namespace

int main(int count, char** args) {
  const std::string role = count > 1 ? args[1] : "";
  if (role == "echo" && count == 4) echo(args[2], static_cast<uint32_t>(std::atoi(args[3])));
  if (role == "cross" && count == 5) {
    cross(args[2], static_cast<uint32_t>(std::atoi(args[3])), args[4]);
  }
  if (role == "generate" && (count == 11 || count == 12)) return generate(args + 2, count == 12);
  std::fputs("usage: see bench/native/echo.cc\n", stderr);
  return 2;
}
