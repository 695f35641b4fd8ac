// The whole pass in memory: parse, key, hash, look up, refresh, encapsulate; and back: GENEVE,
// options, inner packet, key, hash, look up, check the cookie, decapsulate. 64 packets a batch. The
// limit is one independent, prefetched line of as much memory as the flow tables have; beside it
// what it costs to touch the packets' own lines, and to parse, key and hash alone.
//
// Then headers alone: 68 bytes put in front of packets, and 40 bytes taken off and their cookie
// compared. Their limit is to store and to load the same bytes.
#include "base/prefetch.h"
#include "bench/native/pass_rig.h"
#include "wire/gwlb_options.h"

using namespace gwlb;
using bench::kRigBatch;
using bench::PassRig;
using bench::Traffic;

namespace {

constexpr uint32_t kBatches = 16;
constexpr uint32_t kColdBatches = 512;  // 73 MB of slots: more than any cache

void parse_only(PassRig& rig) {
  for (auto& batch : rig.batches) {
    for (uint32_t i = 0; i < kRigBatch; ++i) {
      wire::InnerPacket inner;
      flow::FlowKey4 key;
      bench::prove(wire::parse_inner(batch->packet(i), batch->length[i], &inner).ok(), "packets");
      flow::make_key(inner, flow::Stickiness::five_tuple, 0, &key);
      bench::use(flow::hash_key({1, 2}, key));
    }
  }
}

// Read the header, write in front of it.
void touch_headers(PassRig& rig) {
  for (auto& batch : rig.batches) {
    for (uint32_t i = 0; i < kRigBatch; ++i) {
      uint8_t* at = batch->packet(i);
      bench::use(base::load<uint64_t>(at));
      std::memset(at - 40, 1, 40);
    }
  }
}

// A round is one go over all batches of the rig.
template <class Work>
std::function<uint64_t(uint32_t)> each(PassRig& rig, Work work) {
  return [&rig, work](uint32_t) {
    work();
    return rig.packets();
  };
}

void pass(bench::Suite& suite, uint32_t flows, const std::string& name, bool cold = false) {
  const bool to = suite.wanted("to targets " + name), from = suite.wanted("from targets " + name);
  if (!to && !from) return;
  PassRig rig(flows, cold ? kColdBatches : kBatches);
  const auto fill = [&](uint32_t) { rig.fill(); };
  const auto returned = [&](uint32_t) {
    rig.fill();
    rig.enter();
    rig.turn();
  };
  const bench::Contender limit{"limit", each(rig, [&] { rig.limit(); }), fill};
  const bench::Contender lines{"header lines", each(rig, [&] { touch_headers(rig); }), fill};
  const uint32_t rounds = cold ? 21 : 101;
  if (to) {
    suite.run("to targets " + name, "ns", rounds, 1,
              {{"ours", each(rig, [&] { rig.enter(); }), fill},
               limit,
               lines,
               {"parse, key, hash", each(rig, [&] { parse_only(rig); }), fill}});
  }
  if (from) {
    suite.run("from targets " + name, "ns", rounds, 1,
              {{"ours", each(rig, [&] { rig.come_back(); }), returned}, limit, lines});
  }
}

void mixed(bench::Suite& suite, uint32_t flows, const std::string& name) {
  const bool to = suite.wanted("to targets mixed " + name);
  const bool from = suite.wanted("from targets mixed " + name);
  if (!to && !from) return;
  PassRig rig(flows, kBatches, Traffic::mixed), uniform(flows, kBatches);
  // So many new flows that each has to take the place of an older one.
  while (rig.gateway->counters().get(gateway::GatewayCounter::flows_evicted) == 0) {
    rig.fill();
    rig.enter();
    rig.turn();
  }
  if (to) {
    suite.run(
        "to targets mixed " + name, "ns", 101, 1,
        {{"ours", each(rig, [&] { rig.enter(); }), [&](uint32_t) { rig.fill(); }},
         {"uniform", each(uniform, [&] { uniform.enter(); }), [&](uint32_t) { uniform.fill(); }}});
  }
  if (!from) return;
  const auto returned = [](PassRig& of) {
    return [&of](uint32_t) {
      of.fill();
      of.enter();
      of.turn();
    };
  };
  suite.run("from targets mixed " + name, "ns", 101, 1,
            {{"ours", each(rig, [&] { rig.come_back(); }), returned(rig)},
             {"uniform", each(uniform, [&] { uniform.come_back(); }), returned(uniform)}});
}

// Packets of `batches` of them, in random order.
struct Headers {
  std::vector<std::unique_ptr<batch::PacketBatch>> batches;
  std::vector<uint8_t*> packets;
  std::vector<uint32_t> cookies;

  explicit Headers(uint32_t count) {
    std::mt19937 random(5);
    for (uint32_t k = 0; k < count; ++k) {
      batches.push_back(batch::PacketBatch::create(kRigBatch, base::kSlotStrideStandard));
      for (uint32_t i = 0; i < kRigBatch; ++i) packets.push_back(batches[k]->packet(i));
    }
    std::shuffle(packets.begin(), packets.end(), random);
    for (uint8_t* packet : packets) {
      cookies.push_back(static_cast<uint32_t>(random()));
      wire::write_gateway_header(packet, wire::kEtherTypeIpv4, wire::kOptionClassAws,
                                 {1, 2, cookies.back()});
    }
  }

  uint64_t encapsulate(const wire::GatewayHeaderTemplate& header) const {
    wire::OuterHeader outer;
    outer.source = 0x0a000001;
    for (size_t i = 0; i < packets.size(); ++i) {
      outer.destination = 0x0a000100 + (cookies[i] & 7);
      outer.source_port = static_cast<uint16_t>(cookies[i] >> 16);
      header.write(packets[i] - wire::kGatewayHeaderBytes, wire::kEtherTypeIpv4, cookies[i]);
      wire::write_outer_header(packets[i] - base::kOverheadIpv4, outer,
                               wire::kGatewayHeaderBytes + 64);
    }
    return packets.size();
  }
  uint64_t store() const {
    for (uint8_t* packet : packets) {
      std::memset(packet - base::kOverheadIpv4, 1, base::kOverheadIpv4);
      asm volatile("" : : : "memory");
    }
    return packets.size();
  }

  void ask(size_t i) const {
    if (i < packets.size()) base::prefetch(packets[i]);
  }
  uint64_t decapsulate() const {
    uint32_t different = 0;
    for (size_t i = 0; i < packets.size(); ++i) {
      ask(i + 8);
      uint16_t protocol = 0;
      wire::GatewayOptions options;
      if (!wire::parse_expected_header(packets[i], 128, wire::kOptionClassAws, &protocol,
                                       &options)) {
        ++different;
      }
      different += options.cookie != cookies[i];
      bench::use(options.endpoint_id + options.attachment_id + protocol);
    }
    bench::prove(different == 0, "headers are as expected");
    return packets.size();
  }
  uint64_t load() const {
    for (size_t i = 0; i < packets.size(); ++i) {
      ask(i + 8);
      uint64_t sum = 0;
      for (uint32_t at = 0; at < wire::kGatewayHeaderBytes; at += 8) {
        sum += base::load<uint64_t>(packets[i] + at);
      }
      bench::use(sum);
    }
    return packets.size();
  }
};

void headers(bench::Suite& suite) {
  const auto run = [&](const std::string& name, uint32_t batches, auto ours, auto limit) {
    if (!suite.wanted(name)) return;
    const Headers of(batches);
    const uint32_t times = batches > 16 ? 1 : 64;
    const auto often = [&of, times](auto work) {
      return [&of, times, work](uint32_t) {
        uint64_t packets = 0;
        for (uint32_t k = 0; k < times; ++k) packets += work(of);
        return packets;
      };
    };
    suite.run(name, "ns", batches > 16 ? 31 : 101, 1,
              {{"ours", often(ours)}, {"limit", often(limit)}});
  };
  const wire::GatewayHeaderTemplate header(wire::kOptionClassAws, 1, 2);
  run(
      "encapsulate 68 B", 4, [header](const Headers& of) { return of.encapsulate(header); },
      [](const Headers& of) { return of.store(); });
  const auto decapsulate = [](const Headers& of) { return of.decapsulate(); };
  const auto load = [](const Headers& of) { return of.load(); };
  run("decapsulate hot", 4, decapsulate, load);
  run("decapsulate cold", kColdBatches, decapsulate, load);
}

}  // namespace

int main(int argc, char** argv) {
  bench::Options options;
  if (!bench::parse_options(argc, argv, &options)) return 2;
  bench::Suite suite("pass", options);
  headers(suite);
  pass(suite, 10'000, "10k flows");
  if (options.quick && !options.list) return 0;
  pass(suite, 100'000, "100k flows");
  mixed(suite, 100'000, "100k flows");
  pass(suite, 1'000'000, "1m flows");
  pass(suite, 10'000'000, "10m flows cold packets", true);
  return 0;
}
