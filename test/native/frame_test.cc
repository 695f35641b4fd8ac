#include "wire/frame.h"

#include "test/native/wire_rig.h"
#include "wire/checksum.h"

namespace gwlb::test {
namespace {

using base::DropReason;
using wire::ChecksumState;
using wire::Frame;
using wire::Layer;
using wire::Link;
using wire::ParseError;

constexpr uint32_t kGateway = 0x0a000005;
constexpr uint32_t kTarget = 0x0a00010a;
const Bytes kEthernet = hex("020000000001 020000000002 0800");
const Bytes kEthernet6 = hex("020000000001 020000000002 86dd");
const Bytes kGeneve = hex("08 00 0800 000000 00 0108 01 02 31e129cdc0cd8633") +
                      hex("0108 02 02 0000000000000000 0108 03 01 3dc956ac");

Bytes udp_packet(const Bytes& payload, uint16_t port = 6081) {
  Bytes b(8);
  put16(b, 0, 60276);
  put16(b, 2, port);
  put16(b, 4, static_cast<uint16_t>(8 + payload.size()));
  return b + payload;
}

// Frames have no checksum unless it is put in.
Bytes with_checksum(Bytes ip) {
  const bool four = ip[0] >> 4 == 4;
  const size_t udp = four ? 20 : 40;
  const Bytes address(ip.begin() + (four ? 12 : 8), ip.begin() + static_cast<std::ptrdiff_t>(udp));
  put16(ip, udp + 6, 0);
  Bytes pseudo = address + Bytes(4);
  put32(pseudo, address.size(), static_cast<uint32_t>(ip.size() - udp));
  pseudo =
      pseudo + hex("0000 0011") + Bytes(ip.begin() + static_cast<std::ptrdiff_t>(udp), ip.end());
  put16(ip, udp + 6, ones_complement(pseudo.data(), pseudo.size()));
  return ip;
}

Bytes inner() { return ipv4(0xcb007109, 0x0a00020a, 6, tcp(52144, 443, 2)); }
Bytes gateway_packet() {
  return with_checksum(ipv4(kGateway, kTarget, 17, udp_packet(kGeneve + inner())));
}

struct Parsed {
  ParseError error;
  Frame frame;
};

// Pointers of the frame are not to be followed: the block is gone.
Parsed parse(const Bytes& bytes, Link link = Link::ethernet, size_t wire_length = 0,
             uint16_t port = 6081) {
  Exact exact(bytes);
  Parsed out;
  out.error = wire::parse_frame(exact.data(), exact.size(), std::max(wire_length, bytes.size()),
                                static_cast<uint32_t>(link), 0x0108, port, &out.frame);
  return out;
}

TEST(a_packet_of_a_gateway_in_full) {
  Exact exact(kEthernet + gateway_packet());
  Frame frame;
  const ParseError error =
      wire::parse_frame(exact.data(), exact.size(), exact.size(), 1, 0x0108, 6081, &frame);
  REQUIRE(error.ok());
  CHECK(frame.is_geneve);
  CHECK_EQ(frame.ip_offset, 14);
  CHECK_EQ(frame.udp_offset, 34);
  CHECK_EQ(frame.geneve_offset, 42);
  CHECK_EQ(frame.inner_ethernet_offset, Frame::kAbsent);
  CHECK_EQ(frame.inner_offset, 82);
  CHECK_EQ(frame.source, exact.data() + 26);
  CHECK_EQ(frame.destination, exact.data() + 30);
  CHECK_EQ(frame.version, 4);
  CHECK_EQ(frame.ttl, 64);
  CHECK_EQ(frame.protocol, 17);
  CHECK_EQ(frame.source_port, 60276);
  CHECK_EQ(frame.destination_port, 6081);
  CHECK_EQ(frame.checksum, ChecksumState::ok);
  CHECK(frame.has_gateway_options);
  CHECK_EQ(frame.gateway.endpoint_id, 0x31e129cdc0cd8633u);
  CHECK_EQ(frame.gateway.cookie, 0x3dc956acu);
  CHECK(frame.has_inner);
  CHECK_EQ(frame.inner.source, exact.data() + 94);
  CHECK_EQ(frame.inner.source_port, 52144);
  CHECK_EQ(frame.inner.total_length, 40);
}

TEST(every_link_type) {
  const Bytes ip = gateway_packet();
  const Bytes cooked = hex("0000 0001 0006 020000000001 0000 0800");
  const Bytes cooked2 = hex("0800 0000 00000002 0001 00 06 0200000000010000");
  struct Row {
    Link link;
    Bytes header;
  };
  for (const Row& row :
       {Row{Link::ethernet, kEthernet}, Row{Link::raw_ip, {}}, Row{Link::raw_ip_bsd, {}},
        Row{Link::ipv4, {}}, Row{Link::linux_cooked, cooked}, Row{Link::linux_cooked2, cooked2},
        Row{Link::bsd_null, hex("02000000")}, Row{Link::bsd_null, hex("00000002")},
        Row{Link::bsd_loop, hex("00000002")}}) {
    CHECK(wire::link_supported(static_cast<uint32_t>(row.link)));
    const Parsed got = parse(row.header + ip, row.link);
    CHECK(got.error.ok());
    CHECK(got.frame.has_inner);
    CHECK_EQ(got.frame.ip_offset, row.header.size());
    CHECK_EQ(got.frame.inner_offset, row.header.size() + 68);
    for (size_t cut = 0; cut < row.header.size(); ++cut) {
      const Parsed part = parse(Bytes(row.header.begin(), row.header.begin() + cut), row.link);
      CHECK_EQ(part.error.reason, DropReason::outer_truncated);
      CHECK(part.error.needed > part.error.had);
    }
  }
  for (const uint32_t link : {2u, 105u, 147u, 0x10000u, 0x10001u, 0xffffffffu}) {
    CHECK(!wire::link_supported(link));
  }
}

TEST(address_families_of_the_bsds) {
  const Bytes six = ipv6(1, 2, 17, udp_packet(kGeneve + inner()));
  for (const Bytes& family : {hex("18000000"), hex("1c000000"), hex("0000001e")}) {
    CHECK_EQ(parse(family + six, Link::bsd_null).frame.ip_offset, 4);
  }
  for (const Bytes& family : {hex("07000000"), hex("00000000"), hex("02020000")}) {
    const Parsed got = parse(family + gateway_packet(), Link::bsd_null);
    CHECK(got.error.ok());
    CHECK_EQ(got.frame.network_offset, Frame::kAbsent);
  }
}

TEST(vlan_tags_of_the_link) {
  const Bytes addresses = hex("020000000001 020000000002");
  const Parsed one = parse(addresses + hex("8100 0064 0800") + gateway_packet());
  CHECK(one.frame.has_inner);
  CHECK_EQ(one.frame.ip_offset, 18);
  const Parsed two = parse(addresses + hex("88a8 0001 8100 0064 0800") + gateway_packet());
  CHECK_EQ(two.frame.inner_offset, 90);
  const Bytes cooked = hex("0000 0001 0006 020000000001 0000 8100 0064 0800");
  CHECK_EQ(parse(cooked + gateway_packet(), Link::linux_cooked).frame.ip_offset, 20);
}

TEST(outer_ipv6) {
  const Bytes ip = with_checksum(ipv6(1, 2, 17, udp_packet(kGeneve + inner())));
  const Parsed got = parse(kEthernet6 + ip);
  CHECK(got.error.ok());
  CHECK_EQ(got.frame.version, 6);
  CHECK_EQ(got.frame.checksum, ChecksumState::ok);
  CHECK_EQ(got.frame.geneve_offset, 14 + 48);
  CHECK(got.frame.has_inner);
  const Bytes hop = hex("11 00 050200000000");
  const Parsed chain = parse(kEthernet6 + ipv6(1, 2, 0, hop + udp_packet(kGeneve + inner())));
  CHECK_EQ(chain.frame.geneve_offset, 14 + 56);
  CHECK_EQ(chain.frame.checksum, ChecksumState::zero);
  CHECK(chain.frame.has_inner);
}

TEST(checksum_states) {
  Bytes packet = gateway_packet();
  const Parsed padded = parse(kEthernet + packet + Bytes(7, 0xee));
  CHECK_EQ(padded.frame.checksum, ChecksumState::ok);
  packet[60] ^= 1;
  CHECK_EQ(parse(kEthernet + packet).frame.checksum, ChecksumState::bad);
  CHECK(parse(kEthernet + packet).error.ok());
  const Bytes cut(packet.begin(), packet.end() - 1);
  CHECK_EQ(parse(kEthernet + cut, Link::ethernet, 14 + packet.size()).frame.checksum,
           ChecksumState::unknown);
  put16(packet, 26, 0);
  CHECK_EQ(parse(kEthernet + packet).frame.checksum, ChecksumState::zero);
  CHECK_EQ(wire::checksum_state_name(ChecksumState::ok), "ok");
  CHECK_EQ(wire::checksum_state_name(ChecksumState::zero), "zero");
  CHECK_EQ(wire::checksum_state_name(ChecksumState::bad), "bad");
  CHECK_EQ(wire::checksum_state_name(ChecksumState::unknown), "unknown");
}

TEST(every_cut_of_a_frame_keeps_what_was_readable) {
  const Bytes whole = kEthernet + gateway_packet();
  for (size_t length = 0; length < whole.size(); ++length) {
    const Bytes cut(whole.begin(), whole.begin() + static_cast<std::ptrdiff_t>(length));
    const Parsed got = parse(cut, Link::ethernet, whole.size());
    // 122 bytes: all headers up to the inner TCP.
    CHECK(!got.error.ok());
    CHECK(got.error.needed > got.error.had);
    CHECK(got.error.offset <= length);
    CHECK_EQ(got.frame.is_geneve, length >= 42);
    CHECK_EQ(got.frame.geneve_offset != Frame::kAbsent, length >= 50);
    CHECK_EQ(got.frame.has_gateway_options, length >= 82);
    CHECK(!got.frame.has_inner);
    const DropReason reason = length < 42   ? DropReason::outer_truncated
                              : length < 82 ? DropReason::geneve_truncated
                                            : DropReason::inner_truncated;
    CHECK_EQ(got.error.reason, reason);
  }
}

TEST(a_capture_cut_behind_the_headers_is_no_error) {
  const Bytes big = ipv4(1, 2, 6, tcp(1, 2, 0x10, 1400));
  const Bytes whole = kEthernet + ipv4(kGateway, kTarget, 17, udp_packet(kGeneve + big));
  const Bytes cut(whole.begin(), whole.begin() + 122);
  const Parsed got = parse(cut, Link::ethernet, whole.size());
  CHECK(got.error.ok());
  CHECK_EQ(got.frame.inner.total_length, 1440);
  // The same bytes as all there was on the wire are malformed, and read all the same.
  const Parsed lying = parse(cut);
  CHECK_EQ(lying.error.reason, DropReason::outer_truncated);
  CHECK_EQ(lying.error.layer, Layer::outer_ipv4);
  CHECK_EQ(lying.error.needed, whole.size() - 14);
  CHECK_EQ(lying.error.had, 108);
  CHECK(lying.frame.has_gateway_options);
}

TEST(udp_lengths_that_lie) {
  Bytes packet = kEthernet + gateway_packet();
  put16(packet, 38, 200);
  Parsed got = parse(packet);
  CHECK_EQ(got.error.reason, DropReason::outer_truncated);
  CHECK_EQ(got.error.layer, Layer::outer_udp);
  CHECK_EQ(got.error.needed, 200);
  CHECK_EQ(got.error.had, 88);
  CHECK_EQ(got.frame.checksum, ChecksumState::unknown);
  CHECK(got.frame.has_gateway_options);
  put16(packet, 38, 7);
  got = parse(packet);
  CHECK_EQ(got.error.needed, 8);
  CHECK_EQ(got.error.had, 7);
  put16(packet, 38, 8 + 39);  // ends inside the options, though there are more bytes
  got = parse(packet);
  CHECK_EQ(got.error.reason, DropReason::geneve_truncated);
  CHECK_EQ(got.error.had, 39);
  put16(packet, 38, 8 + 40 + 30);  // ends inside the inner packet
  got = parse(packet);
  CHECK_EQ(got.error.reason, DropReason::inner_truncated);
  CHECK_EQ(got.error.layer, Layer::inner_ipv4);
  CHECK_EQ(got.error.needed, 40);
  CHECK_EQ(got.error.had, 30);
}

TEST(big_tcp_lengths_of_zero_mean_to_the_end) {
  Bytes big = ipv4(1, 2, 6, tcp(1, 2, 0x10)) + Bytes(80000, 'x');
  put16(big, 2, 0);
  Bytes packet = ipv4(kGateway, kTarget, 17, udp_packet(kGeneve)) + big;
  put16(packet, 2, 0);
  put16(packet, 24, 0);
  const Parsed got = parse(packet, Link::raw_ip);
  CHECK(got.error.ok());
  CHECK_EQ(got.frame.inner.total_length, big.size());
  Bytes packet6 = ipv6(1, 2, 17, udp_packet(kGeneve)) + big;
  put16(packet6, 4, 0);
  put16(packet6, 44, 0);
  put16(packet6, 46, 0x1234);
  const Parsed got6 = parse(packet6, Link::ipv6);
  CHECK(got6.error.ok());
  CHECK_EQ(got6.frame.checksum, ChecksumState::unknown);
  CHECK_EQ(got6.frame.inner.total_length, big.size());
  // A small frame of a sender that leaves lengths to its network card.
  Bytes small = ipv4(kGateway, kTarget, 17, udp_packet(kGeneve + inner()));
  put16(small, 2, 0);
  const Parsed got_small = parse(kEthernet + small);
  CHECK(got_small.error.ok());
  CHECK(got_small.frame.has_inner);
}

TEST(bytes_behind_the_outer_packet_are_not_read) {
  Bytes packet = ipv4(kGateway, kTarget, 17, udp_packet(kGeneve + inner()));
  put16(packet, 2, 20 + 8 + 30);  // ends inside the options, whatever UDP says
  const Parsed got = parse(kEthernet + packet);
  CHECK_EQ(got.error.reason, DropReason::geneve_truncated);
  CHECK_EQ(got.error.needed, 40);
  CHECK_EQ(got.error.had, 30);
  CHECK(!got.frame.has_gateway_options);
}

TEST(outer_fragments) {
  Bytes first = ipv4(kGateway, kTarget, 17, udp_packet(kGeneve + inner()), 0x2000);
  put16(first, 24, 2000);  // the datagram is longer than this fragment
  put16(first, 26, 0x1234);
  const Parsed got = parse(first, Link::raw_ip);
  CHECK(got.error.ok());
  CHECK(got.frame.has_inner);
  CHECK_EQ(got.frame.checksum, ChecksumState::unknown);
  // Even where the UDP length would fit, a fragment is not the datagram its checksum is about.
  put16(first, 24, 88);
  CHECK_EQ(parse(first, Link::raw_ip).frame.checksum, ChecksumState::unknown);
  const Parsed later =
      parse(ipv4(kGateway, kTarget, 17, udp_packet(kGeneve + inner()), 185), Link::raw_ip);
  CHECK(later.error.ok());
  CHECK(!later.frame.is_geneve);
  CHECK_EQ(later.frame.ip_offset, 0);
  CHECK_EQ(later.frame.udp_offset, Frame::kAbsent);
}

TEST(other_packets_are_no_errors) {
  for (const Bytes& bytes :
       {hex("020000000001 020000000002 0806 0001"), kEthernet + ipv4(1, 2, 6, tcp(1, 6081, 2)),
        kEthernet + ipv4(1, 2, 17, udp(6081, 53)), kEthernet + ipv4(1, 2, 1, icmp_echo(true, 3)),
        kEthernet + ipv4(1, 2, 6, Bytes(3)), kEthernet + Bytes(60, 0x55)}) {
    const Parsed got = parse(bytes);
    CHECK(got.error.ok());
    CHECK(!got.frame.is_geneve);
    CHECK_EQ(got.frame.geneve_offset, Frame::kAbsent);
  }
}

TEST(another_port) {
  const Bytes packet = ipv4(kGateway, kTarget, 17, udp_packet(kGeneve + inner(), 6082));
  CHECK(!parse(packet, Link::raw_ip).frame.is_geneve);
  CHECK(parse(packet, Link::raw_ip, 0, 6082).frame.has_inner);
}

Parsed parse_geneve_payload(const Bytes& payload) {
  return parse(ipv4(kGateway, kTarget, 17, udp_packet(payload)), Link::raw_ip);
}

TEST(control_and_critical_are_shown_not_refused) {
  const Parsed got = parse_geneve_payload(hex("01 c0 0800 000007 00 ffff 80 00") + inner());
  CHECK(got.error.ok());
  CHECK(got.frame.geneve.control);
  CHECK(got.frame.geneve.critical);
  CHECK(!got.frame.has_gateway_options);
  CHECK(got.frame.has_inner);
}

TEST(bad_geneve_headers) {
  Parsed got = parse_geneve_payload(hex("40 00 0800 000007 00") + inner());
  CHECK_EQ(got.error.reason, DropReason::geneve_bad_version);
  CHECK_EQ(got.frame.geneve.vni, 7);
  CHECK_EQ(got.frame.geneve_offset, 28);
  got = parse_geneve_payload(hex("01 00 0800 000007 00 0108 01 02") + inner());
  CHECK_EQ(got.error.reason, DropReason::geneve_bad_options);
  CHECK_EQ(got.error.offset, 36);
  CHECK(!got.frame.has_inner);
}

TEST(inner_ethernet) {
  const Bytes geneve = hex("00 00 6558 000007 00");
  Parsed got = parse_geneve_payload(geneve + kEthernet + inner());
  CHECK(got.error.ok());
  CHECK_EQ(got.frame.inner_ethernet_offset, 36);
  CHECK_EQ(got.frame.inner_offset, 50);
  CHECK_EQ(got.frame.inner.destination_port, 443);
  got = parse_geneve_payload(geneve + hex("020000000001 020000000002 8100 0064 0800") + inner());
  CHECK_EQ(got.frame.inner_ethernet.vlan[0], 100);
  CHECK_EQ(got.frame.inner_offset, 54);
  got = parse_geneve_payload(geneve + hex("020000000001 020000000002 0806 0001"));
  CHECK(got.error.ok());
  CHECK(!got.frame.has_inner);
  CHECK_EQ(got.frame.inner_ethernet.ether_type, 0x0806);
  got = parse_geneve_payload(geneve + hex("0200"));
  CHECK_EQ(got.error.layer, Layer::inner_ethernet);
  CHECK_EQ(got.error.needed, 14);
  CHECK_EQ(got.error.had, 2);
  CHECK_EQ(got.frame.inner_ethernet_offset, Frame::kAbsent);
}

TEST(inner_version_has_to_be_the_protocol_type_s) {
  Parsed got = parse_geneve_payload(hex("00 00 86dd 000007 00") + inner());
  CHECK_EQ(got.error.reason, DropReason::inner_bad_version);
  CHECK_EQ(got.error.layer, Layer::inner_ipv6);
  CHECK_EQ(got.error.needed, 6);
  CHECK_EQ(got.error.had, 4);
  got = parse_geneve_payload(hex("00 00 0800 000007 00"));
  CHECK_EQ(got.error.reason, DropReason::inner_truncated);
  CHECK_EQ(got.error.had, 0);
  got = parse_geneve_payload(hex("00 00 880b 000007 00") + Bytes(3));
  CHECK(got.error.ok());
  CHECK(!got.frame.has_inner);
}

TEST(written_outer_and_gateway_headers_read_back) {
  Bytes frame(68);
  wire::OuterHeader outer;
  outer.source = kGateway;
  outer.destination = kTarget;
  outer.source_port = 33000;
  outer.tos = 0x2e;
  outer.checksum = true;
  frame = frame + inner();
  wire::write_gateway_header(frame.data() + 28, 0x0800, 0x0108, {1, 2, 3});
  wire::write_outer_header(frame.data(), outer, static_cast<uint32_t>(frame.size() - 28));
  const Parsed got = parse(frame, Link::raw_ip);
  REQUIRE(got.error.ok());
  CHECK_EQ(got.frame.checksum, ChecksumState::ok);
  CHECK_EQ(got.frame.ttl, 255);
  CHECK_EQ(got.frame.tos, 0x2e);
  CHECK_EQ(got.frame.source_port, 33000);
  CHECK_EQ(got.frame.gateway.endpoint_id, 1u);
  CHECK_EQ(got.frame.gateway.attachment_id, 2u);
  CHECK_EQ(got.frame.gateway.cookie, 3u);
  CHECK_EQ(got.frame.inner.source_port, 52144);
}

TEST(every_flipped_bit_stays_inside_the_frame) {
  const Bytes four = kEthernet + gateway_packet();
  const Bytes six = kEthernet6 + ipv6(1, 2, 17, udp_packet(kGeneve + inner()));
  for (const Bytes& bytes : {four, six}) {
    with_every_bit_flipped(bytes, bytes.size(), [](const uint8_t* data, size_t size, size_t) {
      Frame frame;
      const ParseError error = wire::parse_frame(data, size, size, 1, 0x0108, 6081, &frame);
      CHECK(error.ok() || error.offset <= size);
      const auto inside = [&](uint32_t offset) {
        return offset == Frame::kAbsent || offset < size;
      };
      CHECK(inside(frame.ip_offset) && inside(frame.udp_offset) && inside(frame.geneve_offset));
      CHECK(inside(frame.inner_ethernet_offset) && inside(frame.inner_offset));
      CHECK_EQ(frame.has_inner, frame.inner_offset != Frame::kAbsent);
      CHECK(frame.is_geneve || frame.geneve_offset == Frame::kAbsent);
      if (frame.has_inner) CHECK(frame.inner_offset > frame.geneve_offset);
    });
  }
}

}  // namespace
}  // namespace gwlb::test
