#include "wire/captured.h"

#include "test/native/bulk_rig.h"
#include "test/native/wire_rig.h"

namespace gwlb::test {
namespace {

using wire::CapturedPacket;

CapturedPacket read(const Bytes& packet, size_t room = 0) {
  Exact exact(packet);
  const auto captured = static_cast<uint32_t>(packet.size());
  return wire::read_captured(exact.data(), captured,
                             std::max(captured, static_cast<uint32_t>(room)));
}

std::vector<Bytes> cut(const Bytes& packet, uint32_t segment) {
  std::vector<Bytes> out;
  Exact bytes(packet);
  const auto length = static_cast<uint32_t>(packet.size());
  for (uint32_t k = 0;; ++k) {
    Exact to(Bytes(std::min<size_t>(length, 65535), 0xee));
    const uint32_t n = wire::write_captured_segment(bytes.data(), length, segment, k, to.data());
    if (n == 0) return out;
    out.emplace_back(to.data(), to.data() + n);
  }
}

// As its sender would have sent segment k of `of`.
Bytes alone(Bulk of, const Bytes& super, size_t segment, size_t k) {
  const size_t payload = super.size() - bulk_headers(of);
  const size_t from = k * segment;
  of.sequence += static_cast<uint32_t>(from);
  of.id = static_cast<uint16_t>(of.id + k);
  of.payload = std::min(segment, payload - from);
  if (k != 0) of.flags &= 0x7f;
  if (from + of.payload < payload) of.flags &= static_cast<uint8_t>(~9);
  Bytes b = bulk_packet(of);
  const size_t headers = bulk_headers(of);
  for (size_t i = 0; i < of.payload; ++i) b[headers + i] = super[headers + from + i];
  fix_checksums(b, bulk_transport(of), of.protocol);
  return b;
}

TEST(lengths_are_those_of_the_header_or_what_there_is) {
  const Bytes packet = ipv4(1, 2, 6, tcp(1, 2, 0x10, 100));
  const CapturedPacket whole = read(packet);
  CHECK_EQ(whole.length, 140);
  CHECK(!whole.length_zero);
  CHECK_EQ(whole.headers, 40);
  CHECK_EQ(whole.transport, 20);
  CHECK_EQ(whole.protocol, 6);
  CHECK_EQ(whole.tcp_flags, 0x10);
  CHECK_EQ(read(packet + Bytes(6), 0).length, 140);
  CHECK_EQ(read(Bytes(packet.begin(), packet.begin() + 60), 140).length, 140);
  CHECK_EQ(read(Bytes(packet.begin(), packet.begin() + 60), 140).headers, 40);
  CHECK_EQ(read(Bytes(packet.begin(), packet.begin() + 60)).length, 60);
  CHECK_EQ(read(Bytes(packet.begin(), packet.begin() + 19), 140).length, 19);
  Bytes zero = packet;
  put16(zero, 2, 0);
  CHECK_EQ(read(zero).length, 140);
  CHECK(read(zero).length_zero);
  CHECK_EQ(read(zero).headers, 40);
  CHECK_EQ(read(zero, 3000).length, 3000);
  Bytes six = ipv6(1, 2, 6, tcp(1, 2, 0x10, 100));
  put16(six, 4, 0);
  CHECK_EQ(read(six).length, 160);
  CHECK(read(six).length_zero);
  six[6] = 59;  // no next header: nothing follows, and the length says so
  CHECK_EQ(read(six).length, 40);
  CHECK(!read(six).length_zero);
  CHECK_EQ(read(Bytes()).length, 0);
}

TEST(segments_are_what_the_card_would_have_sent) {
  for (const int version : {4, 6}) {
    for (const uint8_t protocol : {uint8_t{6}, uint8_t{17}}) {
      for (const bool zero : {false, true}) {
        Bulk of;
        of.version = version;
        of.protocol = protocol;
        of.flags = 0x99;  // CWR, ACK, PSH, FIN
        of.payload = 3050;
        if (protocol == 6) of.tcp_options = timestamps();
        const Bytes super = bulk_packet(of);
        Bytes captured = super;
        if (zero) put16(captured, version == 4 ? 2 : 4, 0);
        captured[bulk_transport(of) + (protocol == 6 ? 16 : 6)] ^= 0x55;  // nobody has summed it
        const std::vector<Bytes> got = cut(captured, 1000);
        REQUIRE(got.size() == 4);
        for (size_t k = 0; k < 4; ++k) CHECK(got[k] == alone(of, super, 1000, k));
        CHECK(cut(captured, 65535) == std::vector<Bytes>{super});
      }
    }
  }
}

TEST(big_tcp_loses_its_jumbo_option) {
  Bulk of;
  of.version = 6;
  of.payload = 100'000;
  const Bytes super = bulk_packet(of);
  // Hop-by-hop: TCP follows, 8 bytes, option 0xc2 of 4 bytes.
  Bytes jumbo(super.begin(), super.begin() + 40);
  append(jumbo, hex("06 00 c2 04 00000000"));
  put32(jumbo, 44, static_cast<uint32_t>(super.size() - 40 + 8));
  append(jumbo, Bytes(super.begin() + 40, super.end()));
  jumbo[6] = 0;
  put16(jumbo, 4, 0);
  const std::vector<Bytes> got = cut(jumbo, 60'000);
  REQUIRE(got.size() == 2);
  for (size_t k = 0; k < 2; ++k) CHECK(got[k] == alone(of, super, 60'000, k));
  CHECK(cut(jumbo, 65'535).empty());  // no IP packet is that long
}

TEST(what_cannot_be_cut_is_not) {
  CHECK_EQ(cut(ipv4(1, 2, 6, tcp(1, 2, 2)), 10).size(), 1);
  CHECK(cut(ipv4(1, 2, 1, icmp_echo(false, 1, 100)), 10).empty());
  CHECK(cut(ipv4(1, 2, 6, tcp(1, 2, 0x10, 100), 0x2000), 10).empty());
  CHECK(cut(ipv4(1, 2, 17, udp(1, 2, 100), 100), 10).empty());
  Bytes packet = ipv4(1, 2, 6, tcp(1, 2, 0x10, 100));
  CHECK(cut(packet + Bytes(4), 10).empty());
  packet[32] = 0xf0;
  CHECK_EQ(cut(packet, 1000).size(), 1);  // 60 bytes of TCP header
  packet[32] = 0x40;
  CHECK(cut(packet, 10).empty());
  CHECK(cut(Bytes(), 10).empty());
  CHECK(cut(Bytes(40), 10).empty());
}

}  // namespace
}  // namespace gwlb::test
