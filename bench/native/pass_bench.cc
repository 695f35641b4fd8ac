// The whole pass in memory: parse, key, hash, look up, refresh, encapsulate; and back: GENEVE,
// options, inner packet, key, hash, look up, check the cookie, decapsulate. 64 packets a batch,
// flows that are there already. The limit is what it costs to read and write the same header lines;
// the peer only parses, keys and hashes.
#include <cstdlib>
#include <memory>
#include <random>

#include "batch/packet_batch.h"
#include "bench/native/bench.h"
#include "gateway/gateway.h"
#include "test/native/packets.h"
#include "wire/inner.h"

using namespace gwlb;

namespace {

constexpr uint32_t kBatch = 64;
constexpr uint32_t kBatches = 16;

struct Rig {
  std::unique_ptr<gateway::Gateway> gateway;
  std::vector<std::unique_ptr<batch::PacketBatch>> batches;
  std::vector<test::Bytes> packets;
  std::mt19937_64 random{7};
  uint64_t now_ms = 1;

  explicit Rig(uint32_t flows) {
    gateway::GatewayConfig config;
    config.hash_key = {1, 2};
    config.cookie_key = {3, 4};
    config.flows_ipv4 = flows * 5 / 4;
    config.flows_ipv6 = base::kFlowsMin;
    config.events = 0;
    gateway = gateway::Gateway::create(config);
    gateway::EndpointSpec endpoint;
    endpoint.kind = gateway::EndpointKind::batch;
    endpoint.id = 1;
    gateway->set_endpoint(0, endpoint);
    std::vector<select::TargetSpec> targets(10);
    for (uint16_t i = 0; i < 10; ++i) {
      targets[i].slot = i;
      targets[i].address = 0x0a000001 + i;
      targets[i].identity = i;
      targets[i].flags = select::kRegistered | select::kEligible;
    }
    gateway->set_targets(select::TargetTable::build(targets, 1, false, 1));
    for (uint32_t i = 0; i < kBatches; ++i) {
      batches.push_back(batch::PacketBatch::create(kBatch, base::kSlotStrideStandard));
    }
    for (uint32_t i = 0; i < flows; ++i) packets.push_back(packet(i));
    // Every flow is opened once.
    for (uint32_t i = 0; i < flows; i += kBatch) {
      for (uint32_t k = 0; k < kBatch; ++k) put(*batches[0], k, packets[(i + k) % flows]);
      gateway->to_targets(*batches[0], now_ms);
    }
  }

  static test::Bytes packet(uint32_t flow) {
    return test::ipv4(0x0b000000 + flow, 0x0a000001, 17, test::udp(5000, 53));
  }

  void put(batch::PacketBatch& batch, uint32_t i, const test::Bytes& bytes) {
    batch.count = kBatch;
    batch.reset(i, static_cast<uint32_t>(bytes.size()));
    batch.endpoint[i] = 0;
    std::memcpy(batch.packet(i), bytes.data(), bytes.size());
  }

  // Random flows into all batches: headers are in the cache afterwards, flow records are not.
  void fill() {
    for (auto& batch : batches) {
      for (uint32_t i = 0; i < kBatch; ++i) put(*batch, i, packets[random() % packets.size()]);
    }
  }

  void enter() {
    for (auto& batch : batches) gateway->to_targets(*batch, now_ms);
  }

  // What the targets return: the same bytes, from the address they were sent to.
  void turn() {
    for (auto& batch : batches) {
      for (uint32_t i = 0; i < kBatch; ++i) {
        if (batch->verdict[i] != static_cast<uint8_t>(batch::Verdict::forward)) std::abort();
        batch->verdict[i] = static_cast<uint8_t>(batch::Verdict::pending);
      }
    }
  }

  void come_back() {
    for (auto& batch : batches) gateway->from_targets(*batch, now_ms);
  }

  void parse_only() {
    for (auto& batch : batches) {
      for (uint32_t i = 0; i < kBatch; ++i) {
        wire::InnerPacket inner;
        flow::FlowKey4 key;
        if (!wire::parse_inner(batch->packet(i), batch->length[i], &inner).ok()) std::abort();
        flow::make_key(inner, flow::Stickiness::five_tuple, 0, &key);
        bench::use(flow::hash_key({1, 2}, key));
      }
    }
  }

  void touch_lines() {
    for (auto& batch : batches) {
      for (uint32_t i = 0; i < kBatch; ++i) {
        uint8_t* at = batch->packet(i);
        bench::use(base::load<uint64_t>(at));
        std::memset(at - 40, 1, 40);
      }
    }
  }
};

void pass(bench::Suite& suite, uint32_t flows, const std::string& name) {
  if (!suite.wanted(name)) return;
  Rig rig(flows);
  const auto packets = [](auto work) {
    return [work](uint32_t) {
      work();
      return uint64_t{kBatch} * kBatches;
    };
  };
  const auto fill = [&](uint32_t) { rig.fill(); };
  const auto returned = [&](uint32_t) {
    rig.fill();
    rig.enter();
    rig.turn();
  };
  suite.run("to targets " + name, "ns", 101, 1,
            {{"ours", packets([&] { rig.enter(); }), fill},
             {"limit", packets([&] { rig.touch_lines(); }), fill},
             {"parse, key, hash", packets([&] { rig.parse_only(); }), fill}});
  suite.run("from targets " + name, "ns", 101, 1,
            {{"ours", packets([&] { rig.come_back(); }), returned},
             {"limit", packets([&] { rig.touch_lines(); }), fill}});
}

}  // namespace

int main(int argc, char** argv) {
  bench::Options options;
  if (!bench::parse_options(argc, argv, &options)) return 2;
  bench::Suite suite("pass", options);
  pass(suite, 10'000, "10k flows");
  if (!options.quick) {
    pass(suite, 100'000, "100k flows");
    pass(suite, 1'000'000, "1m flows");
  }
  return 0;
}
