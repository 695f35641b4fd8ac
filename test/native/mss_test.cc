#include "wire/mss.h"

#include "test/native/oracle/fragment_model.h"
#include "test/native/packets.h"
#include "test/native/test.h"
#include "wire/checksum.h"

using namespace gwlb;
using namespace gwlb::test;

namespace {

constexpr uint8_t kSynFlag = 2;

// A SYN with these options; its checksum is right.
Bytes syn(const Bytes& options, uint8_t version = 4, uint8_t flags = kSynFlag) {
  Bytes segment = tcp(50000, 443, flags);
  append(segment, options);
  segment[12] = static_cast<uint8_t>((20 + options.size()) / 4 << 4);
  put16(segment, 16, 0);
  Bytes packet = version == 4 ? ipv4(0x0a000001, 0x0a000002, 6, segment) : ipv6(1, 2, 6, segment);
  const size_t at = version == 4 ? 20 : 40;
  const size_t addresses = version == 4 ? 12 : 8;
  const size_t length = version == 4 ? 4 : 16;
  put16(packet, at + 16,
        wire::transport_checksum(packet.data() + addresses, packet.data() + addresses + length,
                                 length, 6, packet.data() + at, packet.size() - at));
  return packet;
}

bool clamp(Bytes* packet, uint16_t mss) {
  wire::InnerPacket inner;
  CHECK(wire::parse_inner(packet->data(), packet->size(), &inner).ok());
  return wire::clamp_mss(packet->data(), inner, mss);
}

}  // namespace

TEST(an_mss_is_lowered_and_never_raised) {
  const Bytes others = {1, 3, 3, 7};
  for (const uint8_t version : {uint8_t{4}, uint8_t{6}}) {
    for (const uint8_t flags : {kSynFlag, uint8_t{0x12}}) {
      Bytes packet = syn({2, 4, 5, 0xb4, 1, 3, 3, 7}, version, flags);  // 1460
      CHECK(clamp(&packet, 1400));
      CHECK(packet == syn({2, 4, 5, 0x78, 1, 3, 3, 7}, version, flags));
      CHECK(!clamp(&packet, 1400));
      CHECK(!clamp(&packet, 1401));
      CHECK(packet == syn({2, 4, 5, 0x78, 1, 3, 3, 7}, version, flags));
      packet = syn(others, version, flags);
      CHECK(!clamp(&packet, 500));
      CHECK(packet == syn(others, version, flags));  // none is added
    }
  }
}

TEST(an_mss_at_an_odd_place_and_each_of_several) {
  Bytes packet = syn({1, 2, 4, 5, 0xb4, 1, 1, 1});
  CHECK(clamp(&packet, 1300));
  CHECK(packet == syn({1, 2, 4, 5, 0x14, 1, 1, 1}));
  packet = syn({2, 4, 5, 0xb4, 1, 2, 4, 0xff, 0xff, 1, 1, 1});
  CHECK(clamp(&packet, 1300));
  CHECK(packet == syn({2, 4, 5, 0x14, 1, 2, 4, 5, 0x14, 1, 1, 1}));
}

TEST(malformed_options_are_followed_as_far_as_they_go) {
  for (const Bytes& options : {Bytes{3, 0, 2, 4, 5, 0xb4, 0, 0}, Bytes{0, 0, 2, 4, 5, 0xb4, 0, 0},
                               Bytes{2, 3, 5, 1, 1, 1, 1, 1}, Bytes{3, 9, 2, 4, 5, 0xb4, 0, 0},
                               Bytes{1, 1, 1, 1, 1, 2, 4, 5}, Bytes{1, 1, 1, 1, 1, 1, 1, 2}}) {
    Bytes packet = syn(options);
    CHECK(!clamp(&packet, 100));
    CHECK(packet == syn(options));
  }
  Bytes longer = syn({2, 4, 5, 0xb4});
  longer[32] = 0xf0;  // a header longer than the packet
  CHECK(clamp(&longer, 100));
  CHECK_EQ(get16(longer, 42), 100u);
}

TEST(a_wrong_checksum_stays_wrong_and_an_offloaded_one_is_left) {
  Bytes wrong = syn({2, 4, 5, 0xb4});
  const uint32_t right = get16(wrong, 36);
  put16(wrong, 36, static_cast<uint16_t>(right + 1));
  CHECK(clamp(&wrong, 1400));
  const uint32_t clamped = get16(syn({2, 4, 5, 0x78}), 36);
  CHECK_EQ(get16(wrong, 36), clamped + 1);
  for (const uint8_t version : {uint8_t{4}, uint8_t{6}}) {
    Bytes offloaded = syn({2, 4, 5, 0xb4}, version);
    const size_t transport = version == 4 ? 20 : 40;
    const size_t from = version == 4 ? 12 : 8;
    const uint16_t pseudo =
        wire::checksum_fold(wire::checksum_add(offloaded.data() + from, transport - from, 6 + 24));
    put16(offloaded, transport + 16, pseudo);
    CHECK(clamp(&offloaded, 1400));
    CHECK_EQ(get16(offloaded, transport + 16), pseudo);
    CHECK_EQ(get16(offloaded, transport + 22), 1400u);
    // Whoever finishes it gets what is right.
    put16(offloaded, transport + 16,
          wire::checksum_finish(wire::checksum_add(offloaded.data() + transport, 24)));
    CHECK(offloaded == syn({2, 4, 5, 0x78}, version));
  }
}
