// The hot loops with fixed inputs, for counting their instructions under callgrind:
//
//   npm run bench -- --instructions      held against bench/instructions.json
//
// Collection is on around the loop only. For each case a line "operations name" is printed, and
// callgrind's counts are dumped under the same name. Alone this program measures nothing.
#include <valgrind/callgrind.h>

#include <memory>
#include <random>

#include "bench/native/bench.h"
#include "bench/native/gateway_rig.h"
#include "bench/native/kinds.h"
#include "flow/flow_table.h"
#include "test/native/packets.h"
#include "wire/checksum.h"
#include "wire/gwlb_options.h"
#include "wire/inner.h"
#include "wire/segment.h"

using namespace gwlb;
using bench::packet4;
using bench::packet6;
using bench::prove;
using bench::use;

namespace {

constexpr uint32_t kBatch = 64;
constexpr uint32_t kFlows = 4096;
constexpr base::HashKey kKey{0x243f6a8885a308d3, 0x13198a2e03707344};
constexpr uint64_t kNow = 1000;

// `body` runs once before: what is chosen or touched at first use is not counted.
template <class Body, class Prepare>
void count(const std::string& name, uint64_t operations, Body body, Prepare prepare) {
  prepare();
  body();
  prepare();
  CALLGRIND_TOGGLE_COLLECT;
  body();
  CALLGRIND_TOGGLE_COLLECT;
  CALLGRIND_DUMP_STATS_AT(name.c_str());
  std::printf("%llu %s\n", static_cast<unsigned long long>(operations), name.c_str());
}
template <class Body>
void count(const std::string& name, uint64_t operations, Body body) {
  count(name, operations, body, [] {});
}

template <class Key>
struct Keys {
  std::vector<Key> keys = std::vector<Key>(kFlows);
  std::vector<uint64_t> hashes = std::vector<uint64_t>(kFlows);

  explicit Keys(uint32_t seed) {
    std::mt19937 random(seed);
    for (uint32_t i = 0; i < kFlows; ++i) {
      const uint32_t number = random();
      keys[i] = Key{};
      std::memcpy(keys[i].low, &number, 4);
      std::memcpy(keys[i].high, &i, 4);
      keys[i].protocol = 6;
      keys[i].kind = 5;
      hashes[i] = flow::hash_key(kKey, keys[i]);
    }
  }
};

template <class Key>
void tables(const std::string& family) {
  const Keys<Key> present(1), absent(2);
  std::vector<uint64_t> hashes(kFlows);
  count("hash " + family, kFlows, [&] {
    for (uint32_t at = 0; at < kFlows; at += kBatch) {
      flow::hash_keys(kKey, &present.keys[at], kBatch, &hashes[at]);
    }
  });

  const auto table = flow::FlowTable<Key>::create(kFlows);
  std::vector<uint32_t> index(kFlows);
  const auto insert = [&] {
    for (uint32_t i = 0; i < kFlows; ++i) {
      index[i] = table->insert(present.keys[i], present.hashes[i]);
    }
  };
  const auto erase = [&] {
    for (uint32_t at = 0; at < kFlows; at += kBatch) table->erase(&index[at], kBatch);
  };
  count("insert " + family, kFlows, insert, [&] { table->clear(); });
  prove(table->size() == kFlows, "all flows are in the table");
  const auto lookup = [&](const Keys<Key>& of) {
    for (uint32_t at = 0; at < kFlows; at += kBatch) {
      table->lookup(&of.keys[at], &of.hashes[at], kBatch, &index[at]);
    }
  };
  count("lookup miss " + family, kFlows, [&] { lookup(absent); });
  for (uint32_t found : index) prove(found == flow::kNoFlow, "absent keys are not found");
  count("lookup hit " + family, kFlows, [&] { lookup(present); });
  for (uint32_t found : index) prove(found != flow::kNoFlow, "every flow is found");
  count("sweep " + family, table->index_end(),
        [&] { use(table->sweep(kNow, table->index_end(), [](uint32_t, auto&) {})); });
  count("erase " + family, kFlows, erase, [&] {
    table->clear();
    insert();
  });
  prove(table->size() == 0, "all flows are erased");
}

template <class Key>
void parsing(const std::string& family, test::Bytes (*packet)(uint32_t)) {
  std::vector<test::Bytes> packets;
  for (uint32_t i = 0; i < kBatch; ++i) packets.push_back(packet(i));
  count("parse and key " + family, kFlows, [&] {
    for (uint32_t i = 0; i < kFlows; ++i) {
      const test::Bytes& bytes = packets[i % kBatch];
      wire::InnerPacket inner;
      Key key;
      prove(wire::parse_inner(bytes.data(), bytes.size(), &inner).ok(), "packets are whole");
      use(flow::make_key(inner, flow::Stickiness::five_tuple, 0, &key));
      use(key);
    }
  });
}

void headers() {
  std::vector<uint8_t> bytes(256);
  const wire::GatewayOptions options{1, 2, 0x12345678};
  count("write gateway header", kFlows, [&] {
    for (uint32_t i = 0; i < kFlows; ++i) {
      wire::write_gateway_header(bytes.data() + 28, 0x0800, 0x0108, options);
      use(bytes[28]);
    }
  });
  wire::OuterHeader outer;
  outer.source = 0x0a000001;
  outer.destination = 0x0a000002;
  count("write outer header", kFlows, [&] {
    for (uint32_t i = 0; i < kFlows; ++i) {
      wire::write_outer_header(bytes.data(), outer, 100 + i % 1000);
      use(bytes[0]);
    }
  });
  count("parse gateway header", kFlows, [&] {
    for (uint32_t i = 0; i < kFlows; ++i) {
      wire::GeneveHeader header;
      wire::GatewayOptions found;
      const auto error =
          wire::parse_gateway_header(bytes.data() + 28, bytes.size() - 28, 0x0108, &header, &found);
      prove(error.ok() && found.cookie == options.cookie, "the header is as it was written");
    }
  });
}

void segments() {
  const std::vector<uint8_t> payload(1400, 0x5a);
  count("checksum 1400 B", 256, [&] {
    for (uint32_t i = 0; i < 256; ++i) use(wire::checksum_add(payload.data(), payload.size()));
  });
  constexpr uint32_t kSegment = 1400, kSegments = 45;
  const test::Bytes packet =
      test::ipv4(0x0b000000, 0x0a000001, 6, test::tcp(5000, 443, wire::kAck, kSegment * kSegments));
  std::vector<uint8_t> out(wire::kSegmentHeadersMax);
  count("segment headers 1400 B", kSegments, [&] {
    wire::SuperPacket super;
    prove(wire::parse_super_packet(packet.data(), static_cast<uint32_t>(packet.size()), kSegment,
                                   &super) &&
              super.count == kSegments,
          "the super-packet is one");
    for (uint32_t i = 0; i < kSegments; ++i) wire::write_segment_headers(super, i, out.data());
    use(out[0]);
  });
}

void passes(const std::string& traffic, test::Bytes (*packet)(uint32_t)) {
  const auto fresh = [&] {
    return std::make_unique<bench::GatewayRig>(kFlows, packet, 5 * kFlows);
  };
  auto pass = fresh();
  count(
      "pass to targets, new flows, " + traffic, kFlows, [&] { pass->to_targets(kNow); },
      [&] {
        pass = fresh();
        pass->fill();
      });
  pass->open(kNow);
  count(
      "pass to targets " + traffic, kFlows, [&] { pass->to_targets(kNow); }, [&] { pass->fill(); });
  pass->turn();
  count(
      "pass from targets " + traffic, kFlows, [&] { pass->from_targets(kNow); },
      [&] {
        pass->fill();
        pass->to_targets(kNow);
        pass->turn();
      });
  pass->turn();
}

// What the worst packet costs that anybody may send.
void packet_kinds() {
  for (const bench::Kind& kind : bench::kinds()) {
    bench::KindRig rig(kind);
    count(
        "kind " + kind.name, rig.packets(), [&] { rig.run(); }, [&] { rig.prepare(); });
    rig.check();
  }
}

}  // namespace

int main() {
  CALLGRIND_START_INSTRUMENTATION;
  tables<flow::FlowKey4>("ipv4");
  tables<flow::FlowKey6>("ipv6");
  parsing<flow::FlowKey4>("ipv4", packet4);
  parsing<flow::FlowKey6>("ipv6", packet6);
  headers();
  segments();
  passes("ipv4", packet4);
  passes("ipv6", packet6);
  passes("mixed", [](uint32_t flow) { return flow % 2 == 0 ? packet4(flow) : packet6(flow); });
  packet_kinds();
  return 0;
}
