#include "wire/ecn.h"

#include "test/native/wire_rig.h"
#include "wire/checksum.h"

namespace gwlb::test {
namespace {

using wire::Ecn;

struct Row {
  Ecn inner, outer;
  Ecn result;
  bool drop, suspicious;
};

// RFC 6040 figure 4; suspicious where it has "(!!!)".
constexpr Row kTable[] = {
    {Ecn::not_ect, Ecn::not_ect, Ecn::not_ect, false, false},
    {Ecn::not_ect, Ecn::ect0, Ecn::not_ect, false, true},
    {Ecn::not_ect, Ecn::ect1, Ecn::not_ect, false, true},
    {Ecn::not_ect, Ecn::ce, Ecn::not_ect, true, true},
    {Ecn::ect0, Ecn::not_ect, Ecn::ect0, false, false},
    {Ecn::ect0, Ecn::ect0, Ecn::ect0, false, false},
    {Ecn::ect0, Ecn::ect1, Ecn::ect1, false, false},
    {Ecn::ect0, Ecn::ce, Ecn::ce, false, false},
    {Ecn::ect1, Ecn::not_ect, Ecn::ect1, false, false},
    {Ecn::ect1, Ecn::ect0, Ecn::ect1, false, false},
    {Ecn::ect1, Ecn::ect1, Ecn::ect1, false, false},
    {Ecn::ect1, Ecn::ce, Ecn::ce, false, false},
    {Ecn::ce, Ecn::not_ect, Ecn::ce, false, false},
    {Ecn::ce, Ecn::ect0, Ecn::ce, false, false},
    {Ecn::ce, Ecn::ect1, Ecn::ce, false, true},
    {Ecn::ce, Ecn::ce, Ecn::ce, false, false},
};

TEST(decapsulation_table_in_full) {
  for (const Row& row : kTable) {
    const wire::EcnDecision got = wire::ecn_decapsulate(row.inner, row.outer);
    CHECK_EQ(got.inner, row.result);
    CHECK_EQ(got.drop, row.drop);
    CHECK_EQ(got.suspicious, row.suspicious);
  }
  CHECK_EQ(sizeof kTable / sizeof kTable[0], 16);
}

TEST(ipv4_checksum_stays_correct_and_nothing_else_changes) {
  for (int tos = 0; tos < 256; ++tos) {
    for (const Ecn ecn : {Ecn::not_ect, Ecn::ect1, Ecn::ect0, Ecn::ce}) {
      const Bytes before =
          ipv4(0x0a000001, 0xc0a80105, 17, udp(1, 2), 0, 0x1234, static_cast<uint8_t>(tos));
      Bytes packet = before;
      CHECK_EQ(wire::inner_ecn(packet.data()), static_cast<Ecn>(tos & 3));
      wire::set_inner_ecn(packet.data(), ecn);
      CHECK_EQ(wire::inner_ecn(packet.data()), ecn);
      CHECK_EQ(packet[1], (tos & 0xfc) | static_cast<int>(ecn));
      CHECK_EQ(ones_complement(packet.data(), 20), 0);
      CHECK_EQ(wire::ipv4_header_checksum(packet.data(), 20), packet[10] * 256 + packet[11]);
      packet[1] = before[1];
      put16(packet, 10, static_cast<uint16_t>(before[10] * 256 + before[11]));
      CHECK(packet == before);
    }
  }
}

TEST(a_wrong_ipv4_checksum_stays_wrong) {
  Bytes packet = ipv4(0x0a000001, 0xc0a80105, 17, udp(1, 2), 0, 0x1234, 2);
  packet[11] ^= 0x10;
  wire::set_inner_ecn(packet.data(), Ecn::ce);
  CHECK(ones_complement(packet.data(), 20) != 0);
}

TEST(ipv6_keeps_class_and_flow_label) {
  for (int value = 0; value < 256; ++value) {
    for (const Ecn ecn : {Ecn::not_ect, Ecn::ect1, Ecn::ect0, Ecn::ce}) {
      Bytes packet = ipv6(1, 2, 17, udp(1, 2));
      packet[0] = static_cast<uint8_t>(0x60 | value >> 4);
      packet[1] = static_cast<uint8_t>(value << 4 | 0x0a);
      const Bytes before = packet;
      CHECK_EQ(wire::inner_ecn(packet.data()), static_cast<Ecn>(value & 3));
      wire::set_inner_ecn(packet.data(), ecn);
      CHECK_EQ(wire::inner_ecn(packet.data()), ecn);
      CHECK_EQ(packet[1] & 0xcf, before[1] & 0xcf);
      packet[1] = before[1];
      CHECK(packet == before);
    }
  }
}

}  // namespace
}  // namespace gwlb::test
