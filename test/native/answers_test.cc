// What the gateway says itself: RST to the ends of connections whose target is lost or that it does
// not know, and ICMP errors about packets that are too long.
#include "test/native/gateway_rig.h"
#include "wire/answer.h"
#include "wire/checksum.h"

using namespace gwlb;
using namespace gwlb::test;
using base::DropReason;
using batch::Verdict;
using gateway::GatewayCounter;

namespace {

constexpr uint8_t kFin = 1, kSyn = 2, kRst = 4, kAck = 16;

// Bytes 4..11 of the TCP header.
Bytes numbered(uint8_t flags, uint32_t sequence, uint32_t acknowledged, size_t payload = 0) {
  Bytes segment = tcp(52144, 443, flags, payload);
  put32(segment, 4, sequence);
  put32(segment, 8, acknowledged);
  return segment;
}

uint32_t at32(const Bytes& bytes, size_t at) { return base::load_be32(bytes.data() + at); }
uint16_t at16(const Bytes& bytes, size_t at) { return base::load_be16(bytes.data() + at); }

bool checksums_hold(const Bytes& packet) {
  const bool v4 = packet[0] >> 4 == 4;
  const uint32_t header = v4 ? 20 : 40;
  const uint32_t from = v4 ? 12 : 8;
  const size_t address = v4 ? 4 : 16;
  const uint8_t protocol = packet[v4 ? 9 : 6];
  if (v4 && ones_complement(packet.data(), 20) != 0) return false;
  const uint8_t* transport = packet.data() + header;
  const size_t length = packet.size() - header;
  if (protocol == 1) return ones_complement(transport, length) == 0;
  return wire::transport_checksum(packet.data() + from, packet.data() + from + address, address,
                                  protocol, transport, length) == 0;
}

Bytes reset_of(const Bytes& packet) {
  Bytes buffer = packet;
  wire::InnerPacket inner;
  if (!wire::parse_inner(buffer.data(), buffer.size(), &inner).ok()) return {};
  buffer.resize(wire::write_reset(buffer.data(), inner));
  return buffer;
}

// A rig whose target 0..2 have an established flow from port 52144, and the flow's target.
struct Lost {
  Rig rig;
  uint16_t target = 0;

  explicit Lost(uint8_t flags = select::kRegistered | select::kResetFlows) {
    target = rig.trip(client_tcp(kSyn)).target;
    rig.trip(server_tcp(kSyn | kAck));
    rig.trip(client_tcp(kAck));
    rig.targets[target].flags = flags;
    rig.publish();
  }
};

}  // namespace

TEST(a_reset_has_the_number_that_the_sender_expects) {
  const Bytes reset = reset_of(ipv4(kClient, kServer, 6, numbered(kAck, 700, 9000, 100)));
  REQUIRE(reset.size() == 40);
  CHECK_EQ(at32(reset, 12), kServer);
  CHECK_EQ(at32(reset, 16), kClient);
  CHECK_EQ(at16(reset, 20), 443);
  CHECK_EQ(at16(reset, 22), 52144);
  CHECK_EQ(at32(reset, 24), 9000);
  CHECK_EQ(at32(reset, 28), 0);
  CHECK_EQ(reset[33], kRst);
  CHECK(checksums_hold(reset));
}

TEST(a_reset_to_a_sender_that_acknowledges_nothing_acknowledges_all_of_it) {
  const Bytes syn = reset_of(ipv4(kClient, kServer, 6, numbered(kSyn, 700, 0)));
  CHECK_EQ(at32(syn, 24), 0);
  CHECK_EQ(at32(syn, 28), 701);
  CHECK_EQ(syn[33], kRst | kAck);
  CHECK(checksums_hold(syn));
  const Bytes data = reset_of(ipv6(1, 2, 6, numbered(kFin, 0xffffffff, 0, 10)));
  REQUIRE(data.size() == 60);
  CHECK_EQ(at32(data, 48), 10);  // modulo 2^32: 10 bytes and the FIN
  CHECK(checksums_hold(data));
}

TEST(a_reset_counts_data_behind_tcp_options_only) {
  Bytes segment = numbered(0, 700, 0, 32);
  segment[12] = 0x80;  // 12 bytes of options
  CHECK_EQ(at32(reset_of(ipv4(kClient, kServer, 6, segment)), 28), 700 + 20);
  segment[12] = 0xf0;  // a header longer than the segment
  CHECK_EQ(at32(reset_of(ipv4(kClient, kServer, 6, segment)), 28), 700);
}

TEST(both_ends_of_a_lost_connection_are_told) {
  Lost lost;
  Rig& rig = lost.rig;
  REQUIRE(rig.enter(client_tcp(kAck)) == Verdict::reply);
  CHECK(rig.reason() == DropReason::flow_refused);
  CHECK_EQ(rig.batch->endpoint[0], 0);
  CHECK_EQ(at32(rig.bytes(0), 16), kClient);
  REQUIRE(rig.enter(server_tcp(kAck)) == Verdict::reply);
  CHECK_EQ(at32(rig.bytes(0), 16), kServer);
  CHECK_EQ(rig.count(GatewayCounter::flows_refused), 1);
  CHECK_EQ(rig.count(GatewayCounter::resets_sent), 2);
  CHECK_EQ(rig.count(GatewayCounter::packets_replied), 2);
  CHECK_EQ(rig.drops(DropReason::flow_refused), 2);
}

TEST(a_refused_flow_ends_ten_seconds_later) {
  Lost lost;
  Rig& rig = lost.rig;
  REQUIRE(rig.enter(client_tcp(kAck)) == Verdict::reply);
  rig.age(9'999);
  CHECK_EQ(rig.gateway->flows(), 1);
  rig.age(1);
  CHECK_EQ(rig.gateway->flows(), 0);
  gateway::FlowEvent events[8];
  const uint32_t n = rig.gateway->drain_events(events, 8);
  REQUIRE(n == 2);
  CHECK_EQ(events[1].cause, static_cast<uint8_t>(gateway::FlowCause::refused));
  CHECK(rig.enter(client_tcp(kAck)) == Verdict::drop);
  CHECK(rig.reason() == DropReason::tcp_not_syn);
}

TEST(a_refused_flow_stays_refused_when_its_target_recovers) {
  Lost lost;
  Rig& rig = lost.rig;
  REQUIRE(rig.enter(client_tcp(kAck)) == Verdict::reply);
  rig.targets[lost.target].flags = select::kRegistered | select::kEligible;
  rig.publish();
  CHECK(rig.enter(server_tcp(kAck)) == Verdict::reply);
}

TEST(a_target_that_recovers_in_time_keeps_its_connections) {
  Lost lost;
  Rig& rig = lost.rig;
  rig.targets[lost.target].flags = select::kRegistered | select::kEligible;
  rig.publish();
  CHECK(rig.trip(client_tcp(kAck)).done);
}

TEST(a_syn_on_a_lost_connection_opens_a_new_one_elsewhere) {
  Lost lost;
  Rig& rig = lost.rig;
  REQUIRE(rig.enter(client_tcp(kAck)) == Verdict::reply);
  const Rig::Trip again = rig.trip(client_tcp(kSyn));
  CHECK(again.done);
  CHECK(again.target != lost.target);
  CHECK_EQ(gateway::cookie_incarnation(again.cookie), 1);
  CHECK(rig.trip(client_tcp(kAck)).done);
}

TEST(what_is_no_segment_of_the_connection_goes_on) {
  Lost lost;
  Rig& rig = lost.rig;
  CHECK(rig.enter(client_tcp(kRst)) == Verdict::forward);
  const Bytes error = ipv4(0x0a000001, kClient, 1, icmp_unreachable(client_tcp(kAck), 28));
  CHECK(rig.enter(error) == Verdict::forward);
  CHECK_EQ(rig.batch->target[0], lost.target);
}

TEST(other_protocols_stay_on_a_target_that_resets) {
  Rig rig;
  const Bytes packet = ipv4(kClient, kServer, 17, udp(1000, 53));
  const uint16_t target = rig.trip(packet).target;
  rig.targets[target].flags = select::kRegistered | select::kResetFlows;
  rig.publish();
  const Rig::Trip later = rig.trip(packet);
  CHECK(later.done);
  CHECK_EQ(later.target, target);
}

TEST(unknown_connections_are_reset_where_that_is_asked_for) {
  Rig rig(3, [](gateway::GatewayConfig& c) { c.reset_on_idle = true; });
  CHECK(rig.enter(client_tcp(kAck)) == Verdict::reply);
  CHECK(rig.reason() == DropReason::tcp_not_syn);
  CHECK(rig.enter(client_tcp(kRst)) == Verdict::drop);
  CHECK(rig.enter(client_tcp(kRst | kAck)) == Verdict::drop);
  CHECK(rig.enter(ipv4(kClient, 0xe0000101, 6, tcp(1, 2, kAck))) == Verdict::drop);
  CHECK_EQ(rig.gateway->flows(), 0);
  CHECK_EQ(rig.drops(DropReason::tcp_not_syn), 4);
  CHECK_EQ(rig.count(GatewayCounter::resets_sent), 1);
}

TEST(too_long_ipv4_packets_are_answered_with_the_mtu) {
  Rig rig(3, [](gateway::GatewayConfig& c) { c.mtu = 1400; });
  const Bytes packet = ipv4(kClient, kServer, 17, udp(1000, 53, 1400));
  REQUIRE(rig.enter(packet) == Verdict::reply);
  const Bytes answer = rig.bytes(0);
  REQUIRE(answer.size() == 576);
  CHECK_EQ(at32(answer, 12), kServer);
  CHECK_EQ(at32(answer, 16), kClient);
  CHECK_EQ(answer[20], 3);
  CHECK_EQ(answer[21], 4);
  CHECK_EQ(at16(answer, 26), 1400);
  CHECK(Bytes(answer.begin() + 28, answer.end()) == Bytes(packet.begin(), packet.begin() + 548));
  CHECK(checksums_hold(answer));
}

TEST(too_long_ipv6_packets_are_answered_with_the_mtu) {
  Rig rig(3, [](gateway::GatewayConfig& c) { c.mtu = 1400; });
  const Bytes packet = ipv6(1, 2, 17, udp(1000, 53, 1400));
  REQUIRE(rig.enter(packet) == Verdict::reply);
  const Bytes answer = rig.bytes(0);
  REQUIRE(answer.size() == 1280);
  CHECK_EQ(answer[6], 58);
  CHECK_EQ(answer[40], 2);
  CHECK_EQ(at32(answer, 44), 1400);
  CHECK(Bytes(answer.begin() + 48, answer.end()) == Bytes(packet.begin(), packet.begin() + 1232));
  CHECK(checksums_hold(answer));
}

TEST(a_short_packet_is_quoted_whole) {
  Bytes packet = ipv4(kClient, kServer, 17, udp(1, 2));
  Bytes buffer(28);
  append(buffer, packet);
  wire::InnerPacket inner;
  REQUIRE(wire::parse_inner(buffer.data() + 28, packet.size(), &inner).ok());
  CHECK_EQ(wire::write_too_big(buffer.data(), inner, 600), 28 + packet.size());
  CHECK(checksums_hold(buffer));
}

TEST(not_everything_too_long_is_answered) {
  Rig rig(3, [](gateway::GatewayConfig& c) { c.mtu = 600; });
  const Bytes payload = udp(1, 2, 700);
  CHECK(rig.enter(ipv4(kClient, kServer, 17, payload, 0x0010)) == Verdict::drop);  // later fragment
  CHECK(rig.enter(ipv4(kClient, 0xe0000101, 17, payload)) == Verdict::drop);
  Bytes error = icmp_unreachable(ipv4(kClient, kServer, 17, payload), 700);
  CHECK(rig.enter(ipv4(kServer, kClient, 1, error)) == Verdict::drop);
  CHECK_EQ(rig.drops(DropReason::inner_too_big), 3);
  CHECK_EQ(rig.count(GatewayCounter::packets_replied), 0);
}

TEST(errors_are_rate_limited) {
  Rig rig(3, [](gateway::GatewayConfig& c) { c.mtu = 600; });
  const Bytes packet = ipv4(kClient, kServer, 17, udp(1, 2, 700));
  uint32_t answered = 0;
  for (int i = 0; i < 300; ++i) answered += rig.enter(packet) == Verdict::reply;
  CHECK_EQ(answered, 100);
  rig.now_ms += 7;
  answered = 0;
  for (int i = 0; i < 300; ++i) answered += rig.enter(packet) == Verdict::reply;
  CHECK_EQ(answered, 7);
  rig.now_ms += 1'000'000;
  answered = 0;
  for (int i = 0; i < 300; ++i) answered += rig.enter(packet) == Verdict::reply;
  CHECK_EQ(answered, 100);
}

TEST(answers_leave_to_a_peer_encapsulated) {
  Rig rig(3, [](gateway::GatewayConfig& c) { c.reset_on_idle = true; });
  gateway::EndpointSpec peer;
  peer.kind = gateway::EndpointKind::geneve;
  peer.id = 99;
  peer.peer = 0x0a000099;
  peer.vni = 7;
  rig.gateway->set_endpoint(5, peer);
  Bytes datagram = {0, 0, 0x08, 0, 0, 0, 7, 0};
  append(datagram, client_tcp(kAck));
  REQUIRE(rig.come_back(datagram, peer.peer) == Verdict::reply);
  CHECK(!rig.gateway->leaves_to_target(0) || rig.batch->address[0] == peer.peer);
  CHECK_EQ(rig.batch->address[0], peer.peer);
  const Bytes out = rig.bytes(0);
  REQUIRE(out.size() == 48);
  CHECK_EQ(out[6], 7);
  CHECK(checksums_hold({out.begin() + 8, out.end()}));
}
