// Gateway workers over fake ports: each has a tunnel and a queue of one device, an appliance
// answers at the tunnels' other end, and whatever the ports do, the books have to balance.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "engine/worker.h"
#include "test/native/bulk_rig.h"
#include "test/native/fake_port.h"
#include "test/native/faulty_port.h"

namespace gwlb::test {

inline constexpr uint32_t kRigTarget = 0x0a630002;
inline constexpr uint32_t kRigPeer = 0x0a630100;
inline constexpr uint16_t kRigDevice = 3;  // endpoint indices
inline constexpr uint16_t kRigGeneve = 4;

struct WorkerRigConfig {
  uint32_t workers = 1;
  Faults faults = {};
  uint64_t seed = 1;
  bool halves = false;  // ports leave the half of a batch in it
  bool returns = true;  // the appliance returns what it gets
  bool no_targets = false;
  bool offload = true;             // slots for super-packets
  FakePort::Refusal refusal = {};  // of every port
};

class WorkerRig {
 public:
  using Counter = gateway::GatewayCounter;

  explicit WorkerRig(const WorkerRigConfig& config) : config_(config) {
    engine::GatewayWorker::Config each;
    each.gateway.hash_key = {11, 12};
    each.gateway.cookie_key = {13, 14};
    each.gateway.flows_ipv4 = each.gateway.flows_ipv6 = base::kFlowsMin;
    each.gateway.mtu = 1500;
    each.gateway.mid_stream = gateway::MidStream::pickup;
    each.gateway.fail_open = config.no_targets;
    each.gateway.counted_by_sender = true;
    each.gateway.flow_counters = true;
    each.workers = config.workers;
    each.stride = base::kSlotStrideStandard;
    each.offload = config.offload;
    each.ring_slots = config.workers > 1 ? base::kEngineBatchPackets : 0;
    for (uint32_t k = 0; k < config.workers; ++k) add(each, k);
    std::vector<engine::GatewayWorker*> all;
    for (const auto& worker : workers) all.push_back(worker.get());
    for (engine::GatewayWorker* worker : all) worker->set_workers(all);
    for (uint32_t k = 0; k < config.workers; ++k)
      workers[k]->add_port(kRigDevice, lines[2 * k + 1]);
  }

  // Every packet is read by one worker, and its owner may be another.
  void enter(uint32_t worker, Item item) { devices[worker]->put(std::move(item)); }
  void send_as_peer(uint32_t worker, const Bytes& packet) {
    Bytes datagram(8);
    put16(datagram, 2, packet.empty() || packet[0] >> 4 == 4 ? 0x0800 : 0x86dd);
    put32(datagram, 4, 7u << 8);
    append(datagram, packet);
    tunnels[worker]->put({std::move(datagram), kRigPeer, 6081});
  }

  // Until nothing is left to do at this time. False where that takes too long to be true.
  bool settle() {
    int quiet = 0;
    uint64_t done = 0;
    for (int round = 0; round < 100'000 && quiet < 2; ++round) {
      bool busy = false;
      for (const auto& worker : workers) busy |= worker->step(now_ms);
      // What was handed to a worker that was stepped before is no idleness.
      const uint64_t before = done;
      done = received() + fates();
      busy |= done != before;
      for (const auto& port : tunnels) busy |= !port->empty();
      for (const auto& port : devices) busy |= !port->empty();
      // A worker may have been given something by one that was stepped after it.
      quiet = busy ? 0 : quiet + 1;
    }
    return quiet == 2;
  }
  void finish() {
    for (const auto& worker : workers) worker->ask_stop();
    for (const auto& worker : workers) worker->join();
    for (const auto& worker : workers) worker->finish();
  }

  uint64_t count(Counter which) const {
    uint64_t sum = 0;
    for (const auto& worker : workers) sum += worker->gateway().counters().get(which);
    return sum;
  }
  uint64_t drops(base::DropReason which) const {
    uint64_t sum = 0;
    for (const auto& worker : workers) sum += worker->gateway().counters().drops(which);
    return sum;
  }
  uint64_t all_drops() const {
    uint64_t sum = 0;
    for (uint32_t k = 1; k < base::kDropReasons; ++k)
      sum += drops(static_cast<base::DropReason>(k));
    return sum;
  }
  uint64_t received() const {
    uint64_t sum = 0;
    for (const auto& line : lines) sum += line->received();
    return sum;
  }
  uint64_t fates() const {
    return count(Counter::packets_to_targets) + count(Counter::packets_out) +
           count(Counter::packets_waiting) + count(Counter::probes_returned) + all_drops();
  }
  uint64_t sent() const {
    uint64_t sum = 0;
    for (const auto& line : lines) sum += line->sent();
    return sum;
  }

  // "" where every packet that was read has one fate or one reason, and what is counted as sent has
  // been sent. Datagrams that are of no target and no endpoint are drops alone.
  std::string books() const {
    const uint64_t gone = count(Counter::packets_to_targets) + count(Counter::packets_out) +
                          count(Counter::packets_replied) - count(Counter::replies_unsent);
    const std::string wrong = differ("read", received(), "fates", fates());
    return wrong.empty() ? differ("sent", sent(), "counted as sent", gone) : wrong;
  }

  std::vector<std::shared_ptr<FakePort>> tunnels, devices;  // by worker
  // What the workers see of them: tunnel and device of each worker.
  std::vector<std::shared_ptr<FaultyPort>> lines;
  std::vector<std::unique_ptr<engine::GatewayWorker>> workers;
  uint64_t now_ms = 1'000'000;

 private:
  static std::string differ(const char* what, uint64_t a, const char* other, uint64_t b) {
    if (a == b) return "";
    return std::string(what) + " " + std::to_string(a) + ", " + other + " " + std::to_string(b);
  }

  void add(engine::GatewayWorker::Config& each, uint32_t k) {
    for (auto* ports : {&tunnels, &devices}) {
      ports->push_back(std::make_shared<FakePort>(each.stride - base::kHeadroom));
      if (config_.halves) ports->back()->in_halves();
      if (config_.refusal) ports->back()->refuse(config_.refusal);
      lines.push_back(
          std::make_shared<FaultyPort>(ports->back(), config_.faults, config_.seed + lines.size()));
    }
    tunnels[k]->leave([this](Item&& item) { answer(std::move(item)); });
    each.index = k;
    std::unique_ptr<engine::GatewayWorker> worker;
    const io::OsError error = engine::GatewayWorker::create(each, lines[2 * k], &worker);
    GWLB_ASSERT(error.ok());
    gateway::EndpointSpec device;
    device.kind = gateway::EndpointKind::tun;
    device.id = 0x0123456789abcdef;
    device.cuts = true;
    worker->gateway().set_endpoint(kRigDevice, device);
    gateway::EndpointSpec peer = device;
    peer.kind = gateway::EndpointKind::geneve;
    peer.id += 1;
    peer.peer = kRigPeer;
    peer.vni = 7;
    worker->gateway().set_endpoint(kRigGeneve, peer);
    if (!config_.no_targets) worker->gateway().set_targets(target());
    workers.push_back(std::move(worker));
  }

  static std::shared_ptr<const select::TargetTable> target() {
    select::TargetSpec target;
    target.address = kRigTarget;
    target.flags = select::kRegistered | select::kEligible;
    target.identity = 5;
    return select::TargetTable::build({target}, 1, false, 9);
  }

  // The appliance: returns to a worker that may be any.
  void answer(Item&& item) {
    if (item.address != kRigTarget || !config_.returns) return;
    const size_t to = item.bytes.empty() ? 0 : item.bytes.back() % tunnels.size();
    item.port = 6081;
    tunnels[to]->put(std::move(item));
  }

  const WorkerRigConfig config_;
};

// Packets of every kind that a device or a peer may bring, by seed.
class Traffic {
 public:
  explicit Traffic(uint64_t seed) : random_(seed * 2 + 1) {}

  uint32_t random(uint32_t below) {
    random_ = random_ * 6364136223846793005 + 1442695040888963407;
    return static_cast<uint32_t>((random_ >> 33) % below);
  }
  Item next() {
    const uint32_t client = 0xcb007100 + random(64);
    const auto port = static_cast<uint16_t>(1024 + random(64));
    switch (random(12)) {
      case 0:
        return {ipv4(client, 0x0a00020a, 6, tcp(port, 443, 2))};
      case 1:
        return {ipv4(client, 0x0a00020a, 6, tcp(port, 443, 16, random(1200)))};
      case 2:
        return {ipv4(client, 0x0a00020a, 6, tcp(port, 443, random(64) & 0xff))};
      case 3:  // the first, later or last fragment of one of a few trains
        return {ipv4(client, 0x0a00020a, 17, udp(port, 53, 16 + 8 * random(8)),
                     static_cast<uint16_t>((random(2) << 13) | random(4) * 4),
                     static_cast<uint16_t>(random(8)))};
      case 4:  // longer than the MTU, and may be cut
        return {ipv4(client, 0x0a00020a, 17, udp(port, 53, 1500 + random(400)))};
      case 5:  // longer than the MTU, and must not be: it is answered
        return {ipv4(client, 0x0a00020a, 17, udp(port, 53, 1500 + random(400)), 0x4000)};
      case 6: {  // a super-packet
        Bulk of;
        of.source = client;
        of.destination = 0x0a00020a;
        of.source_port = port;
        of.payload = 1 + random(12'000);
        return {bulk_packet(of), 0, 0, static_cast<uint16_t>(500 + random(900))};
      }
      case 7:
        return {ipv6(static_cast<uint8_t>(random(16)), 9, 17, udp(port, 53, random(600)))};
      case 8:
        return {ipv4(client, 0x0a00020a, 1, icmp_echo(false, port))};
      case 9:
        return {
            ipv4(0x0a00020a, client, 1, unreachable(ipv4(client, 0x0a00020a, 17, udp(port, 53))))};
      case 10: {  // no packet at all
        Bytes bytes(random(100));
        for (uint8_t& byte : bytes) byte = static_cast<uint8_t>(random(256));
        return {bytes};
      }
      default:
        return {ipv4(client, 0x0a00020a, 17, udp(port, 53, random(1000)))};
    }
  }

 private:
  // ICMP port unreachable about it.
  static Bytes unreachable(const Bytes& about) {
    Bytes b(8);
    b[0] = b[1] = 3;
    append(b, about);
    put16(b, 2, ones_complement(b.data(), b.size()));
    return b;
  }

  uint64_t random_;
};

}  // namespace gwlb::test
