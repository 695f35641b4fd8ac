// A gateway with many flows, and batches of their packets in any order: what the whole pass is
// measured with.
#pragma once

#include <random>

#include "base/prefetch.h"
#include "bench/native/gateway_rig.h"
#include "flow/pages.h"

namespace gwlb::bench {

enum class Traffic : uint8_t {
  uniform,  // IPv4 UDP of flows that are there
  mixed,    // half IPv6; of 100 packets 10 open a flow, 3 are fragments, 2 ICMP errors
};

struct PassRig {
  static constexpr uint32_t kFresh = 0x01000000;  // numbers of new flows begin here
  std::unique_ptr<gateway::Gateway> gateway;
  std::vector<std::unique_ptr<batch::PacketBatch>> batches;
  Traffic traffic;
  uint32_t flows;
  uint32_t next_flow = kFresh;
  uint16_t train = 0;                  // the latest; 0: none yet
  std::unique_ptr<flow::Pages> lines;  // as much memory as the flow tables have
  std::vector<uint32_t> line_numbers;
  std::mt19937_64 random{7};
  uint64_t now_ms = 1;

  // Every flow has been opened once, and confirmed by its target.
  PassRig(uint32_t n, uint32_t batch_count, Traffic of = Traffic::uniform) : traffic(of), flows(n) {
    gateway::GatewayConfig config;
    config.hash_key = {1, 2};
    config.cookie_key = {3, 4};
    config.flows_ipv4 = config.flows_ipv6 = flows * 5 / 8;
    if (traffic == Traffic::uniform) {
      config.flows_ipv4 = flows * 5 / 4;
      config.flows_ipv6 = base::kFlowsMin;
    }
    config.events = 0;
    gateway = gateway::Gateway::create(config);
    gateway::EndpointSpec endpoint;
    endpoint.kind = gateway::EndpointKind::batch;
    endpoint.id = 1;
    gateway->set_endpoint(0, endpoint);
    gateway->set_targets(select::TargetTable::build(ten_targets(), 1, false, 1));
    for (uint32_t i = 0; i < batch_count; ++i) {
      batches.push_back(batch::PacketBatch::create(kRigBatch, base::kSlotStrideStandard));
    }
    lines = std::make_unique<flow::Pages>(flow::Pages::map(gateway->memory_bytes()));
    line_numbers.resize(packets());
    for (uint32_t i = 0; i < flows; i += kRigBatch) {
      for (uint32_t k = 0; k < kRigBatch; ++k) put_flow(*batches[0], k, (i + k) % flows);
      GatewayRig::confirm(*gateway, *batches[0], now_ms);
    }
  }

  uint64_t packets() const { return uint64_t{kRigBatch} * batches.size(); }

  static void put(batch::PacketBatch& batch, uint32_t i, const test::Bytes& bytes) {
    batch.count = kRigBatch;
    batch.reset(i, static_cast<uint32_t>(bytes.size()));
    batch.endpoint[i] = 0;
    std::memcpy(batch.packet(i), bytes.data(), bytes.size());
  }
  bool is_ipv6(uint32_t flow) const { return traffic == Traffic::mixed && flow % 2 == 1; }
  void put_flow(batch::PacketBatch& batch, uint32_t i, uint32_t flow) const {
    static const test::Bytes four = packet4(0);
    static const test::Bytes six = test::ipv6(1, 2, 17, test::udp(5000, 53));
    const bool is6 = is_ipv6(flow);
    put(batch, i, is6 ? six : four);
    base::store_be32(batch.packet(i) + (is6 ? 16 : 12), 0x0b000000 + flow);
  }
  uint32_t any_flow() { return static_cast<uint32_t>(random() % flows); }
  void put_mixed(batch::PacketBatch& batch, uint32_t i) {
    const uint64_t lot = random() % 200;
    const uint32_t source = 0x0b000000 + any_flow() / 2 * 2;  // IPv4
    if (lot < 20) {
      put_flow(batch, i, next_flow++);
    } else if (lot < 26) {
      // A first fragment, and then the later one of its train.
      const bool later = lot % 2 == 1 && train != 0;
      if (!later) ++train;
      put(batch, i,
          test::ipv4(0x0c000000 + train, 0x0a000001, 17, test::udp(5000, 53), later ? 2 : 0x2000,
                     train));
    } else if (lot < 30) {
      test::Bytes error(8);
      error[0] = error[1] = 3;
      test::append(error, test::ipv4(source, 0x0a000001, 17, test::udp(5000, 53)));
      put(batch, i, test::ipv4(0x0d000001, source, 1, error));
    } else {
      put_flow(batch, i, any_flow());
    }
  }

  // New packets in all batches. Where these fit the cache the headers are in it afterwards.
  void fill() {
    for (auto& batch : batches) {
      for (uint32_t i = 0; i < kRigBatch; ++i) {
        traffic == Traffic::mixed ? put_mixed(*batch, i) : put_flow(*batch, i, any_flow());
      }
    }
    const uint64_t line_count = lines->bytes() / 64;
    for (uint32_t& line : line_numbers) line = static_cast<uint32_t>(random() % line_count);
  }
  void enter() {
    for (auto& batch : batches) gateway->to_targets(*batch, now_ms);
  }
  void turn() {
    for (auto& batch : batches) GatewayRig::turn(*batch);
  }
  void come_back() {
    for (auto& batch : batches) gateway->from_targets(*batch, now_ms);
  }

  // One independent line of the table's memory for each packet.
  void limit() const {
    const auto* memory = static_cast<const uint8_t*>(lines->data());
    uint64_t sum = 0;
    for (size_t at = 0; at < line_numbers.size(); at += kRigBatch) {
      for (uint32_t i = 0; i < kRigBatch; ++i) {
        base::prefetch(memory + size_t{line_numbers[at + i]} * 64);
      }
      for (uint32_t i = 0; i < kRigBatch; ++i) {
        sum += base::load<uint64_t>(memory + size_t{line_numbers[at + i]} * 64);
      }
    }
    use(sum);
  }
};

}  // namespace gwlb::bench
