// What is written, for whom, and that every packet is accounted for.
#include <random>

#include "test/native/gateway_rig.h"
#include "wire/gwlb_options.h"

using namespace gwlb;
using namespace gwlb::test;
using base::DropReason;
using batch::Verdict;
using gateway::GatewayCounter;

namespace {

constexpr uint8_t kSyn = 2, kAck = 16;

}  // namespace

TEST(header_is_exactly_forty_bytes) {
  Rig rig;
  const Bytes packet = client_tcp(kSyn);
  REQUIRE(rig.enter(packet) == Verdict::forward);
  const Bytes out = rig.bytes(0);
  REQUIRE(out.size() == packet.size() + 40);
  const uint32_t cookie = rig.batch->cookie[0];
  Bytes expected = {0x08, 0x00, 0x08, 0x00, 0,    0,    0,    0,  // base header
                    0x01, 0x08, 0x01, 0x02, 0x12, 0x34, 0x56, 0x78, 0x9a, 0xbc, 0xde, 0xf0, 0x01,
                    0x08, 0x02, 0x02, 0,    0,    0,    0,    0,    0,    0,    0,  // attachment
                    0x01, 0x08, 0x03, 0x01, 0,    0,    0,    0};
  put32(expected, 36, cookie);
  expected.insert(expected.end(), packet.begin(), packet.end());
  CHECK(out == expected);
  CHECK_EQ(gateway::cookie_slot(cookie), rig.batch->target[0]);
  CHECK_EQ(rig.batch->address[0], rig.targets[rig.batch->target[0]].address);
  CHECK_EQ(rig.batch->port[0], 6081);
}

TEST(ipv6_inside_is_announced_as_ipv6) {
  Rig rig;
  const Bytes packet = ipv6(1, 2, 17, udp(53, 5353));
  REQUIRE(rig.enter(packet) == Verdict::forward);
  CHECK_EQ(rig.bytes(0)[2], 0x86);
  CHECK_EQ(rig.bytes(0)[3], 0xdd);
  CHECK(rig.trip(packet).done);
}

TEST(both_directions_share_target_cookie_and_source_port) {
  Rig rig;
  for (uint16_t port = 20000; port < 20200; ++port) {
    const Rig::Trip there = rig.trip(client_tcp(kSyn, port));
    const Rig::Trip back = rig.trip(server_tcp(kSyn | kAck, port));
    REQUIRE(there.done && back.done);
    CHECK_EQ(there.target, back.target);
    CHECK_EQ(there.cookie, back.cookie);
    CHECK_EQ(there.source_port, back.source_port);
  }
  CHECK_EQ(rig.count(GatewayCounter::flows_new), 200);
  CHECK_EQ(rig.gateway->flows(), 200);
}

TEST(scopes_keep_equal_tuples_of_two_endpoints_apart) {
  Rig rig;
  const Rig::Trip first = rig.trip(client_tcp(kSyn), 0);
  const Rig::Trip second = rig.trip(client_tcp(kSyn), 1);
  REQUIRE(first.done && second.done);
  CHECK(first.cookie != second.cookie);
  CHECK_EQ(rig.gateway->flows(), 2);
}

TEST(scope_gateway_makes_them_one_flow) {
  Rig rig(3, [](gateway::GatewayConfig& c) { c.scope_gateway = true; });
  const Rig::Trip first = rig.trip(client_tcp(kSyn), 0);
  const Rig::Trip second = rig.trip(server_tcp(kSyn | kAck), 1);
  REQUIRE(first.done && second.done);
  CHECK_EQ(first.cookie, second.cookie);
  CHECK_EQ(rig.gateway->flows(), 1);
}

TEST(icmp_echo_is_one_flow_whatever_its_id) {
  Rig rig;
  const uint32_t cookie = rig.trip(ipv4(kClient, kServer, 1, icmp_echo(false, 2))).cookie;
  CHECK_EQ(rig.trip(ipv4(kServer, kClient, 1, icmp_echo(true, 3))).cookie, cookie);
  CHECK_EQ(rig.gateway->flows(), 1);
}

TEST(too_big_packets_are_dropped_by_reason) {
  Rig rig;
  CHECK(rig.trip(ipv4(kClient, kServer, 17, udp(1, 2, 8500 - 28))).done);
  CHECK(rig.enter(ipv4(kClient, kServer, 17, udp(1, 2, 8501 - 28))) == Verdict::reply);
  CHECK(rig.reason() == DropReason::inner_too_big);
  Rig silent(3, [](gateway::GatewayConfig& c) { c.path_mtu_discovery = false; });
  CHECK(silent.enter(ipv4(kClient, kServer, 17, udp(1, 2, 8501 - 28))) == Verdict::drop);
  CHECK(silent.reason() == DropReason::inner_too_big);
}

TEST(congestion_marks_follow_rfc_6040) {
  Rig rig;
  const Bytes ect0 = ipv4(kClient, kServer, 17, udp(1, 2), 0, 1, 2);
  REQUIRE(rig.enter(ect0) == Verdict::forward);
  const Bytes out = rig.bytes(0);
  const uint32_t address = rig.targets[rig.batch->target[0]].address;
  REQUIRE(rig.come_back(out, address, 3) == Verdict::forward);
  const Bytes marked = ipv4(kClient, kServer, 17, udp(1, 2), 0, 1, 3);
  CHECK(rig.bytes(0) == marked);  // with a correct checksum
  REQUIRE(rig.enter(ipv4(kClient, kServer, 17, udp(1, 2), 0, 1, 0)) == Verdict::forward);
  CHECK(rig.come_back(rig.bytes(0), address, 3) == Verdict::drop);
  CHECK(rig.reason() == DropReason::ecn_not_capable);
}

TEST(inner_ethernet_mode) {
  Rig rig(3, [](gateway::GatewayConfig& c) {
    c.inner = gateway::InnerMode::ethernet;
    const uint8_t source[6] = {2, 0, 0, 0, 0, 1}, destination[6] = {2, 0, 0, 0, 0, 2};
    std::memcpy(c.source_mac, source, 6);
    std::memcpy(c.destination_mac, destination, 6);
  });
  const Bytes packet = client_tcp(kSyn);
  const Rig::Trip trip = rig.trip(packet);
  CHECK(trip.done);
  CHECK_EQ(trip.datagram.size(), packet.size() + 54);
  CHECK_EQ(trip.datagram[2], 0x65);
  CHECK_EQ(trip.datagram[3], 0x58);
  CHECK_EQ(trip.datagram[45], 2);
  CHECK_EQ(trip.datagram[51], 1);
}

TEST(outer_headers_for_embedders) {
  Rig rig(3, [](gateway::GatewayConfig& c) {
    c.outer_headers = true;
    c.address = 0x0a630001;
  });
  const Bytes packet = client_tcp(kSyn);
  REQUIRE(rig.enter(packet) == Verdict::forward);
  Bytes out = rig.bytes(0);
  REQUIRE(out.size() == packet.size() + 68);
  CHECK_EQ(ones_complement(out.data(), 20), 0);
  CHECK_EQ(out[8], 255);
  // The appliance swaps addresses, keeps ports and leaves the UDP checksum 0.
  for (int k = 0; k < 4; ++k) std::swap(out[12 + k], out[16 + k]);
  put16(out, 26, 0);
  REQUIRE(rig.come_back(out, 0) == Verdict::forward);
  CHECK(rig.bytes(0) == packet);
  put16(out, 26, 0x1234);
  CHECK(rig.come_back(out, 0) == Verdict::drop);
  CHECK(rig.reason() == DropReason::outer_bad_checksum);
}

TEST(geneve_endpoints_are_told_apart_by_address_and_vni) {
  Rig rig;
  gateway::EndpointSpec peer;
  peer.kind = gateway::EndpointKind::geneve;
  peer.id = 0xabc;
  peer.peer = 0xc0000207;
  peer.vni = 7;
  rig.gateway->set_endpoint(5, peer);
  const Bytes packet = client_tcp(kSyn);
  Bytes datagram = {0x00, 0x00, 0x08, 0x00, 0, 0, 7, 0};
  datagram.insert(datagram.end(), packet.begin(), packet.end());
  REQUIRE(rig.come_back(datagram, peer.peer) == Verdict::forward);
  CHECK(rig.gateway->leaves_to_target(0));
  CHECK_EQ(rig.batch->endpoint[0], 5);
  const Bytes encapsulated = rig.bytes(0);
  REQUIRE(rig.come_back(encapsulated, rig.targets[rig.batch->target[0]].address) ==
          Verdict::forward);
  CHECK(!rig.gateway->leaves_to_target(0));
  CHECK(rig.bytes(0) == datagram);
  CHECK_EQ(rig.batch->address[0], peer.peer);
  datagram[6] = 8;
  CHECK(rig.come_back(datagram, peer.peer) == Verdict::drop);
  CHECK(rig.reason() == DropReason::unknown_endpoint);
}

TEST(explain_agrees_with_the_decision) {
  Rig rig;
  for (uint16_t port = 1; port <= 100; ++port) {
    const Bytes syn = client_tcp(kSyn, port);
    const auto length = static_cast<uint32_t>(syn.size());
    const gateway::Explanation before = rig.gateway->explain(syn.data(), length, 0, rig.now_ms);
    const Rig::Trip trip = rig.trip(syn);
    CHECK_EQ(before.target, trip.target);
    CHECK(!before.pinned);
    const gateway::Explanation after =
        rig.gateway->explain(syn.data(), length, 0, rig.now_ms + 50'000);
    CHECK(after.pinned);
    CHECK_EQ(after.cookie, trip.cookie);
    CHECK_EQ(after.idle_left_ms, 70'000);
    CHECK(after.cookie_signed);
    CHECK_EQ(after.rows, rig.gateway->targets().rows());
  }
  const Bytes ack = client_tcp(kAck, 999);
  CHECK(rig.gateway->explain(ack.data(), 40, 0, rig.now_ms).error == DropReason::tcp_not_syn);
  CHECK(rig.gateway->explain(ack.data(), 39, 0, rig.now_ms).error == DropReason::inner_truncated);
  CHECK(rig.gateway->explain(ack.data(), 40, 9, rig.now_ms).error == DropReason::unknown_endpoint);
  CHECK_EQ(rig.count(GatewayCounter::packets_in), 100);
}

// Whatever comes in, goes out or is counted, exactly once.
TEST(every_packet_is_accounted_for) {
  Rig rig(3, [](gateway::GatewayConfig& c) { c.mid_stream = gateway::MidStream::pickup; });
  std::mt19937 random(42);
  uint64_t in = 0, out = 0;
  std::vector<std::pair<Bytes, uint32_t>> datagrams;
  for (int round = 0; round < 20000; ++round) {
    Bytes packet;
    switch (random() % 6) {
      case 0:
        packet =
            client_tcp(static_cast<uint8_t>(random() & 31), static_cast<uint16_t>(random() % 50));
        break;
      case 1:
        packet =
            server_tcp(static_cast<uint8_t>(random() & 31), static_cast<uint16_t>(random() % 50));
        break;
      case 2:
        packet = ipv4(kClient, kServer, 17, udp(static_cast<uint16_t>(random() % 50), 53));
        break;
      case 3:
        packet = ipv6(1, static_cast<uint8_t>(random()), 17, udp(1, 2));
        break;
      case 4:
        packet = ipv4(kServer, kClient, 1,
                      icmp_unreachable(
                          ipv4(kClient, kServer, 17, udp(static_cast<uint16_t>(random() % 60), 53)),
                          random() % 40));
        break;
      default:
        packet = client_tcp(2);
        packet[random() % packet.size()] ^= static_cast<uint8_t>(1u << (random() % 8));
        packet.resize(1 + random() % packet.size());
    }
    ++in;
    const auto endpoint = static_cast<uint16_t>(random() % 3);
    if (rig.enter(packet, endpoint) == Verdict::forward) {
      ++out;
      Bytes datagram = rig.bytes(0);
      const uint32_t address = rig.batch->address[0];
      if (random() % 4 == 0) datagram[random() % datagram.size()] ^= static_cast<uint8_t>(random());
      if (random() % 16 == 0) datagram.resize(random() % datagram.size());
      ++in;
      if (rig.come_back(datagram, random() % 16 == 0 ? address + 1 : address) == Verdict::forward) {
        ++out;
      }
    }
    if (random() % 64 == 0) rig.age(random() % 20'000);
  }
  CHECK_EQ(in, out + rig.all_drops() + rig.count(GatewayCounter::packets_held));
  CHECK_EQ(out,
           rig.count(GatewayCounter::packets_to_targets) + rig.count(GatewayCounter::packets_out));
}

TEST(a_packet_of_no_endpoint_is_a_counted_drop_also_as_the_first_of_a_batch) {
  Rig rig;
  CHECK(rig.enter(client_tcp(2), base::kNoEndpoint) == Verdict::drop);
  CHECK(rig.reason() == DropReason::unknown_endpoint);
  CHECK(rig.enter(client_tcp(2), 7) == Verdict::drop);
  CHECK_EQ(rig.drops(DropReason::unknown_endpoint), 2u);
}

TEST(tagged_frames_of_a_peer_are_refused) {
  Rig rig;
  gateway::EndpointSpec peer;
  peer.kind = gateway::EndpointKind::geneve;
  peer.id = 0xabc;
  peer.peer = 0xc0000207;
  peer.inner = gateway::InnerMode::ethernet;
  rig.gateway->set_endpoint(5, peer);
  const Bytes packet = client_tcp(kSyn);
  Bytes plain = {0, 0, 0x65, 0x58, 0, 0, 0, 0, 2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 8, 0};
  Bytes tagged(plain.begin(), plain.begin() + 20);
  append(tagged, Bytes{0x81, 0, 0, 10, 8, 0});
  append(plain, packet);
  append(tagged, packet);
  CHECK(rig.come_back(tagged, peer.peer) == Verdict::drop);
  CHECK(rig.reason() == DropReason::geneve_bad_protocol);
  REQUIRE(rig.come_back(plain, peer.peer) == Verdict::forward);
  const Bytes out = rig.bytes(0);
  REQUIRE(rig.come_back(out, rig.targets[rig.batch->target[0]].address) == Verdict::forward);
  Bytes swapped = plain;
  std::swap_ranges(swapped.begin() + 8, swapped.begin() + 14, swapped.begin() + 14);
  CHECK(rig.bytes(0) == swapped);
}
