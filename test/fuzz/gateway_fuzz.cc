// Drives a gateway with packets, returns, target changes and time, all read from the input, against
// a model that knows only the promises:
//   - what goes in comes out or is counted as a drop, exactly once;
//   - a packet its target returns unchanged leaves by the endpoint it entered, unchanged;
//   - a flow keeps its cookie until it ends, is reopened or moves, and the events say so;
//   - a datagram that is not exactly what a live flow's target was sent changes no flow.
#include <map>
#include <memory>
#include <vector>

#include "gateway/cookie.h"
#include "gateway/gateway.h"
#include "gateway/hold.h"
#include "test/fuzz/fuzz.h"
#include "test/native/packets.h"

using namespace gwlb;
using namespace gwlb::test;
using batch::Verdict;
using gateway::GatewayCounter;

namespace {

struct World {
  std::unique_ptr<gateway::Gateway> gateway;
  std::unique_ptr<batch::PacketBatch> batch;
  std::vector<select::TargetSpec> targets;
  uint64_t now_ms = 1;
  uint64_t in = 0, out = 0;
  uint64_t held = 0;  // fragments that the gateway has
  int64_t open_flows = 0;

  explicit World(uint8_t options) {
    gateway::GatewayConfig config;
    config.hash_key = {5, 6};
    config.cookie_key = {7, 8};
    config.flows_ipv4 = config.flows_ipv6 = base::kFlowsMin;
    config.stickiness = options % 3 == 0   ? flow::Stickiness::five_tuple
                        : options % 3 == 1 ? flow::Stickiness::three_tuple
                                           : flow::Stickiness::two_tuple;
    config.scope_gateway = (options & 16) != 0;
    config.mid_stream = (options & 32) != 0 ? gateway::MidStream::pickup : gateway::MidStream::drop;
    config.fail_open = (options & 64) != 0;
    config.reset_on_idle = config.flow_counters = (options & 128) != 0;
    gateway = gateway::Gateway::create(config);
    batch = batch::PacketBatch::create(4, base::kSlotStrideStandard);
    for (uint16_t i = 0; i < 2; ++i) {
      gateway::EndpointSpec endpoint;
      endpoint.kind = gateway::EndpointKind::batch;
      endpoint.id = 100 + i;
      gateway->set_endpoint(i, endpoint);
    }
    for (uint16_t slot = 0; slot < 3; ++slot) {
      select::TargetSpec target;
      target.slot = slot;
      target.address = 0x0a000001 + slot;
      target.flags = select::kRegistered | select::kEligible;
      target.identity = slot;
      targets.push_back(target);
    }
    // The table that every input starts with: building it takes longer than most inputs.
    static const auto first = table();
    gateway->set_targets(first);
  }

  std::shared_ptr<const select::TargetTable> table() {
    return select::TargetTable::build(targets, 1, false, 1);
  }

  void publish() { gateway->set_targets(table()); }

  uint64_t accounted() {
    uint64_t sum = out + held;
    for (uint32_t i = 1; i < base::kDropReasons; ++i) {
      sum += gateway->counters().drops(static_cast<base::DropReason>(i));
    }
    return sum;
  }

  Verdict run(const Bytes& bytes, bool datagram, uint32_t where) {
    batch->count = 1;
    batch->reset(0, static_cast<uint32_t>(bytes.size()));
    if (!bytes.empty()) std::memcpy(batch->packet(0), bytes.data(), bytes.size());
    ++in;
    if (datagram) {
      batch->address[0] = where;
      gateway->from_targets(*batch, now_ms);
    } else {
      batch->endpoint[0] = static_cast<uint16_t>(where);
      gateway->to_targets(*batch, now_ms);
    }
    const auto verdict = static_cast<Verdict>(batch->verdict[0]);
    FUZZ_CHECK(verdict == Verdict::forward || verdict == Verdict::drop ||
               verdict == Verdict::bypass || verdict == Verdict::reply ||
               verdict == Verdict::held || (datagram && verdict == Verdict::probe));
    const bool dropped = verdict == Verdict::drop || verdict == Verdict::reply;
    FUZZ_CHECK(dropped == (batch->reason[0] != 0));
    if (verdict == Verdict::held) ++held;
    if (!dropped && verdict != Verdict::held) ++out;
    FUZZ_CHECK(in == accounted());
    follow_events();
    return verdict;
  }

  // Everything that was held goes on.
  void release() {
    now_ms += gateway::kHoldMs;
    for (; gateway->holding(); follow_events()) {
      const uint32_t n = gateway->take_held(*batch, now_ms);
      FUZZ_CHECK(n > 0);
      held -= n;
      gateway->to_targets(*batch, now_ms);
      for (uint32_t i = 0; i < n; ++i) {
        const auto verdict = static_cast<Verdict>(batch->verdict[i]);
        FUZZ_CHECK(verdict != Verdict::held && verdict != Verdict::pending);
        out += verdict == Verdict::forward || verdict == Verdict::bypass;
      }
    }
    FUZZ_CHECK(held == 0 && in == accounted());
  }

  Bytes bytes() { return {batch->packet(0), batch->packet(0) + batch->length[0]}; }

  void follow_events() {
    gateway::FlowEvent events[16];
    uint32_t n = 0;
    while ((n = gateway->drain_events(events, 16)) != 0) {
      for (uint32_t i = 0; i < n; ++i) {
        const auto type = static_cast<gateway::FlowEventType>(events[i].type);
        open_flows += type == gateway::FlowEventType::opened  ? 1
                      : type == gateway::FlowEventType::ended ? -1
                                                              : 0;
      }
    }
    FUZZ_CHECK(open_flows == static_cast<int64_t>(gateway->flows()));
  }
};

Bytes build(Input& input) {
  const uint8_t shape = input.byte();
  const uint8_t ends = input.byte();
  const uint32_t a = 0xc0000200 + (ends & 3), b = 0xc6336400 + (ends >> 2 & 3);
  const bool back = (ends & 16) != 0;
  const uint32_t source = back ? b : a, destination = back ? a : b;
  const uint16_t port = ends >> 5;
  const uint16_t sport = back ? 80 : port, dport = back ? port : 80;
  switch (shape % 8) {
    case 0:
    case 1:
      return ipv4(source, destination, 6, tcp(sport, dport, input.byte() & 31, shape >> 4));
    case 2:
      return ipv4(source, destination, 17, udp(sport, dport, shape));
    case 3:
      return ipv6(ends & 3, 9, 17, udp(sport, dport, shape));
    case 4: {
      const Bytes datagram = udp(sport, dport, 32);
      const bool first = (shape & 8) != 0;
      const Bytes part(datagram.begin() + (first ? 0 : 24),
                       first ? datagram.begin() + 24 : datagram.end());
      return ipv4(source, destination, 17, part, first ? 0x2000 : 3, shape >> 4);
    }
    case 5:
      return ipv4(destination, source, 1,
                  icmp_unreachable(ipv4(source, destination, 17, udp(sport, dport)), shape >> 3));
    case 6:
      return ipv4(source, destination, 1, icmp_echo(back, shape));
    default: {
      const size_t n = input.left() < 64 ? input.left() : 64;
      Bytes raw(input.rest(), input.rest() + n);
      input.skip(n);
      return raw;
    }
  }
}

void enter_and_return(World& world, Input& input) {
  const Bytes packet = build(input);
  const uint8_t how = input.byte();
  const uint16_t endpoint = how & 1;
  if (world.run(packet, false, endpoint) != Verdict::forward) return;
  const Bytes datagram = world.bytes();
  const uint32_t address = world.batch->address[0];
  if ((how & 6) == 0) {  // a stranger, or the same bytes with one bit changed in the cookie
    const uint32_t flows = world.gateway->flows();
    Bytes forged = datagram;
    forged[36 + (how >> 6)] ^= static_cast<uint8_t>(1u << (how >> 3 & 7));
    world.run(forged, true, address);
    world.run(datagram, true, 0x7f000001);
    FUZZ_CHECK(world.gateway->flows() == flows);
  }
  if ((how & 8) != 0) return;  // the appliance keeps it
  FUZZ_CHECK(world.run(datagram, true, address) == Verdict::forward);
  // Bytes behind the IP length (padding) do not come back.
  const Bytes back = world.bytes();
  FUZZ_CHECK(back.size() <= packet.size());
  FUZZ_CHECK(std::memcmp(back.data(), packet.data(), back.size()) == 0);
  FUZZ_CHECK(world.batch->endpoint[0] == endpoint);
}

void change_target(World& world, uint8_t how) {
  select::TargetSpec& target = world.targets[how % world.targets.size()];
  switch (how >> 4 & 3) {
    case 0:
      target.flags = select::kRegistered | select::kEligible;
      break;
    case 1:
      target.flags = select::kRegistered;
      if ((how & 64) != 0) target.flags |= select::kResetFlows;
      break;
    case 2:
      target.flags = select::kRegistered;
      target.generation = (target.generation + 1) % base::kGenerations;
      break;
    default:
      target.weight = 1 + (how >> 6) * 100;
  }
  world.publish();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  Input input(data, size);
  World world(input.byte());
  for (int step = 0; step < 200 && input.more(); ++step) {
    const uint8_t what = input.byte();
    // A new target table costs a thousand packets' time: few of them leave more of it to packets.
    if (what % 64 == 0) {
      change_target(world, input.byte());
    } else if (what % 32 == 3) {
      world.release();
    } else if (what % 8 == 1) {
      world.now_ms += uint64_t{input.byte()} * 4000;
      world.gateway->sweep(world.now_ms, 1u << 16);
      world.follow_events();
    } else {
      enter_and_return(world, input);
    }
  }
  return 0;
}
