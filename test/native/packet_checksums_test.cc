#include "wire/packet_checksums.h"

#include "test/native/packets.h"
#include "test/native/test.h"
#include "wire/checksum.h"

namespace gwlb::test {
namespace {

wire::InnerPacket parsed(const Bytes& bytes) {
  wire::InnerPacket inner;
  CHECK(wire::parse_inner(bytes.data(), bytes.size(), &inner).ok());
  return inner;
}

// RFC 1071 as it is written there, over what the checksum is about.
uint16_t plain_sum(const Bytes& bytes) {
  uint32_t sum = 0;
  for (size_t at = 0; at < bytes.size(); ++at) {
    sum += at % 2 == 0 ? uint32_t{bytes[at]} << 8 : bytes[at];
    sum = (sum & 0xffff) + (sum >> 16);
  }
  return static_cast<uint16_t>(sum);
}

bool transport_is_right(const Bytes& packet) {
  const wire::InnerPacket inner = parsed(packet);
  const Bytes segment(packet.begin() + inner.transport_offset,
                      packet.begin() + static_cast<std::ptrdiff_t>(inner.total_length));
  if (inner.protocol == wire::kIcmp) return plain_sum(segment) == 0xffff;
  const size_t bytes = inner.version == 4 ? 4 : 16;
  Bytes pseudo(inner.source, inner.source + bytes);
  pseudo.insert(pseudo.end(), inner.destination, inner.destination + bytes);
  const auto length = static_cast<uint16_t>(segment.size());
  pseudo.insert(pseudo.end(), {0, inner.protocol, static_cast<uint8_t>(length >> 8),
                               static_cast<uint8_t>(length)});
  pseudo.insert(pseudo.end(), segment.begin(), segment.end());
  return plain_sum(pseudo) == 0xffff;
}

bool header_is_right(const Bytes& packet) {
  return plain_sum(Bytes(packet.begin(), packet.begin() + (packet[0] & 15) * 4)) == 0xffff;
}

TEST(changed_packets_get_right_checksums) {
  Bytes tcp(29, 7);
  tcp[12] = 5 << 4;
  Bytes icmp(17, 3);
  icmp[0] = 8;
  Bytes icmp6(17, 3);
  icmp6[0] = 128;
  const Bytes packets[] = {
      ipv4(0x0a000001, 0x0a000002, 17, udp(53, 1000, 31)),
      ipv4(0x0a000001, 0x0a000002, 6, tcp),
      ipv4(0x0a000001, 0x0a000002, 1, icmp),
      ipv6(1, 2, 17, udp(53, 1000, 31)),
      ipv6(1, 2, 6, tcp),
      ipv6(1, 2, 58, icmp6),
  };
  for (Bytes packet : packets) {
    const wire::InnerPacket inner = parsed(packet);
    if (inner.protocol == wire::kUdp) put16(packet, inner.transport_offset + 6u, 0x1234);
    packet[packet.size() - 1] ^= 0xff;
    if (inner.version == 4) packet[8] = 9;
    wire::write_checksums(packet.data(), inner);
    CHECK(transport_is_right(packet));
    if (inner.version == 4) CHECK(header_is_right(packet));
  }
}

TEST(what_has_none_or_not_all_of_it_keeps_its_checksum) {
  Bytes none = ipv4(0x0a000001, 0x0a000002, 17, udp(53, 1000, 31));
  put16(none, 26, 0);
  wire::write_checksums(none.data(), parsed(none));
  CHECK_EQ(none[26] << 8 | none[27], 0);
  Bytes fragment = ipv4(0x0a000001, 0x0a000002, 17, udp(53, 1000, 31));
  put16(fragment, 6, 0x2000);
  put16(fragment, 26, 0x1234);
  wire::write_checksums(fragment.data(), parsed(fragment));
  CHECK_EQ(fragment[26] << 8 | fragment[27], 0x1234);
  CHECK(header_is_right(fragment));
  Bytes gre = ipv4(0x0a000001, 0x0a000002, 47, Bytes(20, 5));
  const Bytes before(gre.begin() + 20, gre.end());
  wire::write_checksums(gre.data(), parsed(gre));
  CHECK(Bytes(gre.begin() + 20, gre.end()) == before);
  // RFC 768: a sum of zero is sent as all ones.
  Bytes zero = ipv4(0x0a000001, 0x0a000002, 17, udp(53, 1000, 2));
  put16(zero, 26, 0xffff);
  put16(zero, 28, 0);
  wire::write_checksums(zero.data(), parsed(zero));
  put16(zero, 28, static_cast<uint16_t>(zero[26] << 8 | zero[27]));
  wire::write_checksums(zero.data(), parsed(zero));
  CHECK_EQ(zero[26] << 8 | zero[27], 0xffff);
}

}  // namespace
}  // namespace gwlb::test
