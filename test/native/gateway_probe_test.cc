// Data-path checks of targets: packets of the endpoint id that no endpoint has.
#include "test/native/gateway_rig.h"
#include "wire/gwlb_options.h"

using namespace gwlb;
using namespace gwlb::test;
using base::DropReason;
using batch::Verdict;
using gateway::GatewayCounter;

namespace {

Bytes probe(uint32_t slot, uint32_t nonce, uint64_t endpoint = gateway::kProbeEndpointId,
            uint16_t protocol = 0x0800) {
  Bytes out(wire::kGatewayHeaderBytes);
  wire::write_gateway_header(out.data(), protocol, 0x0108, {endpoint, 0, slot << 20 | nonce});
  const Bytes inner = ipv4(0xc6120001, 0xc6120002, 17, udp(40000, 9, 8));
  out.insert(out.end(), inner.begin(), inner.end());
  return out;
}

}  // namespace

TEST(a_probe_that_comes_back_is_noted_and_nothing_else) {
  Rig rig;
  gateway::Counters& counters = rig.gateway->counters();
  CHECK_EQ(counters.probe(1), 0u);
  CHECK(rig.come_back(probe(1, 0xabcde), rig.targets[1].address) == Verdict::probe);
  CHECK_EQ(counters.probe(1), 0xabcdeu);
  CHECK_EQ(counters.probe(0), 0u);
  CHECK(rig.come_back(probe(1, 7), rig.targets[1].address) == Verdict::probe);
  CHECK_EQ(counters.probe(1), 7u);
  CHECK_EQ(rig.count(GatewayCounter::probes_returned), 2u);
  CHECK_EQ(rig.count(GatewayCounter::packets_from_targets), 2u);
  CHECK_EQ(rig.count(GatewayCounter::packets_out), 0u);
  CHECK_EQ(rig.all_drops(), 0u);
  CHECK_EQ(rig.gateway->flows(), 0u);
}

TEST(a_probe_of_somebody_else_is_none) {
  Rig rig;
  const auto refused = [&](const Bytes& datagram, uint32_t address, DropReason why) {
    return rig.come_back(datagram, address) == Verdict::drop && rig.reason() == why;
  };
  const uint32_t address = rig.targets[0].address;
  CHECK(refused(probe(1, 5), address, DropReason::unknown_endpoint));
  CHECK(refused(probe(4095, 5), address, DropReason::unknown_endpoint));
  CHECK(refused(probe(0, 5), 0x01010101, DropReason::unknown_source));
  CHECK(refused(probe(0, 5, gateway::kProbeEndpointId - 1), address, DropReason::unknown_endpoint));
  CHECK(refused(probe(0, 5, gateway::kProbeEndpointId, 0x6558), address,
                DropReason::geneve_bad_protocol));
  CHECK_EQ(rig.count(GatewayCounter::probes_returned), 0u);
  CHECK_EQ(rig.gateway->counters().probe(0), 0u);
}

TEST(probes_among_packets_leave_those_alone) {
  Rig rig;
  REQUIRE(rig.enter(client_tcp(2)) == Verdict::forward);
  const Bytes packet = rig.bytes(0);
  const uint32_t address = rig.batch->address[0];
  const uint32_t slot = rig.batch->target[0];
  rig.batch->count = 3;
  rig.load(0, probe(slot, 1));
  rig.load(1, packet);
  rig.load(2, probe(slot, 2));
  for (uint32_t i = 0; i < 3; ++i) rig.batch->address[i] = address;
  rig.gateway->from_targets(*rig.batch, rig.now_ms);
  CHECK(rig.batch->verdict[0] == static_cast<uint8_t>(Verdict::probe));
  CHECK(rig.batch->verdict[1] == static_cast<uint8_t>(Verdict::forward));
  CHECK(rig.batch->verdict[2] == static_cast<uint8_t>(Verdict::probe));
  CHECK(rig.bytes(1) == client_tcp(2));
  CHECK_EQ(rig.gateway->counters().probe(static_cast<uint16_t>(slot)), 2u);
}
