// A gateway without I/O, with targets and traffic.
#pragma once

#include <memory>
#include <vector>

#include "batch/packet_batch.h"
#include "bench/native/bench.h"
#include "gateway/gateway.h"
#include "test/native/packets.h"
#include "wire/inner.h"

namespace gwlb::bench {

inline constexpr uint32_t kRigBatch = 64;

inline test::Bytes packet4(uint32_t flow) {
  return test::ipv4(0x0b000000 + flow, 0x0a000001, 17, test::udp(5000, 53));
}
inline test::Bytes packet6(uint32_t flow) {
  test::Bytes packet = test::ipv6(1, 2, 6, test::tcp(5000, 443, wire::kAck));
  test::put32(packet, 16, flow);
  return packet;
}

inline std::vector<select::TargetSpec> ten_targets() {
  std::vector<select::TargetSpec> specs(10);
  for (uint16_t i = 0; i < 10; ++i) {
    specs[i].slot = i;
    specs[i].address = 0x0a000001 + i;
    specs[i].identity = i;
    specs[i].flags = select::kRegistered | select::kEligible;
  }
  return specs;
}

// A gateway and a packet of each of its flows, in batches. `flows`: whole batches.
struct GatewayRig {
  std::unique_ptr<gateway::Gateway> gateway;
  std::vector<std::unique_ptr<batch::PacketBatch>> batches;
  std::vector<test::Bytes> packets;

  // `capacity` is that of each family's table; a quarter of it may be flows in probation.
  GatewayRig(uint32_t flows, test::Bytes (*packet)(uint32_t flow), uint32_t capacity,
             uint32_t events = 0) {
    gateway::GatewayConfig config;
    config.hash_key = {1, 2};
    config.cookie_key = {3, 4};
    config.flows_ipv4 = config.flows_ipv6 = capacity;
    config.promotion = gateway::Promotion::ingress;  // one end speaks here, also of connections
    config.events = events;
    gateway = gateway::Gateway::create(config);
    gateway::EndpointSpec endpoint;
    endpoint.kind = gateway::EndpointKind::batch;
    endpoint.id = 1;
    gateway->set_endpoint(0, endpoint);
    gateway->set_targets(select::TargetTable::build(ten_targets(), 1, false, 1));
    for (uint32_t i = 0; i < flows; ++i) packets.push_back(packet(i));
    for (uint32_t i = 0; i < flows / kRigBatch; ++i) {
      batches.push_back(batch::PacketBatch::create(kRigBatch, base::kSlotStrideStandard));
    }
  }
  void fill() {
    for (uint32_t flow = 0; flow < packets.size(); ++flow) {
      batch::PacketBatch& batch = *batches[flow / kRigBatch];
      const uint32_t i = flow % kRigBatch;
      batch.count = kRigBatch;
      batch.reset(i, static_cast<uint32_t>(packets[flow].size()));
      batch.endpoint[i] = 0;
      std::memcpy(batch.packet(i), packets[flow].data(), packets[flow].size());
    }
  }
  // Opens every flow, each confirmed by its target; leaves the batches as they came back.
  void open(uint64_t now_ms) {
    fill();
    for (auto& batch : batches) confirm(*gateway, *batch, now_ms);
  }
  // There and back until the flows of these packets are in probation no more.
  static void confirm(gateway::Gateway& gateway, batch::PacketBatch& batch, uint64_t now_ms) {
    for (uint32_t n = 0; n < base::kOneSidedPackets; ++n) {
      gateway.to_targets(batch, now_ms);
      turn(batch);
      gateway.from_targets(batch, now_ms);
      turn(batch);
    }
  }
  void to_targets(uint64_t now_ms) {
    for (auto& batch : batches) gateway->to_targets(*batch, now_ms);
  }
  // What the targets return: the same bytes, from the address they were sent to.
  static void turn(batch::PacketBatch& batch) {
    for (uint32_t i = 0; i < kRigBatch; ++i) {
      prove(batch.verdict[i] == static_cast<uint8_t>(batch::Verdict::forward),
            "every packet is forwarded");
      batch.verdict[i] = static_cast<uint8_t>(batch::Verdict::pending);
    }
  }
  void turn() {
    for (auto& batch : batches) turn(*batch);
  }
  void from_targets(uint64_t now_ms) {
    for (auto& batch : batches) gateway->from_targets(*batch, now_ms);
  }
};

}  // namespace gwlb::bench
