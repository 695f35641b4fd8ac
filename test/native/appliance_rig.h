// An appliance's engine over real sockets of 127.0.0.0/8, each process on addresses of its own,
// with a gateway's side to talk to it and an inspector's thread.
#pragma once

#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <functional>
#include <map>
#include <memory>
#include <random>
#include <thread>
#include <vector>

#include "engine/appliance_engine.h"
#include "test/native/datagrams.h"
#include "test/native/eventually.h"
#include "test/native/test.h"

namespace gwlb::test {

using appliance::ApplianceCounter;
using appliance::Counters;
using base::DropReason;
using engine::ApplianceEngine;
using engine::ApplianceEngineConfig;

inline constexpr uint16_t kSourcePorts = 4;
inline constexpr uint16_t kSourceBase = 33000;

// 127.pid.pid.last
inline uint32_t own_address(uint8_t last) {
  return 0x7f000000u | (static_cast<uint32_t>(getpid()) & 0xffff) << 8 | last;
}

inline int udp_socket(uint32_t address, uint16_t port) {
  const int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  const int bytes = 4 << 20;
  if (setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &bytes, sizeof bytes) != 0) {
    setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &bytes, sizeof bytes);
  }
  sockaddr_in local{};
  local.sin_family = AF_INET;
  local.sin_addr.s_addr = htonl(address);
  local.sin_port = htons(port);
  if (bind(fd, reinterpret_cast<sockaddr*>(&local), sizeof local) != 0) {
    report_failure(__FILE__, __LINE__, "the test cannot bind its own socket");
  }
  return fd;
}

// A gateway's sockets: one that receives, and kSourcePorts that flows are sent from.
class GatewaySide {
 public:
  GatewaySide() : receiver_(udp_socket(own_address(1), 0)) {
    for (uint16_t i = 0; i < kSourcePorts; ++i) {
      senders_.push_back(udp_socket(own_address(1), static_cast<uint16_t>(kSourceBase + i)));
    }
    sockaddr_in local{};
    socklen_t bytes = sizeof local;
    getsockname(receiver_, reinterpret_cast<sockaddr*>(&local), &bytes);
    port_ = ntohs(local.sin_port);
  }
  ~GatewaySide() {
    ::close(receiver_);
    for (const int fd : senders_) ::close(fd);
  }
  uint16_t port() const { return port_; }

  void send(const Bytes& bytes, uint16_t to, uint16_t source = 0) const {
    sockaddr_in peer{};
    peer.sin_family = AF_INET;
    peer.sin_addr.s_addr = htonl(own_address(2));
    peer.sin_port = htons(to);
    CHECK_EQ(sendto(senders_[source], bytes.data(), bytes.size(), 0,
                    reinterpret_cast<sockaddr*>(&peer), sizeof peer),
             static_cast<ssize_t>(bytes.size()));
  }

  // False where nothing comes in time.
  bool receive(Bytes* out, uint16_t* from_port, int timeout_ms = kPatienceMs) const {
    pollfd wait{receiver_, POLLIN, 0};
    if (poll(&wait, 1, timeout_ms) <= 0) return false;
    out->resize(16384);
    sockaddr_in peer{};
    socklen_t bytes = sizeof peer;
    const ssize_t got = recvfrom(receiver_, out->data(), out->size(), 0,
                                 reinterpret_cast<sockaddr*>(&peer), &bytes);
    if (got < 0) return false;
    out->resize(static_cast<size_t>(got));
    CHECK_EQ(ntohl(peer.sin_addr.s_addr), own_address(2));
    *from_port = ntohs(peer.sin_port);
    return true;
  }

 private:
  int receiver_;
  std::vector<int> senders_;
  uint16_t port_ = 0;
};

inline ApplianceEngineConfig config_for(const GatewaySide& gateway) {
  ApplianceEngineConfig config;
  config.udp.address = own_address(2);
  config.udp.port = 0;
  config.gateway_port = gateway.port();
  return config;
}

// With an inspector.
inline ApplianceEngineConfig inspected_for(const GatewaySide& gateway) {
  ApplianceEngineConfig config = config_for(gateway);
  config.inspect = true;
  return config;
}

inline std::unique_ptr<ApplianceEngine> start(const ApplianceEngineConfig& config,
                                              std::function<void()> ready = {}) {
  std::unique_ptr<ApplianceEngine> engine;
  const io::OsError error = ApplianceEngine::start(config, std::move(ready), &engine);
  if (!error.ok()) report_failure(__FILE__, __LINE__, error.syscall);
  return engine;
}

inline uint64_t count(const ApplianceEngine& engine, ApplianceCounter which) {
  return __atomic_load_n(&engine.counters()[static_cast<uint32_t>(which)], __ATOMIC_RELAXED);
}
inline uint64_t drops(const ApplianceEngine& engine, DropReason reason) {
  return __atomic_load_n(&engine.counters()[Counters::kDropsAt + static_cast<uint32_t>(reason)],
                         __ATOMIC_RELAXED);
}
inline uint64_t received(const ApplianceEngine& engine) {
  return count(engine, ApplianceCounter::packets_received);
}
inline uint64_t returned(const ApplianceEngine& engine) {
  return count(engine, ApplianceCounter::packets_returned);
}
// Of datagrams that were received.
inline uint64_t all_drops(const ApplianceEngine& engine) {
  uint64_t sum = 0;
  for (uint32_t reason = 0; reason < base::kDropReasons; ++reason) {
    sum += drops(engine, static_cast<DropReason>(reason));
  }
  return sum - drops(engine, DropReason::receive_overflow);
}

inline void pause_ms(uint32_t ms) { std::this_thread::sleep_for(std::chrono::milliseconds(ms)); }

// For exchange().
inline size_t small(uint32_t) { return 40; }

inline void drop(ApplianceEngine& engine, int number, uint32_t i) {
  engine.batch(number).verdict[i] = static_cast<uint8_t>(batch::Verdict::drop);
}

// Batches that an inspector keeps, and gives back in any order, now and then late.
class HeldBatches {
 public:
  explicit HeldBatches(uint32_t seed) : random_(seed) {}
  uint32_t next(uint32_t below) { return static_cast<uint32_t>(random_() % below); }

  void keep(ApplianceEngine& engine, int number, size_t at_most) {
    numbers_.push_back(number);
    if (numbers_.size() > at_most) give_back(engine);
  }
  void give_back(ApplianceEngine& engine) {
    if (numbers_.empty()) return;
    const uint32_t which = next(static_cast<uint32_t>(numbers_.size()));
    if (next(8) == 0) pause_ms(1);
    CHECK(engine.release(numbers_[which]));
    CHECK(!engine.release(numbers_[which]));
    numbers_.erase(numbers_.begin() + which);
  }

 private:
  std::mt19937 random_;
  std::vector<int> numbers_;
};

// Flow f's packet number n; the inner UDP source port names the flow, the payload the number.
inline Bytes numbered(uint16_t flow, uint32_t n, size_t payload = 40) {
  Bytes segment = udp(static_cast<uint16_t>(1000 + flow), 53, payload);
  put32(segment, 8, n);
  return datagram(ipv4(0x0a000001, 0x0a000002, 17, segment), flow);
}
inline uint16_t flow_of(const Bytes& bytes) {
  return static_cast<uint16_t>((bytes[60] << 8 | bytes[61]) - 1000);
}
inline uint32_t number_of(const Bytes& bytes) {
  return static_cast<uint32_t>(bytes[68] << 24 | bytes[69] << 16 | bytes[70] << 8 | bytes[71]);
}

// Sends `packets` numbered packets of eight flows, at most 64 unanswered; every answer has to come
// from its flow's source port and in its flow's order. Lost ones (dropped by a rule or a verdict)
// are made up for by time. Returns how many came back.
inline uint32_t exchange(const GatewaySide& gateway, const ApplianceEngine& engine,
                         uint32_t packets, const std::function<size_t(uint32_t)>& payload) {
  std::map<uint16_t, int64_t> last;
  uint32_t sent = 0;
  uint32_t back = 0;
  Bytes bytes;
  uint16_t port = 0;
  const auto take = [&](int timeout_ms) {
    if (!gateway.receive(&bytes, &port, timeout_ms)) return false;
    ++back;
    if (bytes.size() < 72) {
      report_failure(__FILE__, __LINE__, "a returned packet is too short");
      return true;
    }
    const uint16_t flow = flow_of(bytes);
    const uint32_t n = number_of(bytes);
    CHECK_EQ(port, kSourceBase + flow % kSourcePorts);
    CHECK(bytes == numbered(flow, n, payload(n)));
    const auto before = last.emplace(flow, -1).first;
    CHECK(before->second < n);
    before->second = n;
    return true;
  };
  const auto settled = [&] { return returned(engine) + all_drops(engine); };
  const uint64_t first = settled();
  while (sent < packets) {
    for (uint32_t burst = 0; burst < 32 && sent < packets; ++burst, ++sent) {
      const auto flow = static_cast<uint16_t>(sent % 8);
      gateway.send(numbered(flow, sent, payload(sent)), engine.port(), flow % kSourcePorts);
    }
    CHECK(eventually([&] {
      while (take(0)) {
      }
      return settled() - first + 32 >= sent;
    }));
  }
  CHECK(eventually([&] { return settled() - first == packets; }));
  while (take(50)) {
  }
  return back;
}

// An engine with an inspector on a thread of its own, told by the engine's call. `look` is called
// for every batch and releases it, at once or later; `turn` now and then.
class Inspected {
 public:
  Inspected(
      const ApplianceEngineConfig& config, std::function<void(ApplianceEngine&, int)> look,
      std::function<void(ApplianceEngine&)> turn = [](ApplianceEngine&) {})
      : look_(std::move(look)),
        turn_(std::move(turn)),
        engine_(start(config, [this] { ++told_; })) {
    if (engine_) thread_ = std::thread([this] { run(); });
  }
  ~Inspected() { finish(); }
  ApplianceEngine* engine() { return engine_.get(); }
  // Ends the inspector, not the engine.
  void finish() {
    over_ = true;
    if (thread_.joinable()) thread_.join();
  }

 private:
  void run() {
    uint32_t answered = 0;
    while (!over_) {
      turn_(*engine_);
      const uint32_t told = told_;
      if (told == answered) {
        std::this_thread::sleep_for(std::chrono::microseconds(50));
        continue;
      }
      answered = told;
      for (int n = engine_->next_batch(); n >= 0; n = engine_->next_batch()) look_(*engine_, n);
    }
  }

  std::function<void(ApplianceEngine&, int)> look_;
  std::function<void(ApplianceEngine&)> turn_;
  std::atomic<uint32_t> told_{0};
  std::atomic<bool> over_{false};
  std::unique_ptr<ApplianceEngine> engine_;
  std::thread thread_;
};

}  // namespace gwlb::test
