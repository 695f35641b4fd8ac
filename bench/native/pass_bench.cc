// The whole pass in memory: parse, key, hash, look up, refresh, encapsulate; and back: GENEVE,
// options, inner packet, key, hash, look up, check the cookie, decapsulate. 64 packets a batch,
// flows that are there already and confirmed. The limit is one independent, prefetched line of as
// much memory as the flow table has; beside it what it costs to touch the packets' own lines, and
// to parse, key and hash alone.
#include <cstdlib>
#include <memory>
#include <random>

#include "batch/packet_batch.h"
#include "bench/native/bench.h"
#include "flow/pages.h"
#include "gateway/gateway.h"
#include "test/native/packets.h"
#include "wire/inner.h"

using namespace gwlb;

namespace {

constexpr uint32_t kBatch = 64;
constexpr uint32_t kBatches = 16;
constexpr uint32_t kColdBatches = 512;  // 73 MB of slots: more than any cache

struct Rig {
  std::unique_ptr<gateway::Gateway> gateway;
  std::vector<std::unique_ptr<batch::PacketBatch>> batches;
  uint32_t flows;
  std::unique_ptr<flow::Pages> lines;  // as much memory as the flow tables have
  std::vector<uint32_t> line_numbers;
  std::mt19937_64 random{7};
  uint64_t now_ms = 1;

  Rig(uint32_t n, uint32_t batch_count) : flows(n) {
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
    for (uint32_t i = 0; i < batch_count; ++i) {
      batches.push_back(batch::PacketBatch::create(kBatch, base::kSlotStrideStandard));
    }
    lines = std::make_unique<flow::Pages>(flow::Pages::map(gateway->memory_bytes()));
    line_numbers.resize(size_t{batch_count} * kBatch);
    // Every flow is opened once, and confirmed by its target.
    for (uint32_t i = 0; i < flows; i += kBatch) {
      for (uint32_t k = 0; k < kBatch; ++k) put(*batches[0], k, (i + k) % flows);
      gateway->to_targets(*batches[0], now_ms);
      turn(*batches[0]);
      gateway->from_targets(*batches[0], now_ms);
    }
  }

  void put(batch::PacketBatch& batch, uint32_t i, uint32_t flow) {
    static const test::Bytes bytes = test::ipv4(0x0b000000, 0x0a000001, 17, test::udp(5000, 53));
    batch.count = kBatch;
    batch.reset(i, static_cast<uint32_t>(bytes.size()));
    batch.endpoint[i] = 0;
    std::memcpy(batch.packet(i), bytes.data(), bytes.size());
    base::store_be32(batch.packet(i) + 12, 0x0b000000 + flow);
  }

  // Random flows into all batches. Where these fit the cache the headers are in it afterwards.
  void fill() {
    for (auto& batch : batches) {
      for (uint32_t i = 0; i < kBatch; ++i) put(*batch, i, static_cast<uint32_t>(random() % flows));
    }
    const uint64_t line_count = lines->bytes() / 64;
    for (uint32_t& line : line_numbers) line = static_cast<uint32_t>(random() % line_count);
  }

  void enter() {
    for (auto& batch : batches) gateway->to_targets(*batch, now_ms);
  }

  // What the targets return: the same bytes, from the address they were sent to.
  static void turn(batch::PacketBatch& batch) {
    for (uint32_t i = 0; i < kBatch; ++i) {
      if (batch.verdict[i] != static_cast<uint8_t>(batch::Verdict::forward)) std::abort();
      batch.verdict[i] = static_cast<uint8_t>(batch::Verdict::pending);
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

  // One independent line of the table's memory for each packet.
  void limit() {
    const auto* memory = static_cast<const uint8_t*>(lines->data());
    uint64_t sum = 0;
    for (size_t at = 0; at < line_numbers.size(); at += kBatch) {
      for (uint32_t i = 0; i < kBatch; ++i) {
        __builtin_prefetch(memory + size_t{line_numbers[at + i]} * 64);
      }
      for (uint32_t i = 0; i < kBatch; ++i) {
        sum += base::load<uint64_t>(memory + size_t{line_numbers[at + i]} * 64);
      }
    }
    bench::use(sum);
  }

  // The packets' own lines: read the header, write in front of it.
  void touch_headers() {
    for (auto& batch : batches) {
      for (uint32_t i = 0; i < kBatch; ++i) {
        uint8_t* at = batch->packet(i);
        bench::use(base::load<uint64_t>(at));
        std::memset(at - 40, 1, 40);
      }
    }
  }
};

void pass(bench::Suite& suite, uint32_t flows, const std::string& name, bool cold = false) {
  if (!suite.wanted("to targets " + name) && !suite.wanted("from targets " + name)) return;
  Rig rig(flows, cold ? kColdBatches : kBatches);
  const auto packets = [&rig](auto work) {
    return [&rig, work](uint32_t) {
      work();
      return uint64_t{kBatch} * rig.batches.size();
    };
  };
  const auto fill = [&](uint32_t) { rig.fill(); };
  const auto returned = [&](uint32_t) {
    rig.fill();
    rig.enter();
    for (auto& batch : rig.batches) Rig::turn(*batch);
  };
  const uint32_t rounds = cold ? 21 : 101;
  if (suite.wanted("to targets " + name)) {
    suite.run("to targets " + name, "ns", rounds, 1,
              {{"ours", packets([&] { rig.enter(); }), fill},
               {"limit", packets([&] { rig.limit(); }), fill},
               {"header lines", packets([&] { rig.touch_headers(); }), fill},
               {"parse, key, hash", packets([&] { rig.parse_only(); }), fill}});
  }
  if (suite.wanted("from targets " + name)) {
    suite.run("from targets " + name, "ns", rounds, 1,
              {{"ours", packets([&] { rig.come_back(); }), returned},
               {"limit", packets([&] { rig.limit(); }), fill},
               {"header lines", packets([&] { rig.touch_headers(); }), fill}});
  }
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
    pass(suite, 10'000'000, "10m flows cold packets", true);
  }
  return 0;
}
