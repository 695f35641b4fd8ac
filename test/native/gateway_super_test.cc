// Super-packets in the gateway core: one decision, counted as what they stand for.
#include <algorithm>

#include "test/native/bulk_rig.h"
#include "test/native/gateway_rig.h"
#include "wire/segment.h"

using namespace gwlb;
using namespace gwlb::test;
using base::DropReason;
using batch::Verdict;
using gateway::EndpointCounter;
using gateway::GatewayCounter;
using gateway::TargetCounter;

namespace {

constexpr uint16_t kSegment = 1000;
constexpr uint32_t kPackets = 8;
constexpr uint64_t kBytes = 7300 + kPackets * 40;

Bulk bulk_of(uint8_t flags) {
  Bulk of;
  of.source = kClient;
  of.destination = kServer;
  of.flags = flags;
  of.payload = 7300;  // seven segments, and one of 300 bytes
  return of;
}

Verdict enter_super(Rig& rig, const Bytes& packet) { return rig.enter_super(packet, kSegment); }

void pick_up(gateway::GatewayConfig& config) { config.mid_stream = gateway::MidStream::pickup; }

}  // namespace

TEST(a_super_packet_is_decided_once_and_counted_in_packets) {
  Rig rig(3, pick_up);
  const Bytes packet = bulk_packet(bulk_of(0x10));
  REQUIRE(enter_super(rig, packet) == Verdict::forward);
  const batch::PacketBatch& batch = *rig.batch;
  CHECK(batch.is_super(0));
  CHECK_EQ(batch.length[0], packet.size() + 40);
  CHECK_EQ(batch.inner[0], batch.offset[0] + 40);
  const Bytes sent = rig.bytes(0);
  CHECK(Bytes(sent.begin() + 40, sent.end()) == packet);
  CHECK_EQ(rig.gateway->flows(), 1u);
  const uint16_t target = batch.target[0];
  for (const GatewayCounter which :
       {GatewayCounter::packets_in, GatewayCounter::packets_to_targets}) {
    CHECK_EQ(rig.count(which), kPackets);
  }
  CHECK_EQ(rig.count(GatewayCounter::flows_new), 1u);
  CHECK_EQ(rig.count(GatewayCounter::bytes_in), kBytes);
  gateway::Counters& counters = rig.gateway->counters();
  CHECK_EQ(counters.get(uint16_t{0}, EndpointCounter::packets_in), kPackets);
  CHECK_EQ(counters.get(uint16_t{0}, EndpointCounter::bytes_in), kBytes);
  CHECK_EQ(counters.get(target, TargetCounter::packets_to), kPackets);
  CHECK_EQ(counters.get(target, TargetCounter::bytes_to), kBytes);
}

TEST(flow_counters_count_what_a_super_packet_stands_for) {
  Rig rig(3, [](gateway::GatewayConfig& config) {
    pick_up(config);
    config.flow_counters = true;
  });
  REQUIRE(enter_super(rig, bulk_packet(bulk_of(0x11))) == Verdict::forward);
  REQUIRE(enter_super(rig, bulk_packet(bulk_of(0x14))) == Verdict::forward);  // RST
  rig.age(10'001);
  gateway::FlowEvent events[8];
  const uint32_t n = rig.gateway->drain_events(events, 8);
  REQUIRE(n == 2 && events[1].type == static_cast<uint8_t>(gateway::FlowEventType::ended));
  CHECK_EQ(events[1].packets_to, 2 * kPackets);
  CHECK_EQ(events[1].bytes_to, 2 * kBytes);
}

// Three of the eight did not go, the shorter last one among them; then the next one as a whole.
TEST(what_did_not_go_of_a_super_packet_counts_as_a_drop_alone) {
  Rig rig(3, [](gateway::GatewayConfig& config) {
    pick_up(config);
    config.flow_counters = true;
    config.counted_by_sender = true;
  });
  REQUIRE(enter_super(rig, bulk_packet(bulk_of(0x11))) == Verdict::forward);
  batch::PacketBatch& batch = *rig.batch;
  const uint16_t target = batch.target[0];
  gateway::Counters& counters = rig.gateway->counters();
  CHECK_EQ(rig.count(GatewayCounter::packets_to_targets), 0u);
  constexpr uint32_t kLost = 3;
  constexpr uint32_t kLostBytes = 2 * (kSegment + 40) + 340;
  batch.drop(0, DropReason::send_would_block);
  batch.packets[0] = kLost;
  batch.lost_bytes[0] = kLostBytes;
  rig.gateway->count_sent(batch);
  rig.gateway->count_unsent(batch, 0, Verdict::forward, kPackets);
  REQUIRE(enter_super(rig, bulk_packet(bulk_of(0x14))) == Verdict::forward);
  batch.drop(0, DropReason::send_failed);
  rig.gateway->count_sent(batch);
  rig.gateway->count_unsent(batch, 0, Verdict::forward, kPackets);
  CHECK_EQ(rig.count(GatewayCounter::packets_in), 2 * kPackets);
  CHECK_EQ(rig.drops(DropReason::send_would_block), kLost);
  CHECK_EQ(rig.drops(DropReason::send_failed), kPackets);
  CHECK_EQ(rig.count(GatewayCounter::packets_to_targets), kPackets - kLost);
  CHECK_EQ(counters.get(target, TargetCounter::packets_to), kPackets - kLost);
  CHECK_EQ(counters.get(target, TargetCounter::bytes_to), kBytes - kLostBytes);
  rig.age(10'001);
  gateway::FlowEvent events[8];
  const uint32_t n = rig.gateway->drain_events(events, 8);
  REQUIRE(n == 2 && events[1].type == static_cast<uint8_t>(gateway::FlowEventType::ended));
  CHECK_EQ(events[1].packets_to, kPackets - kLost);
  CHECK_EQ(events[1].bytes_to, kBytes - kLostBytes);
}

// Packets of both endpoints, a super-packet, one that was not sent, and one that is another's.
TEST(a_batch_of_all_kinds_is_counted_packet_by_packet) {
  Rig rig(1, [](gateway::GatewayConfig& config) {
    pick_up(config);
    config.counted_by_sender = true;
  });
  constexpr uint32_t kCount = 7, kSuper = 2, kUnsent = 3, kMoved = 5;
  constexpr uint16_t kEndpoint[kCount] = {0, 0, 0, 1, 1, 0, 0};
  batch::PacketBatch& batch = *rig.batch;
  gateway::Counters& counters = rig.gateway->counters();
  batch.count = kCount;
  for (uint32_t i = 0; i < kCount; ++i) {
    rig.load(i, i == kSuper ? bulk_packet(bulk_of(0x10))
                            : ipv4(kClient, kServer, 17, udp(5000 + i, 53, 10 * i)));
    batch.endpoint[i] = kEndpoint[i];
  }
  wire::SuperPacket super;
  REQUIRE(wire::parse_super_packet(batch.packet(kSuper), batch.length[kSuper], kSegment, &super));
  batch.make_super(kSuper, super.count, super.headers, super.segment);
  batch.verdict[kMoved] = static_cast<uint8_t>(Verdict::moved);
  rig.gateway->to_targets(batch, rig.now_ms);
  batch.drop(kUnsent, DropReason::send_failed);
  rig.gateway->count_sent(batch);
  // 28 bytes of headers, and 0, 10, 40 and 60 of payload.
  CHECK_EQ(rig.count(GatewayCounter::packets_to_targets), 4 + kPackets);
  CHECK_EQ(counters.get(uint16_t{0}, TargetCounter::packets_to), 4 + kPackets);
  CHECK_EQ(counters.get(uint16_t{0}, TargetCounter::bytes_to), 4 * 28 + 110 + kBytes);
  CHECK_EQ(rig.count(GatewayCounter::packets_out), 0u);

  for (uint32_t i = 0; i < kCount; ++i) {
    if (i == kMoved) continue;
    batch.verdict[i] = static_cast<uint8_t>(Verdict::pending);
    batch.make_ordinary(i);
    batch.address[i] = rig.targets[0].address;
  }
  rig.gateway->from_targets(batch, rig.now_ms);
  batch.drop(1, DropReason::send_failed);
  rig.gateway->count_sent(batch);
  CHECK_EQ(rig.count(GatewayCounter::packets_to_targets), 4 + kPackets);
  CHECK_EQ(counters.get(uint16_t{1}, EndpointCounter::packets_out), 2u);
  CHECK_EQ(counters.get(uint16_t{1}, EndpointCounter::bytes_out), 2 * 28 + 70u);
  CHECK_EQ(counters.get(uint16_t{0}, EndpointCounter::packets_out), 3u);
  CHECK_EQ(counters.get(uint16_t{0}, EndpointCounter::bytes_out), 2 * 28 + 60 + 7340u);
  CHECK_EQ(rig.count(GatewayCounter::packets_out), 5u);
}

TEST(an_answer_that_could_not_be_sent_is_no_second_drop) {
  Rig rig(3, [](gateway::GatewayConfig& config) {
    config.reset_on_idle = true;
    config.counted_by_sender = true;
  });
  REQUIRE(enter_super(rig, bulk_packet(bulk_of(0x10))) == Verdict::reply);
  rig.batch->drop(0, DropReason::send_failed);
  rig.gateway->count_sent(*rig.batch);
  rig.gateway->count_unsent(*rig.batch, 0, Verdict::reply, 1);
  CHECK_EQ(rig.count(GatewayCounter::replies_unsent), 1u);
  CHECK_EQ(rig.all_drops(), kPackets);
  CHECK_EQ(rig.drops(DropReason::tcp_not_syn), kPackets);
}

// A batch that is given twice is decided, and counted, once.
TEST(what_was_decided_before_is_not_counted_again) {
  Rig rig(3, pick_up);
  REQUIRE(enter_super(rig, bulk_packet(bulk_of(0x10))) == Verdict::forward);
  rig.gateway->to_targets(*rig.batch, rig.now_ms);
  CHECK_EQ(rig.count(GatewayCounter::packets_to_targets), kPackets);
}

TEST(the_mtu_is_held_against_a_segment) {
  Rig rig(3, [](gateway::GatewayConfig& config) {
    pick_up(config);
    config.mtu = kSegment + 40;
  });
  CHECK(enter_super(rig, bulk_packet(bulk_of(0x10))) == Verdict::forward);
}

TEST(an_icmp_error_quotes_the_first_segment) {
  Rig rig(3, [](gateway::GatewayConfig& config) {
    pick_up(config);
    config.mtu = kSegment + 39;
  });
  const Bytes packet = bulk_packet(bulk_of(0x18));
  REQUIRE(enter_super(rig, packet) == Verdict::reply);
  CHECK(!rig.batch->is_super(0));
  CHECK_EQ(rig.batch->packets[0], 1);
  CHECK_EQ(rig.drops(DropReason::inner_too_big), kPackets);
  CHECK_EQ(rig.count(GatewayCounter::packets_in), kPackets);
  CHECK_EQ(rig.count(GatewayCounter::packets_replied), 1u);
  const Bytes answer = rig.bytes(0);
  REQUIRE(answer.size() == 576);
  Bulk first = bulk_of(0x10);  // PSH is the last one's
  first.payload = kSegment;
  Bytes expected = bulk_packet(first);
  const Bytes payload = bulk_payload(7300, first.seed);
  std::copy_n(payload.begin(), kSegment, expected.begin() + 40);
  fix_checksums(expected, 20, 6);
  CHECK(std::equal(answer.begin() + 28, answer.end(), expected.begin()));
}

TEST(a_reset_answers_all_of_a_super_packet) {
  Rig rig(3, [](gateway::GatewayConfig& config) { config.reset_on_idle = true; });
  Bulk of = bulk_of(0x10);
  of.acknowledgment = 5000;
  REQUIRE(enter_super(rig, bulk_packet(of)) == Verdict::reply);
  CHECK(!rig.batch->is_super(0));
  CHECK_EQ(rig.batch->length[0], 40u);
  CHECK_EQ(base::load_be32(rig.batch->packet(0) + 24), 5000u);
  CHECK_EQ(rig.drops(DropReason::tcp_not_syn), kPackets);
  CHECK_EQ(rig.count(GatewayCounter::packets_replied), 1u);
}

TEST(drops_and_bypasses_count_in_packets) {
  Rig rig;
  CHECK(enter_super(rig, bulk_packet(bulk_of(0x10))) == Verdict::drop);
  CHECK_EQ(rig.drops(DropReason::tcp_not_syn), kPackets);
  Rig open(0, [](gateway::GatewayConfig& config) { config.fail_open = true; });
  CHECK(enter_super(open, bulk_packet(bulk_of(0x10))) == Verdict::bypass);
  CHECK(open.batch->is_super(0));
  CHECK_EQ(open.count(GatewayCounter::packets_bypassed), kPackets);
  CHECK_EQ(open.count(GatewayCounter::packets_out), kPackets);
  CHECK_EQ(open.count(GatewayCounter::bytes_out), kBytes);
}
