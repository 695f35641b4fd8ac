#include "wire/inner.h"

#include "test/native/oracle/inner_model.h"
#include "test/native/wire_rig.h"

namespace gwlb::test {
namespace {

using base::DropReason;
using wire::InnerPacket;
using wire::Layer;
using wire::ParseError;

constexpr uint32_t kA = 0x0a010203;
constexpr uint32_t kB = 0xc0a80105;
constexpr uint16_t kMore = 0x2000;

ParseError parse(const Bytes& bytes, InnerPacket* out) {
  Exact exact(bytes);
  const ParseError error = wire::parse_inner(exact.data(), exact.size(), out);
  if (error.ok()) {
    CHECK_EQ(inner_difference(model_inner(exact.data(), exact.size()), *out, exact.data()), "");
  }
  out->source = out->destination = nullptr;  // the block goes
  return error;
}

DropReason reason_of(const Bytes& bytes) {
  InnerPacket packet;
  return parse(bytes, &packet).reason;
}

// `count` words of no-operation options behind the 20 bytes.
Bytes with_ipv4_options(Bytes packet, size_t count) {
  packet.insert(packet.begin() + 20, count * 4, 1);
  packet[0] = static_cast<uint8_t>(0x45 + count);
  put16(packet, 2, static_cast<uint16_t>(packet.size()));
  return packet;
}

TEST(tcp_over_ipv4) {
  const Bytes bytes = ipv4(kA, kB, 6, tcp(51515, 443, 0x12, 5));
  Exact exact(bytes);
  InnerPacket packet;
  REQUIRE(wire::parse_inner(exact.data(), exact.size(), &packet).ok());
  CHECK_EQ(packet.source, exact.data() + 12);
  CHECK_EQ(packet.destination, exact.data() + 16);
  CHECK_EQ(packet.version, 4);
  CHECK_EQ(packet.protocol, 6);
  CHECK_EQ(packet.total_length, 45);
  CHECK_EQ(packet.transport_offset, 20);
  CHECK_EQ(packet.source_port, 51515);
  CHECK_EQ(packet.destination_port, 443);
  CHECK_EQ(packet.tcp_flags, wire::kSyn | wire::kAck);
  CHECK_EQ(packet.flags, wire::kHasPorts);
  CHECK_EQ(packet.fragment_id, 0);  // not a fragment: the id means nothing
}

TEST(protocols_with_and_without_ports) {
  InnerPacket packet;
  for (const int protocol : {17, 136}) {
    CHECK(parse(ipv4(kA, kB, static_cast<uint8_t>(protocol), udp(53, 5353)), &packet).ok());
    CHECK_EQ(packet.source_port, 53);
    CHECK_EQ(packet.destination_port, 5353);
    CHECK_EQ(packet.flags, wire::kHasPorts);
    CHECK_EQ(packet.tcp_flags, 0);
  }
  CHECK(parse(ipv4(kA, kB, 132, udp(9, 10)), &packet).ok());
  CHECK_EQ(packet.destination_port, 10);
  for (const int protocol : {0, 47, 50, 51, 58, 255}) {
    CHECK(parse(ipv4(kA, kB, static_cast<uint8_t>(protocol), {}), &packet).ok());
    CHECK_EQ(packet.protocol, protocol);
    CHECK_EQ(packet.flags, 0);
  }
}

TEST(options_move_the_transport_header) {
  for (size_t words = 0; words <= 10; ++words) {
    InnerPacket packet;
    const Bytes bytes = with_ipv4_options(ipv4(kA, kB, 17, udp(7, 8)), words);
    CHECK(parse(bytes, &packet).ok());
    CHECK_EQ(packet.transport_offset, 20 + 4 * words);
    CHECK_EQ(packet.source_port, 7);
    CHECK_EQ(packet.destination_port, 8);
  }
}

TEST(padding_behind_the_total_length_is_not_the_packet) {
  InnerPacket packet;
  CHECK(parse(ipv4(kA, kB, 17, udp(1, 2, 0)) + Bytes(18, 0xee), &packet).ok());
  CHECK_EQ(packet.total_length, 28);
  // The ports are in the padding: not ours.
  Bytes bytes = ipv4(kA, kB, 17, udp(1, 2, 0));
  put16(bytes, 2, 24);
  CHECK_EQ(parse(bytes, &packet).reason, DropReason::inner_truncated);
}

TEST(every_cut_is_refused_with_needed_and_had) {
  const auto inner = [](const uint8_t* data, size_t length) {
    InnerPacket packet;
    return wire::parse_inner(data, length, &packet);
  };
  for (const Bytes& bytes :
       {ipv4(kA, kB, 6, tcp(1, 2, 2, 9)), ipv4(kA, kB, 17, udp(1, 2)), ipv4(kA, kB, 47, Bytes(9)),
        with_ipv4_options(ipv4(kA, kB, 1, icmp_echo(false, 7)), 10), ipv6(1, 2, 6, tcp(1, 2, 2)),
        ipv6(1, 2, 17, udp(1, 2)), ipv6(1, 2, 58, icmp_echo(false, 7))}) {
    check_every_cut(bytes, bytes.size(), DropReason::inner_truncated, inner);
  }
}

TEST(a_transport_header_cut_by_the_total_length) {
  struct Row {
    uint8_t protocol;
    size_t needed;
    Layer layer;
  };
  for (const Row& row :
       {Row{6, 20, Layer::inner_tcp}, Row{17, 8, Layer::inner_udp}, Row{136, 8, Layer::inner_udp},
        Row{132, 12, Layer::inner_sctp}, Row{1, 8, Layer::inner_icmp}}) {
    for (size_t length = 0; length <= row.needed; ++length) {
      InnerPacket packet;
      const ParseError error = parse(ipv4(kA, kB, row.protocol, Bytes(length, 9)), &packet);
      if (length == row.needed) {
        CHECK(error.ok());
        continue;
      }
      CHECK_EQ(error.reason, DropReason::inner_truncated);
      CHECK_EQ(error.layer, row.layer);
      CHECK_EQ(error.offset, 20);
      CHECK_EQ(error.needed, row.needed);
      CHECK_EQ(error.had, length);
    }
  }
}

TEST(lengths_that_contradict_each_other) {
  Bytes bytes = ipv4(kA, kB, 17, udp(1, 2));
  InnerPacket packet;
  for (uint8_t words = 0; words < 5; ++words) {
    bytes[0] = 0x40 | words;
    const ParseError error = parse(bytes, &packet);
    CHECK_EQ(error.reason, DropReason::inner_bad_header_length);
    CHECK_EQ(error.needed, 20);
    CHECK_EQ(error.had, words * 4);
  }
  bytes[0] = 0x4f;  // 60 bytes of header, of 36
  CHECK_EQ(parse(bytes, &packet).reason, DropReason::inner_bad_total_length);
  bytes[0] = 0x45;
  for (const uint16_t total : {0, 1, 19}) {
    put16(bytes, 2, total);
    const ParseError error = parse(bytes, &packet);
    CHECK_EQ(error.reason, DropReason::inner_bad_total_length);
    CHECK_EQ(error.needed, 20);
    CHECK_EQ(error.had, total);
  }
  put16(bytes, 2, 37);
  const ParseError error = parse(bytes, &packet);
  CHECK_EQ(error.reason, DropReason::inner_truncated);
  CHECK_EQ(error.needed, 37);
  CHECK_EQ(error.had, 36);
}

TEST(other_versions_are_refused) {
  for (int version = 0; version < 16; ++version) {
    if (version == 4 || version == 6) continue;
    Bytes bytes(60, 0);
    bytes[0] = static_cast<uint8_t>(version << 4 | 5);
    InnerPacket packet;
    const ParseError error = parse(bytes, &packet);
    CHECK_EQ(error.reason, DropReason::inner_bad_version);
    CHECK_EQ(error.had, version);
  }
}

TEST(base_offset_is_added_everywhere) {
  InnerPacket packet;
  Exact tcp_cut(ipv4(kA, kB, 6, Bytes(8)));
  CHECK_EQ(wire::parse_inner(tcp_cut.data(), tcp_cut.size(), &packet, 82).offset, 102);
  CHECK_EQ(wire::parse_inner(tcp_cut.data(), 3, &packet, 82).offset, 82);
  CHECK_EQ(wire::parse_inner(tcp_cut.data(), 0, &packet, 82).offset, 82);
}

TEST(icmp_errors_by_type) {
  for (int type = 0; type < 256; ++type) {
    Bytes icmp(8);
    icmp[0] = static_cast<uint8_t>(type);
    icmp[1] = 77;
    InnerPacket packet;
    CHECK(parse(ipv4(kA, kB, 1, icmp), &packet).ok());
    CHECK_EQ(packet.icmp_type, type);
    CHECK_EQ(packet.icmp_code, 77);
    const bool error = type == 3 || type == 4 || type == 5 || type == 11 || type == 12;
    CHECK_EQ((packet.flags & wire::kIcmpError) != 0, error);
    CHECK_EQ(packet.flags & wire::kHasPorts, 0);
    CHECK(parse(ipv6(1, 2, 58, icmp), &packet).ok());
    CHECK_EQ((packet.flags & wire::kIcmpError) != 0, type < 128);
  }
}

TEST(icmp_of_the_other_version_is_just_a_protocol) {
  InnerPacket packet;
  CHECK(parse(ipv6(1, 2, 1, hex("0300")), &packet).ok());
  CHECK_EQ(packet.flags, 0);
  CHECK_EQ(packet.icmp_type, 0);
  CHECK(parse(ipv4(kA, kB, 58, hex("0100")), &packet).ok());
  CHECK_EQ(packet.flags, 0);
}

TEST(first_fragment_has_ports_and_the_train_s_id) {
  InnerPacket packet;
  CHECK(parse(ipv4(kA, kB, 17, udp(1, 2, 16), kMore, 0xbeef), &packet).ok());
  CHECK_EQ(packet.flags, wire::kHasPorts | wire::kFirstFragment);
  CHECK_EQ(packet.fragment_id, 0xbeef);
  CHECK_EQ(packet.fragment_offset, 0);
  CHECK_EQ(packet.destination_port, 2);
}

TEST(later_fragment_has_no_transport_header) {
  InnerPacket packet;
  for (const uint16_t more : {uint16_t{0}, kMore}) {
    CHECK(parse(ipv4(kA, kB, 17, udp(1, 2, 16), more | 185, 0xbeef), &packet).ok());
    CHECK_EQ(packet.flags, wire::kLaterFragment);
    CHECK_EQ(packet.fragment_id, 0xbeef);
    CHECK_EQ(packet.fragment_offset, 1480);
    CHECK_EQ(packet.source_port, 0);
    CHECK_EQ(packet.protocol, 17);
  }
  CHECK(parse(ipv4(kA, kB, 1, hex("03"), 0x1fff), &packet).ok());
  CHECK_EQ(packet.fragment_offset, 65528);
  CHECK_EQ(packet.flags, wire::kLaterFragment);
}

TEST(dont_fragment_and_the_evil_bit_make_no_fragment) {
  InnerPacket packet;
  for (const uint16_t bits : {0x4000, 0x8000, 0xc000}) {
    CHECK(parse(ipv4(kA, kB, 6, tcp(1, 2, 2), bits), &packet).ok());
    CHECK_EQ(packet.flags, wire::kHasPorts);
    CHECK_EQ(packet.fragment_id, 0);
  }
}

TEST(rfc_1858_tiny_first_fragment) {
  for (size_t bytes = 0; bytes < 24; bytes += 8) {
    const Bytes start(bytes, 1);
    CHECK_EQ(reason_of(ipv4(kA, kB, 6, start, kMore)),
             bytes < 16 ? DropReason::inner_bad_fragment : DropReason::none);
    CHECK_EQ(reason_of(ipv4(kA, kB, 17, start, kMore)),
             bytes < 8 ? DropReason::inner_bad_fragment : DropReason::none);
    CHECK_EQ(reason_of(ipv4(kA, kB, 132, start, kMore)),
             bytes < 8 ? DropReason::inner_bad_fragment : DropReason::none);
    CHECK_EQ(reason_of(ipv4(kA, kB, 1, start, kMore)),
             bytes < 8 ? DropReason::inner_bad_fragment : DropReason::none);
    CHECK_EQ(reason_of(ipv4(kA, kB, 47, start, kMore)), DropReason::none);
  }
}

TEST(a_tiny_first_fragment_that_is_cut_is_cut_not_an_attack) {
  Exact bytes(ipv4(kA, kB, 6, Bytes(24, 1), kMore));
  InnerPacket packet;
  const ParseError error = wire::parse_captured_inner(bytes.data(), 30, bytes.size(), &packet);
  CHECK_EQ(error.reason, DropReason::inner_truncated);
}

TEST(rfc_3128_fragment_that_overwrites_the_flags) {
  for (const uint16_t more : {uint16_t{0}, kMore}) {
    CHECK_EQ(reason_of(ipv4(kA, kB, 6, Bytes(16), more | 1)), DropReason::inner_bad_fragment);
    CHECK_EQ(reason_of(ipv4(kA, kB, 6, Bytes(16), more | 2)), DropReason::none);
    CHECK_EQ(reason_of(ipv4(kA, kB, 17, Bytes(16), more | 1)), DropReason::none);
  }
}

TEST(every_flipped_header_bit_as_the_model_has_it) {
  const Bytes fragment = ipv4(kA, kB, 6, tcp(1, 2, 2), kMore);
  for (const Bytes& bytes :
       {ipv4(kA, kB, 6, tcp(1, 2, 2, 5)), ipv4(kA, kB, 17, udp(1, 2)), fragment,
        ipv6(1, 2, 58, icmp_echo(true, 5)), ipv6(1, 2, 6, tcp(1, 2, 2))}) {
    with_every_bit_flipped(bytes, bytes.size(), [](const uint8_t* data, size_t size, size_t) {
      const ModelInner model = model_inner(data, size);
      InnerPacket packet;
      const ParseError error = wire::parse_inner(data, size, &packet);
      CHECK_EQ(error.reason, model.reason);
      if (error.ok()) CHECK_EQ(inner_difference(model, packet, data), "");
    });
  }
}

TEST(a_cut_capture_is_read_as_far_as_its_headers_go) {
  const Bytes bytes = ipv4(kA, kB, 6, tcp(1, 2, 0x10, 1000));
  for (size_t captured = 0; captured < bytes.size(); captured += captured < 60 ? 1 : 97) {
    Exact cut(bytes.data(), captured);
    InnerPacket packet;
    const ParseError error =
        wire::parse_captured_inner(cut.data(), captured, bytes.size(), &packet);
    CHECK_EQ(error.ok(), captured >= 40);
    CHECK(error.ok() || error.needed > error.had);
    if (error.ok()) CHECK_EQ(packet.total_length, 1040);
  }
}

TEST(a_total_length_of_zero_in_a_capture_is_all_there_is) {
  Bytes four = ipv4(kA, kB, 6, tcp(1, 2, 0x10, 1000)) + Bytes(80000);
  put16(four, 2, 0);
  InnerPacket packet;
  CHECK(wire::parse_captured_inner(four.data(), four.size(), four.size(), &packet).ok());
  CHECK_EQ(packet.total_length, four.size());
  Bytes six = ipv6(1, 2, 6, tcp(1, 2, 0x10)) + Bytes(80000);
  put16(six, 4, 0);
  CHECK(wire::parse_captured_inner(six.data(), six.size(), six.size(), &packet).ok());
  CHECK_EQ(packet.total_length, six.size());
  // Nothing may follow "no next header": then 0 is what it says.
  six[6] = 59;
  CHECK(wire::parse_captured_inner(six.data(), six.size(), six.size(), &packet).ok());
  CHECK_EQ(packet.total_length, 40);
}

}  // namespace
}  // namespace gwlb::test
