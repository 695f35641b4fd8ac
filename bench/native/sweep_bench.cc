// How long a worker does not look at packets because it looks for flows that are over: one piece of
// the walk over both tables, as the worker does it between two batches, where none is over and
// where all of them are (that many connections went silent together).
#include "bench/native/bench.h"
#include "bench/native/gateway_rig.h"
#include "engine/worker.h"

using namespace gwlb;

namespace {

constexpr uint32_t kFlows = 64 * 1024;
constexpr uint32_t kEvents = 4096;
constexpr uint64_t kDay = 24 * 3'600'000;

test::Bytes packet(uint32_t flow) {
  if (flow % 2 == 0) return bench::packet4(flow);
  test::Bytes bytes = test::ipv6(1, 2, 17, test::udp(5000, 53));
  test::put32(bytes, 16, flow);
  return bytes;
}

void step(bench::Suite& suite, bool over) {
  const std::string name = std::string("sweep step, ") + (over ? "all idle" : "none idle");
  if (!suite.wanted(name)) return;
  // Both tables as full as they are made for, with as many flows in each piece as there can be.
  bench::GatewayRig rig(kFlows, packet, kFlows / 2, kEvents);
  std::vector<gateway::FlowEvent> events(kEvents);
  uint64_t now_ms = 1000;
  const auto open = [&] {
    rig.open(now_ms);
    bench::prove(rig.gateway->flows() == kFlows, "every flow is in a table");
  };
  const auto prepare = [&](uint32_t) {
    while (rig.gateway->drain_events(events.data(), kEvents) > 0) {
    }
    if (rig.gateway->flows() >= kFlows / 2) return;
    now_ms += 2 * kDay;
    open();
  };
  open();
  const auto piece = [&](uint32_t) -> uint64_t {
    bench::use(engine::sweep_piece(*rig.gateway, now_ms + (over ? kDay : 0), kFlows));
    return 1;
  };
  suite.run(name, "us", 301, 1e-3, {{"ours", piece, prepare}});
}

}  // namespace

int main(int argc, char** argv) {
  bench::Options options;
  if (!bench::parse_options(argc, argv, &options)) return 2;
  bench::Suite suite("sweep", options);
  step(suite, false);
  step(suite, true);
  return 0;
}
