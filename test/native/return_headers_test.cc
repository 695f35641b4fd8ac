// Which header a packet goes back with: the newest of its flow and direction, byte for byte.
#include "appliance/return_headers.h"

#include "test/native/return_headers_rig.h"

namespace gwlb {
namespace {

using namespace test;

constexpr DropReason kNone = DropReason::none;

TEST(each_direction_goes_back_with_its_newest_header) {
  ReturnBench bench;
  CHECK(bench.enter({{datagram(udp_from(true), 1), 0xc0000201, 40001, 0},
                     {datagram(udp_from(false), 2), 0xc0000202, 40002, 0}}) ==
        std::vector<DropReason>(2, kNone));
  GivenBack back = bench.come_back(udp_from(true));
  CHECK(back.bytes == datagram(udp_from(true), 1));
  CHECK_EQ(back.peer, 0xc0000201u);
  CHECK_EQ(back.port, kGatewayPort);
  CHECK_EQ(back.source_port, 40001);
  back = bench.come_back(udp_from(false));
  CHECK(back.bytes == datagram(udp_from(false), 2));
  CHECK_EQ(back.peer, 0xc0000202u);
  CHECK_EQ(back.source_port, 40002);
  // The newest of a batch, too, counts.
  bench.enter({{datagram(udp_from(true), 3)}, {datagram(udp_from(true), 4)}});
  CHECK_EQ(bench.cookie_of(udp_from(true)), 4u);
  CHECK_EQ(bench.cookie_of(udp_from(false)), 2u);
  CHECK_EQ(bench.headers->flows().ipv4, 1u);
}

TEST(both_versions_and_protocols_without_ports) {
  ReturnBench bench;
  const Bytes v6 = ipv6(1, 2, 17, udp(5, 6)), v6_back = ipv6(2, 1, 17, udp(6, 5));
  const Bytes ping = ipv4(kClient, kServer, 1, icmp_echo(false, 7));
  const Bytes pong = ipv4(kServer, kClient, 1, icmp_echo(true, 7));
  const Bytes gre = ipv4(kClient, kServer, 47, Bytes(20));
  bench.enter({{datagram(v6, 1)}, {datagram(ping, 2)}, {datagram(gre, 3)}});
  CHECK_EQ(bench.cookie_of(v6), 1u);
  CHECK_EQ(bench.cookie_of(v6_back), 1u);
  CHECK_EQ(bench.cookie_of(pong), 2u);
  CHECK_EQ(bench.cookie_of(gre), 3u);
  CHECK_EQ(bench.headers->flows().ipv6, 1u);
}

TEST(what_the_kernel_makes_itself_goes_with_the_flow_it_is_about) {
  ReturnBench bench;
  bench.enter(datagram(tcp_from(true, wire::kSyn), 7));
  // A reset instead of the server's answer, and a refusal that quotes the SYN.
  CHECK_EQ(bench.cookie_of(tcp_from(false, wire::kRst | wire::kAck)), 7u);
  const Bytes refusal =
      ipv4(0x0a0000fe, kClient, 1, icmp_unreachable(tcp_from(true, wire::kSyn), 28));
  CHECK_EQ(bench.cookie_of(refusal), 7u);
  // Once the server has spoken, its direction's.
  bench.enter(datagram(tcp_from(false, wire::kSyn | wire::kAck), 8));
  CHECK_EQ(bench.cookie_of(refusal), 8u);
  // "Too big" about what the server sent goes to the server.
  const Bytes about_server =
      ipv4(0x0a0000fe, kServer, 1, icmp_unreachable(tcp_from(false, wire::kAck), 28));
  CHECK_EQ(bench.cookie_of(about_server), 7u);
}

TEST(icmp_errors_of_the_tunnel_make_no_flow_and_change_no_header) {
  ReturnBench bench;
  const Bytes error = ipv4(kServer, kClient, 1, icmp_unreachable(udp_from(true), 28));
  CHECK(bench.enter(datagram(error, 1)) == DropReason::icmp_no_flow);
  CHECK(bench.come_back(error).reason == DropReason::device_unknown_flow);
  bench.enter({{datagram(udp_from(true), 2)}, {datagram(udp_from(false), 3)}});
  CHECK(bench.enter(datagram(error, 4)) == kNone);
  CHECK_EQ(bench.cookie_of(error), 3u);
  CHECK_EQ(bench.cookie_of(udp_from(false)), 3u);
  const Bytes bad = ipv4(kServer, kClient, 1, icmp_unreachable(udp_from(true), 12));
  CHECK(bench.enter(datagram(bad, 5)) == DropReason::icmp_bad_quote);
  CHECK(bench.come_back(bad).reason == DropReason::icmp_bad_quote);
  CHECK_EQ(bench.headers->flows().ipv4, 1u);
}

TEST(a_packet_of_no_flow_is_dropped) {
  ReturnBench bench;
  bench.enter(datagram(udp_from(true, 1000), 1));
  CHECK(bench.come_back(udp_from(true, 1001)).reason == DropReason::device_unknown_flow);
  // Another device's flows are others.
  CHECK(bench.come_back(udp_from(true, 1000), 1).reason == DropReason::device_unknown_flow);
  CHECK(bench.enter(datagram(udp_from(true, 1000), 2), 1) == kNone);
  CHECK_EQ(bench.cookie_of(udp_from(true, 1000), 1), 2u);
  CHECK_EQ(bench.cookie_of(udp_from(true, 1000), 0), 1u);
  CHECK(bench.come_back(Bytes{0x45, 0, 0, 9}).reason == DropReason::inner_truncated);
}

TEST(fragments_follow_their_first_one) {
  ReturnBench bench;
  Bytes whole = udp(1000, 53, 40);
  const Bytes head(whole.begin(), whole.begin() + 24), rest(whole.begin() + 24, whole.end());
  const Bytes first = ipv4(kClient, kServer, 17, head, 0x2000, 9);
  const Bytes later = ipv4(kClient, kServer, 17, rest, 3, 9);
  // Another flow between the same hosts must not be taken for theirs.
  bench.enter({{datagram(udp_from(true, 2000), 5)},
               {datagram(first, 6)},
               {datagram(later, 6)},
               {datagram(udp_from(true, 2001), 7)}});
  CHECK_EQ(bench.cookie_of(first), 6u);
  CHECK_EQ(bench.cookie_of(later), 6u);
  CHECK_EQ(bench.cookie_of(udp_from(true, 1000)), 6u);
  // The kernel may put them together, and cut them another way.
  CHECK_EQ(bench.cookie_of(ipv4(kClient, kServer, 17, whole)), 6u);
  CHECK_EQ(bench.headers->flows().ipv4, 3u);
}

TEST(a_fragment_without_its_first_one_goes_by_its_addresses) {
  ReturnBench bench;
  const Bytes later = ipv4(kClient, kServer, 17, Bytes(16), 3, 9);
  CHECK(bench.enter(datagram(later, 6)) == kNone);
  CHECK_EQ(bench.cookie_of(later), 6u);
  CHECK(bench.come_back(udp_from(true)).reason == DropReason::device_unknown_flow);
}

Bytes with_options(const Bytes& inner, uint32_t cookie, size_t words) {
  std::vector<Option> options = gateway_options(cookie);
  options.insert(options.begin(), {0x7777, 5, {}});
  for (size_t left = words; left > 0;) {
    const size_t some = left < 31 ? left : 31;
    Bytes data(4 * some);
    for (size_t k = 0; k < data.size(); ++k) data[k] = static_cast<uint8_t>(k * 7 + left);
    options.push_back({0x7778, 6, data});
    left -= some;
  }
  return geneve(inner[0] >> 4 == 4 ? 0x0800 : 0x86dd, options, 77, true) + inner;
}

TEST(unknown_options_reserved_bits_and_ethernet_go_back_as_they_came) {
  for (const size_t words : {0u, 1u, 4u, 12u, 20u, 31u, 45u, 51u}) {
    ReturnBench bench;
    for (const bool client : {true, false}) {
      const Bytes bytes = with_options(udp_from(client), 9, words);
      CHECK(bench.enter(bytes) == kNone);
      CHECK(bench.come_back(udp_from(client)).bytes == bytes);
    }
    // Also in front of what fills its slot as far as a device may.
    const Bytes big = ipv4(kClient, kServer, 17, udp(1000, 53, base::kInnerBytesMax - 28));
    CHECK(bench.come_back(big).bytes == with_options(big, 9, words));
  }
  ReturnBench bench;
  const Bytes frame =
      geneve(0x6558, gateway_options(3)) + ethernet(0x0800, {7, 8}) + udp_from(true);
  CHECK(bench.enter(frame) == kNone);
  CHECK(bench.come_back(udp_from(true)).bytes == frame);
}

TEST(outer_paths_go_back_too) {
  ReturnBench bench({2048, 2048, 64, 350'000, 120'000}, true);
  bench.in->paths[0] = {{1}, {2}, 3};
  CHECK(bench.enter(datagram(udp_from(true))) == kNone);
  CHECK(bench.come_back(udp_from(true)).reason == kNone);
  CHECK(bench.out->paths[0] == bench.in->paths[0]);
}

TEST(a_super_packet_gets_one_header) {
  ReturnBench bench;
  bench.enter(datagram(tcp_from(true, wire::kAck), 4));
  const Bytes big = ipv4(kClient, kServer, 6, tcp(4000, 443, wire::kAck, 3000));
  batch::PacketBatch& batch = *bench.out;
  batch.count = 1;
  batch.reset(0, static_cast<uint32_t>(big.size()));
  std::memcpy(batch.packet(0), big.data(), big.size());
  batch.endpoint[0] = 0;
  batch.make_super(0, 3, 40, 1000);
  const uint32_t inner = batch.inner[0];
  bench.headers->give_back(batch, kGatewayPort, bench.now_ms);
  CHECK_EQ(batch.inner[0], inner);
  CHECK_EQ(batch.offset[0], inner - 40);
  CHECK_EQ(batch.packets[0], 3);
  CHECK(Bytes(batch.packet(0), batch.packet(0) + batch.length[0]) == datagram(big, 4));
}

}  // namespace
}  // namespace gwlb
