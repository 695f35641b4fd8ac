#include "wire/segment.h"

#include <string>

#include "test/native/oracle/segment_model.h"
#include "test/native/wire_rig.h"
#include "wire/inner.h"

namespace gwlb::test {
namespace {

using wire::SuperPacket;

// Every segment, each in a block of its exact size.
std::vector<Bytes> segments(const Bytes& packet, uint32_t segment) {
  std::vector<Bytes> out;
  Exact bytes(packet);
  SuperPacket super;
  if (!wire::parse_super_packet(bytes.data(), static_cast<uint32_t>(bytes.size()), segment,
                                &super)) {
    return out;
  }
  for (uint32_t k = 0; k < super.count; ++k) {
    const uint32_t length = super.headers + wire::segment_payload(super, k);
    Exact whole(Bytes(length, 0xee));
    CHECK_EQ(wire::write_segment(super, k, whole.data()), length);
    Exact headers(Bytes(super.headers, 0x11));
    wire::write_segment_headers(super, k, headers.data());
    CHECK(std::memcmp(headers.data(), whole.data(), super.headers) == 0);
    out.emplace_back(whole.data(), whole.data() + length);
  }
  CHECK(std::memcmp(bytes.data(), packet.data(), packet.size()) == 0);
  return out;
}

bool accepted(const Bytes& packet, uint32_t segment = 100) {
  Exact bytes(packet);
  SuperPacket super;
  return wire::parse_super_packet(bytes.data(), static_cast<uint32_t>(bytes.size()), segment,
                                  &super);
}

uint16_t at16(const Bytes& b, size_t at) { return static_cast<uint16_t>(b[at] * 256 + b[at + 1]); }
uint32_t at32(const Bytes& b, size_t at) { return uint32_t{at16(b, at)} << 16 | at16(b, at + 2); }

// A hop-by-hop or destination options header of `words` * 8 bytes, filled with PadN.
Bytes options_header(uint8_t next, size_t words = 1) {
  Bytes b(words * 8);
  b[0] = next;
  b[1] = static_cast<uint8_t>(words - 1);
  b[2] = 1;
  b[3] = static_cast<uint8_t>(b.size() - 4);
  return b;
}

TEST(a_tcp_packet_by_hand) {
  // 10.0.0.1:40000 -> 10.0.0.2:5001, sequence number 1000, PSH ACK, "abcde" in twos. The sums are
  // those of a script.
  const Bytes super =
      hex("4500002d 12344000 40060000 0a000001 0a000002"
          "9c401389 000003e8 0000004d 50182000 00000000 6162636465");
  const std::vector<Bytes> got = segments(super, 2);
  REQUIRE(got.size() == 3);
  CHECK(got[0] == hex("4500002a 12344000 40061498 0a000001 0a000002"
                      "9c401389 000003e8 0000004d 50102000 666f0000 6162"));
  CHECK(got[1] == hex("4500002a 12354000 40061497 0a000001 0a000002"
                      "9c401389 000003ea 0000004d 50102000 646b0000 6364"));
  CHECK(got[2] == hex("45000029 12364000 40061497 0a000001 0a000002"
                      "9c401389 000003ec 0000004d 50182000 62c60000 65"));
}

TEST(segments_are_what_a_sender_without_offload_would_have_sent) {
  std::vector<Bulk> rows;
  for (const int version : {4, 6}) {
    for (const uint8_t protocol : {uint8_t{6}, uint8_t{17}}) {
      Bulk row;
      row.version = version;
      row.protocol = protocol;
      row.tos = 0xb9;
      row.flow_label = 0xabcde;
      row.flags = 0x18;
      rows.push_back(row);
      row.ip_options = version == 4 ? Bytes{0x94, 4, 0, 0} : Bytes{};
      row.extension = version == 6 ? options_header(protocol, 2) : Bytes{};
      rows.push_back(row);
    }
    Bulk row;
    row.version = version;
    row.tcp_options = timestamps();
    row.flags = 0xd9;  // CWR ECE FIN PSH ACK
    row.reserved = 1;  // AE (RFC 9768)
    rows.push_back(row);
    append(row.tcp_options, selective_acknowledgment());
    row.urgent = 7;
    row.flags = 0x30;
    rows.push_back(row);
    row.tcp_options = Bytes(40, 1);
    row.sequence = 0xffffff80;
    row.id = 0xfffe;
    rows.push_back(row);
  }
  for (Bulk& row : rows) {
    for (const size_t payload : {1, 2, 99, 100, 101, 200, 999, 1000, 5555}) {
      row.payload = payload;
      row.seed = static_cast<uint8_t>(payload);
      const Bytes packet = bulk_packet(row);
      for (const uint32_t segment : {1u, 3u, 100u, 101u, 536u, 1448u, 65535u, 100000u}) {
        CHECK(segments(packet, segment) == model_segments(packet, segment));
      }
    }
  }
}

TEST(what_a_super_packet_is) {
  Bulk row;
  row.payload = 250;
  row.tcp_options = timestamps();
  Bytes packet = bulk_packet(row);
  SuperPacket super;
  REQUIRE(
      wire::parse_super_packet(packet.data(), static_cast<uint32_t>(packet.size()), 100, &super));
  CHECK_EQ(super.length, packet.size());
  CHECK(super.packet == packet.data());
  CHECK_EQ(super.transport, 20);
  CHECK_EQ(super.headers, 52);
  CHECK_EQ(super.segment, 100);
  CHECK_EQ(super.count, 3);
  CHECK_EQ(super.version, 4);
  CHECK_EQ(super.protocol, 6);
  CHECK_EQ(wire::segment_payload(super, 0), 100);
  CHECK_EQ(wire::segment_payload(super, 2), 50);
  CHECK(wire::segment_payload_at(super, 2) == packet.data() + 52 + 200);
  // One segment, exactly full; and one byte into the next.
  REQUIRE(
      wire::parse_super_packet(packet.data(), static_cast<uint32_t>(packet.size()), 250, &super));
  CHECK_EQ(super.count, 1);
  REQUIRE(
      wire::parse_super_packet(packet.data(), static_cast<uint32_t>(packet.size()), 249, &super));
  CHECK_EQ(super.count, 2);
  CHECK_EQ(wire::segment_payload(super, 1), 1);
}

TEST(the_largest_packets_there_are) {
  Bulk four;
  four.protocol = 17;
  four.payload = 65535 - 28;
  Bulk six = four;
  six.version = 6;
  six.payload = 65535 - 8;  // the payload length has 16 bits: 65,575 bytes in all
  for (const Bulk& row : {four, six}) {
    const Bytes packet = bulk_packet(row);
    const std::vector<Bytes> got = segments(packet, 1400);
    CHECK_EQ(got.size(), 47);
    CHECK(got == model_segments(packet, 1400));
    SuperPacket super;
    REQUIRE(
        wire::parse_super_packet(packet.data(), static_cast<uint32_t>(packet.size()), 1, &super));
    CHECK_EQ(super.count, row.payload);
    const uint32_t last = super.count - 1u;
    Bytes segment(super.headers + 1u);
    CHECK_EQ(wire::write_segment(super, last, segment.data()), segment.size());
    CHECK(segment == model_segment(packet, 1, last));
    REQUIRE(wire::parse_super_packet(packet.data(), static_cast<uint32_t>(packet.size()),
                                     0xffffffff, &super));
    CHECK_EQ(super.count, 1);
    CHECK_EQ(wire::segment_payload(super, 0), row.payload);
  }
}

TEST(flags_of_the_first_and_of_the_last) {
  Bulk row;
  row.payload = 300;
  struct Row {
    uint8_t flags, first, middle, last;
  };
  for (const Row& flags : {
           Row{0x10, 0x10, 0x10, 0x10},
           Row{0x18, 0x10, 0x10, 0x18},  // PSH
           Row{0x11, 0x10, 0x10, 0x11},  // FIN
           Row{0x90, 0x90, 0x10, 0x10},  // CWR
           Row{0x50, 0x50, 0x50, 0x50},  // ECE
           Row{0x30, 0x30, 0x30, 0x30},  // URG
           Row{0x14, 0x14, 0x14, 0x14},  // RST
           Row{0xff, 0xf6, 0x76, 0x7f},
       }) {
    row.flags = flags.flags;
    const std::vector<Bytes> got = segments(bulk_packet(row), 100);
    REQUIRE(got.size() == 3);
    CHECK_EQ(got[0][33], flags.first);
    CHECK_EQ(got[1][33], flags.middle);
    CHECK_EQ(got[2][33], flags.last);
    const std::vector<Bytes> alone = segments(bulk_packet(row), 300);
    REQUIRE(alone.size() == 1);
    CHECK_EQ(alone[0][33], flags.flags);
  }
}

TEST(numbers_wrap) {
  Bulk row;
  row.payload = 300;
  row.sequence = 0xffffff9c;  // 100 before 2^32
  row.id = 0xffff;
  const std::vector<Bytes> got = segments(bulk_packet(row), 100);
  REQUIRE(got.size() == 3);
  const uint32_t sequences[] = {0xffffff9c, 0, 100};
  const uint16_t ids[] = {0xffff, 0, 1};
  for (size_t k = 0; k < 3; ++k) {
    CHECK_EQ(at32(got[k], 24), sequences[k]);
    CHECK_EQ(at16(got[k], 4), ids[k]);
  }
}

TEST(the_checksums_of_the_super_packet_do_not_matter) {
  for (const uint8_t protocol : {uint8_t{6}, uint8_t{17}}) {
    Bulk row;
    row.protocol = protocol;
    row.payload = 300;
    const Bytes packet = bulk_packet(row);
    Bytes left = packet;
    put16(left, 10, 0xbad1);
    put16(left, 20 + (protocol == 6 ? 16 : 6), 0xbad2);
    CHECK(segments(left, 100) == segments(packet, 100));
    put16(left, 20 + (protocol == 6 ? 16 : 6), 0);
    CHECK(segments(left, 100) == segments(packet, 100));
  }
}

// A payload whose last two bytes make the sum of everything 0xffff.
TEST(a_checksum_of_zero_is_sent_as_ffff_by_udp_and_as_it_is_by_tcp) {
  for (const int version : {4, 6}) {
    for (const uint8_t protocol : {uint8_t{6}, uint8_t{17}}) {
      Bulk row;
      row.version = version;
      row.protocol = protocol;
      row.payload = 200;
      Bytes packet = bulk_packet(row);
      const size_t field = bulk_transport(row) + (protocol == 6 ? 16 : 6);
      // The first segment's last word takes what its checksum was; the checksum is then 0.
      const size_t word = bulk_headers(row) + 98;
      put16(packet, word, 0);
      put16(packet, word, at16(segments(packet, 100)[0], field));
      const std::vector<Bytes> got = segments(packet, 100);
      REQUIRE(got.size() == 2);
      CHECK_EQ(at16(got[0], field), protocol == 17 ? 0xffff : 0);
      CHECK(got == model_segments(packet, 100));
    }
  }
}

TEST(no_super_packets) {
  Bulk tcp4;
  Bulk udp4 = tcp4;
  udp4.protocol = 17;
  Bulk tcp6 = tcp4;
  tcp6.version = 6;
  const auto changed = [](const Bulk& row, size_t at, uint8_t value) {
    Bytes packet = bulk_packet(row);
    packet[at] = value;
    return packet;
  };
  struct Row {
    const char* what;
    Bytes packet;
    uint32_t segment = 100;
  };
  Bulk no_payload = tcp4;
  no_payload.payload = 0;
  Bulk no_udp_payload = udp4;
  no_udp_payload.payload = 0;
  Bulk no_payload6 = tcp6;
  no_payload6.payload = 0;
  std::vector<Row> rows = {
      {"a payload of 0 bytes each", bulk_packet(tcp4), 0},
      {"nothing at all", {}},
      {"version 0", changed(tcp4, 0, 0x05)},
      {"version 5", changed(tcp4, 0, 0x55)},
      {"an IPv4 header of 16 bytes", changed(tcp4, 0, 0x44)},
      {"one byte less than its length", changed(tcp4, 3, 139)},
      {"one byte more than its length", changed(tcp4, 3, 141)},
      {"more fragments", changed(tcp4, 6, 0x20)},
      {"a later fragment", changed(tcp4, 7, 1)},
      {"ICMP", changed(tcp4, 9, 1)},
      {"UDP-Lite", changed(udp4, 9, 136)},
      {"a TCP header of 16 bytes", changed(tcp4, 32, 0x40)},
      {"TCP without payload", bulk_packet(no_payload)},
      {"UDP without payload", bulk_packet(no_udp_payload)},
      {"a UDP length above what is there", changed(udp4, 25, 109)},
      {"a UDP length below what is there", changed(udp4, 25, 107)},
      {"an IPv6 length of one more", changed(tcp6, 5, 121)},
      {"an IPv6 length of one less", changed(tcp6, 5, 119)},
      {"a jumbogram's length", changed(tcp6, 5, 0)},
      {"IPv6 with ICMPv6", changed(tcp6, 6, 58)},
      {"IPv6 TCP without payload", bulk_packet(no_payload6)},
  };
  // TCP options up to the end and beyond it.
  Bulk options = no_payload;
  options.payload = 4;
  rows.push_back({"TCP options to the end", changed(options, 32, 0x60)});
  rows.push_back({"TCP options beyond the end", changed(options, 32, 0x70)});
  for (const Row& row : rows) {
    if (accepted(row.packet, row.segment)) report_failure(__FILE__, __LINE__, row.what);
    CHECK_EQ(model_segment_count(row.packet, row.segment), 0);
  }
  for (const Bulk& row : {tcp4, udp4, tcp6, options}) CHECK(accepted(bulk_packet(row)));
}

TEST(extension_headers_that_the_kernel_cuts_behind) {
  Bulk row;
  row.version = 6;
  struct Row {
    uint8_t kind;
    Bytes headers;
    bool accepted;
  };
  Bytes used_up = options_header(6);
  used_up[3] = 0;
  Bytes routed = used_up;
  routed[3] = 1;
  const Bytes atomic{6, 0, 0, 0, 0, 0, 0, 7};
  Bytes eight;
  for (int i = 0; i < 7; ++i) append(eight, options_header(60));
  append(eight, options_header(6));
  const Bytes nine = options_header(60) + eight;
  for (const Row& given : {
           Row{0, options_header(6), true},
           Row{60, options_header(6, 3), true},
           Row{0, options_header(60) + options_header(6), true},
           Row{43, used_up, true},
           Row{43, routed, false},
           Row{44, atomic, false},
           Row{51, options_header(6), false},
           Row{135, options_header(6), false},
           Row{60, eight, true},
           Row{60, nine, false},
           // 256 bytes of headers, and above.
           Row{60, options_header(6, 24), false},
           Row{60, options_header(6, 23), true},
       }) {
    row.extension = given.headers;
    row.extension_kind = given.kind;
    row.payload = 500;
    // 40 + 184 + 32 = 256
    row.tcp_options = given.headers.size() > 100 ? timestamps() : Bytes{};
    const Bytes packet = bulk_packet(row);
    CHECK_EQ(accepted(packet), given.accepted);
    CHECK_EQ(model_segment_count(packet, 100) > 0, given.accepted);
    CHECK(segments(packet, 100) == model_segments(packet, 100));
  }
  // Through its last byte the packet is an extension header.
  row.tcp_options.clear();
  row.extension = options_header(60, 2);
  row.payload = 0;
  Bytes packet = bulk_packet(row);
  packet.resize(40 + 16);
  put16(packet, 4, 16);
  CHECK(!accepted(packet));
}

// A packet that is cut anywhere, its lengths made to fit: every header is looked for.
TEST(every_cut) {
  Bulk row;
  row.payload = 3;
  row.tcp_options = timestamps();
  Bulk row6 = row;
  row6.version = 6;
  row6.extension = options_header(6, 3);
  Bulk udp6 = row6;
  udp6.protocol = 17;
  udp6.extension = options_header(17);
  for (const Bulk& of : {row, row6, udp6}) {
    const Bytes whole = bulk_packet(of);
    for (size_t length = 0; length < whole.size(); ++length) {
      Bytes cut(whole.begin(), whole.begin() + static_cast<std::ptrdiff_t>(length));
      if (of.version == 4 && length >= 20) put16(cut, 2, static_cast<uint16_t>(length));
      if (of.version == 6 && length >= 40) put16(cut, 4, static_cast<uint16_t>(length - 40));
      if (of.protocol == 17 && length >= 56) put16(cut, 52, static_cast<uint16_t>(length - 48));
      CHECK_EQ(accepted(cut), length > bulk_headers(of));
    }
  }
}

TEST(a_checksum_left_to_us) {
  for (const int version : {4, 6}) {
    for (const uint8_t protocol : {uint8_t{6}, uint8_t{17}}) {
      for (const size_t payload : {1, 2, 101, 1400}) {
        Bulk row;
        row.version = version;
        row.protocol = protocol;
        row.payload = payload;
        const Bytes right = bulk_packet(row);
        const auto start = static_cast<uint32_t>(bulk_transport(row));
        const uint32_t offset = protocol == 6 ? 16 : 6;
        Bytes packet = right;
        const Bytes pseudo = pseudo_header(packet, protocol, packet.size() - start);
        const uint16_t sum = ones_complement(pseudo.data(), pseudo.size());
        put16(packet, start + offset, static_cast<uint16_t>(~sum));
        Exact left(packet);
        CHECK(wire::complete_checksum(left.data(), static_cast<uint32_t>(left.size()), start,
                                      offset));
        CHECK(std::memcmp(left.data(), right.data(), right.size()) == 0);
      }
    }
  }
  // A sum of 0xffff, whose complement is 0.
  Bytes zero = hex("0000 ffff 0000 0000");
  CHECK(wire::complete_checksum(zero.data(), 8, 0, 4));
  CHECK(zero == hex("0000 ffff ffff 0000"));
}

TEST(a_checksum_field_outside_of_the_packet) {
  const Bytes packet(40, 0x55);
  struct Row {
    uint32_t start, offset;
    bool inside;
  };
  for (const Row& row :
       {Row{0, 38, true}, Row{38, 0, true}, Row{20, 18, true}, Row{20, 19, false},
        Row{39, 0, false}, Row{40, 0, false}, Row{41, 0, false}, Row{0, 39, false},
        Row{0xffffffff, 1, false}, Row{1, 0xffffffff, false}, Row{0xffffffff, 0xffffffff, false}}) {
    Exact bytes(packet);
    CHECK_EQ(wire::complete_checksum(bytes.data(), 40, row.start, row.offset), row.inside);
    if (!row.inside) CHECK(std::memcmp(bytes.data(), packet.data(), packet.size()) == 0);
  }
}

TEST(random_super_packets) {
  uint32_t random = 5;
  const auto below = [&random](uint32_t bound) {
    random = random * 1664525 + 1013904223;
    return (random >> 8) % bound;
  };
  for (int i = 0; i < 3000; ++i) {
    Bulk row;
    row.version = below(2) == 0 ? 4 : 6;
    row.protocol = below(2) == 0 ? 6 : 17;
    row.tos = static_cast<uint8_t>(below(256));
    row.ttl = static_cast<uint8_t>(below(256));
    row.id = static_cast<uint16_t>(below(65536));
    row.fragment = below(2) == 0 ? 0 : 0x4000;
    row.flow_label = below(1u << 20);
    row.source = below(1u << 24) << 8;
    row.sequence = below(1u << 24) << 8 | below(256);
    row.flags = static_cast<uint8_t>(below(256));
    row.reserved = static_cast<uint8_t>(below(16));
    row.window = static_cast<uint16_t>(below(65536));
    row.urgent = static_cast<uint16_t>(below(65536));
    row.tcp_options = bulk_payload(below(11) * 4, static_cast<uint8_t>(i));
    if (below(4) == 0) row.ip_options = bulk_payload(below(11) * 4, static_cast<uint8_t>(i));
    row.payload = 1 + below(4000);
    row.seed = static_cast<uint8_t>(i);
    const Bytes packet = bulk_packet(row);
    const uint32_t segment = 1 + below(below(2) == 0 ? 2000 : 64);
    CHECK(segments(packet, segment) == model_segments(packet, segment));
  }
}

}  // namespace
}  // namespace gwlb::test
