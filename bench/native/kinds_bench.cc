// What the worst packet costs that anybody may send: each kind against a plain packet of a flow
// that is known, the same way through the gateway and in the same rounds.
#include "bench/native/bench.h"
#include "bench/native/kinds.h"

using namespace gwlb;

int main(int argc, char** argv) {
  bench::Options options;
  if (!bench::parse_options(argc, argv, &options)) return 2;
  bench::Suite suite("kinds", options);
  for (const bench::Kind& kind : bench::kinds()) {
    if (!suite.wanted("kind " + kind.name)) continue;
    bench::KindRig ours(kind), plain(bench::plain(kind.returned));
    const auto contender = [](const char* name, bench::KindRig& rig) {
      return bench::Contender{name,
                              [&rig](uint32_t) {
                                rig.run();
                                return uint64_t{rig.packets()};
                              },
                              [&rig](uint32_t) { rig.prepare(); }};
    };
    suite.run("kind " + kind.name, "ns", 61, 1,
              {contender("ours", ours), contender("plain packet", plain)});
    ours.check();
    plain.check();
  }
  return 0;
}
