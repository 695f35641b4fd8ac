// A gateway with three targets and two endpoints, and a pass-through appliance beside it, driven
// packet by packet with a clock the test holds.
#pragma once

#include <algorithm>
#include <memory>
#include <vector>

#include "gateway/cookie.h"
#include "gateway/gateway.h"
#include "test/native/packets.h"
#include "test/native/test.h"
#include "wire/segment.h"

namespace gwlb::test {

inline constexpr uint32_t kClient = 0xcb007109;  // 203.0.113.9
inline constexpr uint32_t kServer = 0x0a00020a;  // 10.0.2.10
inline constexpr uint64_t kEndpointIds[2] = {0x123456789abcdef0, 0x123456789abcdef1};

struct Rig {
  gateway::GatewayConfig config;
  std::vector<select::TargetSpec> targets;
  std::unique_ptr<gateway::Gateway> gateway;
  std::unique_ptr<batch::PacketBatch> batch;
  uint64_t now_ms = 1'000'000;

  explicit Rig(uint32_t target_count = 3, void (*adjust)(gateway::GatewayConfig&) = nullptr) {
    config.hash_key = {1, 2};
    config.cookie_key = {3, 4};
    config.flows_ipv4 = config.flows_ipv6 = base::kFlowsMin;
    config.mid_stream = gateway::MidStream::drop;
    if (adjust != nullptr) adjust(config);
    gateway = gateway::Gateway::create(config);
    batch = batch::PacketBatch::create(64, base::kSlotStrideJumbo);
    for (uint16_t i = 0; i < 2; ++i) {
      gateway::EndpointSpec endpoint;
      endpoint.kind = gateway::EndpointKind::batch;
      endpoint.id = kEndpointIds[i];
      gateway->set_endpoint(i, endpoint);
    }
    for (uint16_t slot = 0; slot < target_count; ++slot) {
      select::TargetSpec target;
      target.slot = slot;
      target.address = 0x0a630002 + slot;
      target.flags = select::kRegistered | select::kEligible;
      target.identity = 77 + slot;
      targets.push_back(target);
    }
    publish();
  }

  // Changes what `change(live)` does.
  template <class Change>
  void configure(Change change) {
    gateway::LiveConfig live = gateway->config();
    change(live);
    gateway->configure(live);
  }
  void publish() { gateway->set_targets(select::TargetTable::build(targets, 1, false, 9)); }

  void load(uint32_t i, const Bytes& bytes) {
    batch->reset(i, static_cast<uint32_t>(bytes.size()));
    std::memcpy(batch->packet(i), bytes.data(), bytes.size());
  }
  Bytes bytes(uint32_t i) const { return {batch->packet(i), batch->packet(i) + batch->length[i]}; }

  // One packet into an endpoint. The verdict and everything else is in batch slot 0.
  batch::Verdict enter(const Bytes& packet, uint16_t endpoint = 0) {
    batch->count = 1;
    load(0, packet);
    batch->endpoint[0] = endpoint;
    gateway->to_targets(*batch, now_ms);
    return static_cast<batch::Verdict>(batch->verdict[0]);
  }

  // The same of a super-packet, as TUN devices with offloads leave it.
  batch::Verdict enter_super(const Bytes& packet, uint32_t segment) {
    batch->count = 1;
    load(0, packet);
    batch->endpoint[0] = 0;
    wire::SuperPacket super;
    const bool ok = wire::parse_super_packet(batch->packet(0), batch->length[0], segment, &super);
    CHECK(ok && super.count > 1);
    batch->make_super(0, super.count, super.headers, super.segment);
    gateway->to_targets(*batch, now_ms);
    return static_cast<batch::Verdict>(batch->verdict[0]);
  }

  // One datagram from a target (or anyone).
  batch::Verdict come_back(const Bytes& datagram, uint32_t address, uint8_t tos = 0) {
    batch->count = 1;
    load(0, datagram);
    batch->address[0] = address;
    batch->port[0] = 40000;
    batch->tos[0] = tos;
    gateway->from_targets(*batch, now_ms);
    return static_cast<batch::Verdict>(batch->verdict[0]);
  }

  base::DropReason reason() const { return static_cast<base::DropReason>(batch->reason[0]); }

  // Enters, and is returned unchanged by its target.
  struct Trip {
    bool done = false;
    uint16_t target = base::kNoTarget;
    uint32_t cookie = 0;
    uint16_t source_port = 0;
    uint8_t flags = 0;
    Bytes datagram;
  };
  Trip trip(const Bytes& packet, uint16_t endpoint = 0) {
    Trip trip;
    if (enter(packet, endpoint) != batch::Verdict::forward) return trip;
    trip.target = batch->target[0];
    trip.cookie = batch->cookie[0];
    trip.source_port = batch->source_port[0];
    trip.flags = batch->flags[0];
    trip.datagram = bytes(0);
    if (come_back(trip.datagram, targets[trip.target].address) != batch::Verdict::forward) {
      return trip;
    }
    trip.done = bytes(0) == packet && batch->endpoint[0] == endpoint;
    return trip;
  }

  uint64_t count(gateway::GatewayCounter which) { return gateway->counters().get(which); }
  uint64_t drops(base::DropReason which) { return gateway->counters().drops(which); }
  uint64_t all_drops() {
    uint64_t sum = 0;
    for (uint32_t i = 1; i < base::kDropReasons; ++i)
      sum += drops(static_cast<base::DropReason>(i));
    return sum;
  }

  void age(uint64_t ms) {
    now_ms += ms;
    gateway->sweep(now_ms, 1u << 20);
  }
};

inline Bytes client_tcp(uint8_t flags, uint16_t port = 52144) {
  return ipv4(kClient, kServer, 6, tcp(port, 443, flags));
}
inline Bytes server_tcp(uint8_t flags, uint16_t port = 52144) {
  return ipv4(kServer, kClient, 6, tcp(443, port, flags));
}

// A connection whose handshake is over; its SYN's way.
inline Rig::Trip connect(Rig& rig, uint16_t port = 52144) {
  const Rig::Trip syn = rig.trip(client_tcp(2, port));
  rig.trip(server_tcp(2 | 16, port));
  rig.trip(client_tcp(16, port));
  return syn;
}

// The same packet of the other end; 20 or 40 bytes of IP header, ports behind it.
inline Bytes reversed(const Bytes& packet) {
  Bytes out = packet;
  const size_t address = packet[0] >> 4 == 4 ? 4 : 16;
  const size_t addresses = address == 4 ? 12 : 8;
  std::swap_ranges(out.begin() + addresses, out.begin() + addresses + address,
                   out.begin() + addresses + address);
  const size_t ports = addresses + 2 * address;
  std::swap_ranges(out.begin() + ports, out.begin() + ports + 2, out.begin() + ports + 2);
  return out;
}

// A question, its answer, and another question; the first one's way.
inline Rig::Trip talk(Rig& rig, const Bytes& question) {
  const Rig::Trip trip = rig.trip(question);
  rig.trip(reversed(question));
  rig.trip(question);
  return trip;
}

}  // namespace gwlb::test
