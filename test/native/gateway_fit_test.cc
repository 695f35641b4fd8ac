// Packets and connections that a path has no room for: fragments and clamped segment sizes.
#include "test/native/bulk_rig.h"
#include "test/native/gateway_rig.h"
#include "test/native/oracle/fragment_model.h"
#include "test/native/oracle/segment_model.h"
#include "wire/fragment.h"

using namespace gwlb;
using namespace gwlb::test;
using base::DropReason;
using batch::Verdict;
using gateway::GatewayCounter;

namespace {

constexpr uint32_t kMtu = 1000;
constexpr uint32_t kPeer = 0x0a630101;

// An endpoint 0 whose packets are cut where they leave, of an MTU of 1,000.
struct CuttingRig : Rig {
  explicit CuttingRig(void (*adjust)(gateway::GatewayConfig&) = nullptr) : Rig(3, adjust) {
    gateway::EndpointSpec endpoint;
    endpoint.kind = gateway::EndpointKind::geneve;
    endpoint.id = kEndpointIds[0];
    endpoint.mtu = kMtu;
    endpoint.peer = kPeer;
    endpoint.cuts = true;
    gateway->set_endpoint(0, endpoint);
  }
  // What leaves of packet 0, from its IP header on.
  std::vector<Bytes> leaves(uint32_t header) {
    const Bytes all = bytes(0);
    const Bytes inner(all.begin() + header, all.end());
    if (!batch->is_fragmented(0)) return {inner};
    CHECK_EQ(batch->inner[0], batch->offset[0] + header);
    std::vector<Bytes> packets = {inner};
    if (batch->is_super(0)) packets = model_segments(inner, batch->segment[0]);
    return model_fitting(packets, kMtu, batch->fragment[0]);
  }
};

// Three segments that are longer than the MTU, and one that is not.
constexpr uint32_t kSegment = 1460;
Bytes bulk(int version, uint16_t fragment) {
  Bulk of;
  of.version = version;
  of.fragment = fragment;
  of.id = 0xfffe;
  of.source = kClient;
  of.destination = kServer;
  of.payload = 3 * kSegment + 400;
  return bulk_packet(of);
}
void pick_up(gateway::GatewayConfig& config) { config.mid_stream = gateway::MidStream::pickup; }

Bytes datagram(size_t payload, uint16_t fragment = 0) {
  return ipv4(kClient, kServer, 17, udp(4000, 53, payload), fragment);
}

bool all_fit(const std::vector<Bytes>& packets) {
  for (const Bytes& packet : packets) {
    if (packet.size() > kMtu) return false;
  }
  return true;
}

}  // namespace

TEST(a_packet_that_may_be_cut_is_forwarded_in_fragments) {
  CuttingRig rig;
  const Bytes packet = datagram(2000);
  REQUIRE(rig.enter(packet) == Verdict::forward);
  const uint16_t target = rig.batch->target[0];
  const Bytes whole = rig.bytes(0);
  const std::vector<Bytes> sent = rig.leaves(40);
  CHECK_EQ(sent.size(), 3u);
  CHECK(all_fit(sent));
  CHECK(model_reassembled(sent) == packet);
  CHECK_EQ(rig.count(GatewayCounter::packets_fragmented), 1u);
  CHECK_EQ(rig.count(GatewayCounter::packets_in), 1u);
  CHECK_EQ(rig.count(GatewayCounter::packets_to_targets), 1u);
  CHECK_EQ(rig.all_drops(), 0u);
  // The fragments come back in any order, and leave as they are.
  const Bytes header(whole.begin(), whole.begin() + 40);
  for (const size_t k : {2u, 0u, 1u}) {
    Bytes back = header;
    append(back, sent[k]);
    CHECK(rig.come_back(back, rig.targets[target].address) == Verdict::forward);
    CHECK(rig.leaves(8) == std::vector<Bytes>{sent[k]});
  }
  CHECK_EQ(rig.gateway->flows(), 1u);
  CHECK_EQ(rig.count(GatewayCounter::packets_fragmented), 1u);
}

TEST(what_an_appliance_puts_together_or_makes_longer_leaves_in_fragments) {
  CuttingRig rig;
  REQUIRE(rig.enter(datagram(8)) == Verdict::forward);
  const uint16_t target = rig.batch->target[0];
  const Bytes sent = rig.bytes(0);
  Bytes back(sent.begin(), sent.begin() + 40);
  append(back, datagram(1900));
  REQUIRE(rig.come_back(back, rig.targets[target].address) == Verdict::forward);
  const std::vector<Bytes> out = rig.leaves(8);
  CHECK(out.size() == 2 && all_fit(out));
  CHECK(model_reassembled(out) == datagram(1900));
  CHECK_EQ(rig.count(GatewayCounter::packets_fragmented), 1u);
  CHECK_EQ(rig.count(GatewayCounter::packets_out), 1u);
  // What must not be cut is dropped as before.
  back.resize(40);
  append(back, datagram(1900, 0x4000));
  CHECK(rig.come_back(back, rig.targets[target].address) == Verdict::drop);
  CHECK(rig.reason() == DropReason::inner_too_big);
  CHECK_EQ(rig.count(GatewayCounter::packets_fragmented), 1u);
}

TEST(what_must_not_be_cut_is_answered) {
  CuttingRig rig;
  CHECK(rig.enter(datagram(2000, 0x4000)) == Verdict::reply);
  CHECK(rig.enter(ipv6(1, 2, 17, udp(1, 2, 2000))) == Verdict::reply);
  CHECK_EQ(rig.drops(DropReason::inner_too_big), 2u);
  CHECK(rig.enter_super(bulk(4, 0x4000), kSegment) == Verdict::reply);
  CHECK(rig.enter_super(bulk(6, 0), kSegment) == Verdict::reply);
  CHECK_EQ(rig.drops(DropReason::inner_too_big), 10u);
  Rig batches(3, [](gateway::GatewayConfig& config) { config.mtu = kMtu; });
  CHECK(batches.enter(datagram(2000)) == Verdict::reply);  // nobody would cut it
  CHECK_EQ(rig.count(GatewayCounter::packets_fragmented), 0u);
}

TEST(packets_of_a_super_packet_leave_in_fragments_and_come_back_so) {
  CuttingRig rig(pick_up);
  const Bytes packet = bulk(4, 0);
  REQUIRE(rig.enter_super(packet, kSegment) == Verdict::forward);
  const uint16_t target = rig.batch->target[0];
  CHECK(rig.batch->is_super(0) && rig.batch->is_fragmented(0));
  const Bytes whole = rig.bytes(0);
  const Bytes header(whole.begin(), whole.begin() + 40);
  const std::vector<Bytes> sent = rig.leaves(40);
  REQUIRE(sent.size() == 7);
  CHECK(all_fit(sent));
  const std::vector<Bytes> segments = model_segments(packet, kSegment);
  for (size_t k = 0; k < 3; ++k) {
    CHECK(model_reassembled({sent[2 * k], sent[2 * k + 1]}) == segments[k]);
  }
  CHECK(sent[6] == segments[3]);
  CHECK_EQ(rig.count(GatewayCounter::packets_fragmented), 3u);
  CHECK_EQ(rig.count(GatewayCounter::packets_to_targets), 4u);
  CHECK_EQ(rig.all_drops(), 0u);
  for (const size_t k : {5u, 6u, 3u, 1u, 0u, 2u, 4u}) {
    Bytes back = header;
    append(back, sent[k]);
    CHECK(rig.come_back(back, rig.targets[target].address) == Verdict::forward);
    CHECK(rig.leaves(8) == std::vector<Bytes>{sent[k]});
  }
  CHECK_EQ(rig.gateway->flows(), 1u);
}

TEST(a_super_packet_that_bypasses_is_cut_once) {
  CuttingRig rig([](gateway::GatewayConfig& config) { config.fail_open = true; });
  rig.targets.clear();
  rig.publish();
  const Bytes packet = bulk(4, 0);
  REQUIRE(rig.enter_super(packet, kSegment) == Verdict::bypass);
  const std::vector<Bytes> sent = rig.leaves(8);
  CHECK(sent.size() == 7 && all_fit(sent));
  CHECK_EQ(rig.count(GatewayCounter::packets_fragmented), 3u);
  CHECK_EQ(rig.count(GatewayCounter::packets_bypassed), 4u);
  REQUIRE(rig.enter(datagram(2000)) == Verdict::bypass);
  CHECK_EQ(rig.count(GatewayCounter::packets_fragmented), 4u);
}

TEST(what_was_made_to_fit_but_is_dropped_counts_as_dropped) {
  CuttingRig rig([](gateway::GatewayConfig& config) { config.clamp_mss = 500; });
  rig.targets.clear();
  rig.publish();
  CHECK(rig.enter(datagram(2000)) == Verdict::drop);
  CHECK(rig.reason() == DropReason::no_targets);
  Bytes syn = tcp(50000, 443, 2);
  append(syn, {2, 4, 0x23, 0x28});
  syn[12] = 0x60;
  CHECK(rig.enter(ipv4(kClient, kServer, 6, syn)) == Verdict::drop);
  CHECK_EQ(rig.count(GatewayCounter::packets_fragmented), 0u);
  CHECK_EQ(rig.count(GatewayCounter::mss_clamped), 0u);
}

TEST(what_was_made_to_fit_counts_when_its_sender_has_sent_it) {
  CuttingRig rig([](gateway::GatewayConfig& config) { config.counted_by_sender = true; });
  REQUIRE(rig.enter(datagram(2000)) == Verdict::forward);
  CHECK_EQ(rig.count(GatewayCounter::packets_fragmented), 0u);
  rig.gateway->count_sent(*rig.batch);
  CHECK_EQ(rig.count(GatewayCounter::packets_fragmented), 1u);
  REQUIRE(rig.enter(datagram(2000)) == Verdict::forward);
  rig.batch->drop(0, DropReason::send_failed);
  rig.gateway->count_sent(*rig.batch);
  CHECK_EQ(rig.count(GatewayCounter::packets_fragmented), 1u);
}

TEST(later_fragments_are_cut_too_also_when_they_waited) {
  CuttingRig rig;
  const Bytes whole = datagram(4000);
  const std::vector<Bytes> pieces = model_fragments(whole, 2000);
  REQUIRE(rig.enter(pieces[1]) == Verdict::held);
  REQUIRE(rig.enter(pieces[0]) == Verdict::forward);
  std::vector<Bytes> sent = rig.leaves(40);
  REQUIRE(rig.gateway->take_held(*rig.batch, rig.now_ms) == 1);
  rig.gateway->to_targets(*rig.batch, rig.now_ms);
  for (const Bytes& one : rig.leaves(40)) sent.push_back(one);
  REQUIRE(rig.enter(pieces[2]) == Verdict::forward);
  for (const Bytes& one : rig.leaves(40)) sent.push_back(one);
  CHECK(all_fit(sent));
  CHECK(model_reassembled(sent) == whole);
  CHECK_EQ(rig.count(GatewayCounter::packets_fragmented), 2u);
  CHECK_EQ(rig.gateway->flows(), 1u);
}

TEST(a_syn_tells_no_more_than_the_path_has_room_for) {
  const auto syn = [](uint8_t flags, bool v6) {
    Bytes segment = tcp(50000, 443, flags);
    append(segment, {2, 4, 0x23, 0x28});  // 9,000
    segment[12] = 0x60;
    return v6 ? ipv6(1, 2, 6, segment) : ipv4(kClient, kServer, 6, segment);
  };
  for (const bool v6 : {false, true}) {
    for (const uint32_t path : {0u, 1400u, 100u}) {
      CuttingRig rig([](gateway::GatewayConfig& config) {
        config.clamp_mss = gateway::kClampMssAuto;
        config.mid_stream = gateway::MidStream::pickup;
      });
      rig.configure([path](gateway::LiveConfig& live) { live.path_mtu = path; });
      const uint32_t room = (path == 100 ? base::kInnerBytesMin : kMtu) - (v6 ? 60 : 40);
      const size_t at = 40 + (v6 ? 60 : 40) + 2;
      for (const uint8_t flags : {uint8_t{2}, uint8_t{0x12}}) {
        REQUIRE(rig.enter(syn(flags, v6)) == Verdict::forward);
        CHECK_EQ(get16(rig.bytes(0), at), room);
      }
      // An appliance that answers for itself.
      Bytes back = rig.bytes(0);
      const uint16_t target = rig.batch->target[0];
      put16(back, at, 9000);
      REQUIRE(rig.come_back(back, rig.targets[target].address) == Verdict::forward);
      CHECK_EQ(get16(rig.bytes(0), at - 40 + 8), room);
      CHECK_EQ(rig.count(GatewayCounter::mss_clamped), 3u);
      // Not of what is no SYN.
      REQUIRE(rig.enter(syn(0x10, v6)) == Verdict::forward);
      CHECK_EQ(get16(rig.bytes(0), at), 9000u);
    }
  }
  Rig off;
  REQUIRE(off.enter(syn(2, false)) == Verdict::forward);
  CHECK_EQ(get16(off.bytes(0), 82), 9000u);
  Rig number(3, [](gateway::GatewayConfig& config) { config.clamp_mss = 1300; });
  for (const bool v6 : {false, true}) {
    REQUIRE(number.enter(syn(2, v6)) == Verdict::forward);
    CHECK_EQ(get16(number.bytes(0), v6 ? 102 : 82), 1300u);
  }
}
