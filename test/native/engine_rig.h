// A gateway engine on 127.0.1.2, an echoing appliance on 127.0.1.3, a GENEVE peer on 127.0.1.4, and
// a TUN device's other side.
#pragma once

#include <linux/if_ether.h>
#include <linux/if_packet.h>

#include <atomic>
#include <memory>
#include <optional>
#include <string>
#include <thread>

#include "engine/gateway_engine.h"
#include "test/native/eventually.h"
#include "test/native/io_rig.h"
#include "test/native/test.h"

namespace gwlb::test {

using base::DropReason;
using gateway::GatewayCounter;

inline constexpr uint32_t kGateway = 0x7f000102;
inline constexpr uint32_t kTarget = 0x7f000103;
inline constexpr uint32_t kPeer = 0x7f000104;
inline constexpr uint64_t kEndpointId = 0x0123456789abcdef;

// A UDP packet of flow `flow` with a number in its payload. Flows differ in their addresses, so
// that they have different owners.
inline Bytes numbered(uint32_t flow, uint32_t number, uint32_t payload = 32) {
  Bytes transport = udp(static_cast<uint16_t>(20000 + flow % 1000), 53, payload);
  put32(transport, 8, flow);
  put32(transport, 12, number);
  return ipv4(0x0a010000 + flow, 0x0a020001, 17, transport);
}
inline uint32_t number_at(const Bytes& bytes, size_t at) {
  return static_cast<uint32_t>(bytes[at]) << 24 | bytes[at + 1] << 16 | bytes[at + 2] << 8 |
         bytes[at + 3];
}

inline Bytes geneve(const Bytes& inner, uint32_t vni = 7) {
  Bytes out(8);
  put16(out, 2, inner.empty() || inner[0] >> 4 == 4 ? 0x0800 : 0x86dd);
  put32(out, 4, vni << 8);
  out.insert(out.end(), inner.begin(), inner.end());
  return out;
}

inline engine::GatewayEngineConfig config_for(uint32_t workers, const std::string& netns = "") {
  engine::GatewayEngineConfig config;
  config.gateway.hash_key = {11, 12};
  config.gateway.cookie_key = {13, 14};
  config.gateway.flows_ipv4 = config.gateway.flows_ipv6 = 2 * base::kFlowsMin;
  config.udp.address = kGateway;
  config.udp.port = 0;
  config.udp.netns = netns;
  config.udp.offload = true;
  config.udp.source_port_base = 43000;
  config.udp.source_port_count = 16;
  config.workers = workers;
  return config;
}

struct Account {
  engine::GatewayEngine& engine;
  uint64_t count(GatewayCounter which) const {
    uint64_t sum = 0;
    for (uint32_t w = 0; w < engine.workers(); ++w) sum += engine.counters(w).get(which);
    return sum;
  }
  uint64_t drops(DropReason which) const {
    engine.count_losses();
    uint64_t sum = 0;
    for (uint32_t w = 0; w < engine.workers(); ++w) sum += engine.counters(w).drops(which);
    return sum;
  }
  uint64_t all_drops() const {
    uint64_t sum = 0;
    for (uint32_t k = 1; k < base::kDropReasons; ++k) sum += drops(static_cast<DropReason>(k));
    return sum;
  }
  uint64_t input_drops() const {
    return drops(DropReason::receive_overflow) + drops(DropReason::receive_truncated) +
           drops(DropReason::worker_ring_full);
  }
};

// Returns every datagram to the gateway's port, whatever port it came from.
class EchoAppliance {
 public:
  EchoAppliance(const PrivateNetns* netns, uint16_t gateway_port) : gateway_port_(gateway_port) {
    const auto open = [this] { socket_ = std::make_unique<PlainUdp>(kTarget, 0, 20); };
    if (netns != nullptr) {
      netns->run(open);
    } else {
      open();
    }
    thread_ = std::thread([this] { run(); });
  }
  ~EchoAppliance() { stop(); }
  void stop() {
    stop_ = true;
    if (thread_.joinable()) thread_.join();
  }
  uint16_t port() const { return socket_->port(); }
  uint64_t received() const { return received_; }
  uint64_t returned() const { return returned_; }

 private:
  void run() {
    Bytes bytes;
    while (!stop_) {
      if (!socket_->receive(&bytes)) continue;
      ++received_;
      if (socket_->send(bytes, kGateway, gateway_port_)) ++returned_;
    }
  }
  uint16_t gateway_port_;
  std::unique_ptr<PlainUdp> socket_;
  std::thread thread_;
  std::atomic<bool> stop_{false};
  std::atomic<uint64_t> received_{0};
  std::atomic<uint64_t> returned_{0};
};

inline std::shared_ptr<const select::TargetTable> one_target(uint16_t port) {
  select::TargetSpec target;
  target.address = kTarget;
  target.port = port;
  target.flags = select::kRegistered | select::kEligible;
  target.identity = 5;
  return select::TargetTable::build({target}, 1, false, 9);
}

inline gateway::EndpointSpec peer_endpoint(uint16_t port) {
  gateway::EndpointSpec endpoint;
  endpoint.kind = gateway::EndpointKind::geneve;
  endpoint.id = kEndpointId;
  endpoint.peer = kPeer;
  endpoint.peer_port = port;
  endpoint.vni = 7;
  return endpoint;
}

inline std::unique_ptr<engine::GatewayEngine> started(const engine::GatewayEngineConfig& config) {
  std::unique_ptr<engine::GatewayEngine> engine;
  io::OsError error = engine::GatewayEngine::open(config, &engine);
  if (error.ok()) error = engine->run();
  CHECK_EQ(io::sentence(error), "");
  return engine;
}

// How the device of an endpoint is now; nothing where it has none.
inline std::optional<io::LinkState> device_state(engine::GatewayEngine& engine, uint16_t index) {
  for (const auto& device : engine.look_at_devices()) {
    if (device.index == index) return device.state;
  }
  return std::nullopt;
}

// A packet socket on a TUN device: what it sends enters the endpoint, what it receives left by it.
class TunSide {
 public:
  TunSide(const PrivateNetns& netns, const char* device) {
    netns.run([&] {
      fd_ = socket(AF_PACKET, SOCK_DGRAM | SOCK_CLOEXEC, htons(ETH_P_IP));
      address_.sll_family = AF_PACKET;
      address_.sll_protocol = htons(ETH_P_IP);
      address_.sll_ifindex = static_cast<int>(if_nametoindex(device));
      const timeval timeout{kPatienceMs / 1000, 0};
      setsockopt(fd_, SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof timeout);
      const int room = 8 << 20;
      setsockopt(fd_, SOL_SOCKET, SO_RCVBUFFORCE, &room, sizeof room);
      const int ignore = 1;
      setsockopt(fd_, SOL_PACKET, PACKET_IGNORE_OUTGOING, &ignore, sizeof ignore);
      open_ = bind(fd_, reinterpret_cast<const sockaddr*>(&address_), sizeof address_) == 0;
    });
  }
  ~TunSide() { close(fd_); }
  bool open() const { return open_; }
  bool enter(const Bytes& packet) {
    return sendto(fd_, packet.data(), packet.size(), 0,
                  reinterpret_cast<const sockaddr*>(&address_),
                  sizeof address_) == static_cast<ssize_t>(packet.size());
  }
  bool leave(Bytes* packet) {
    packet->resize(10000);
    const ssize_t n = recv(fd_, packet->data(), packet->size(), 0);
    packet->resize(n < 0 ? 0 : static_cast<size_t>(n));
    return n >= 0;
  }

 private:
  int fd_ = -1;
  bool open_ = false;
  sockaddr_ll address_{};
};

inline bool can_make_tun(const PrivateNetns& netns) {
  return netns.made() && access("/dev/net/tun", R_OK | W_OK) == 0;
}
inline constexpr char kNoTun[] = "no network namespace or no TUN device can be made here";

inline io::TunConfig tun_in(const PrivateNetns& netns, const char* name = "gwlbt0") {
  io::TunConfig tun;
  tun.name = name;
  tun.netns = netns.path();
  return tun;
}
inline gateway::EndpointSpec tun_endpoint() {
  gateway::EndpointSpec endpoint;
  endpoint.id = kEndpointId;
  return endpoint;
}

}  // namespace gwlb::test
