#include "wire/fragment.h"

#include <algorithm>

#include "test/native/oracle/fragment_model.h"
#include "test/native/packets.h"
#include "test/native/test.h"

using namespace gwlb;
using namespace gwlb::test;

namespace {

constexpr uint32_t kA = 0x0a000001;
constexpr uint32_t kB = 0x0a000002;

// All fragments that `packet` is cut into for an MTU; none where it must not be cut.
std::vector<Bytes> cut(const Bytes& packet, uint32_t mtu) {
  std::vector<Bytes> out;
  wire::Ipv4Fragments fragments;
  const auto length = static_cast<uint32_t>(packet.size());
  const uint32_t payload = wire::fragment_payload(packet.data(), mtu);
  if (!wire::parse_fragments(packet.data(), length, payload, &fragments)) return out;
  for (uint32_t k = 0; k < fragments.count; ++k) {
    Bytes one(wire::fragment_headers(fragments, k) + wire::fragment_payload(fragments, k));
    wire::write_fragment_header(fragments, k, one.data());
    std::copy_n(wire::fragment_payload_at(fragments, k), wire::fragment_payload(fragments, k),
                one.begin() + static_cast<long>(wire::fragment_headers(fragments, k)));
    out.push_back(one);
  }
  return out;
}

Bytes with_options(const Bytes& options, const Bytes& payload, uint16_t fragment = 0) {
  Bytes packet = ipv4(kA, kB, 17, payload, fragment, 0x1234);
  packet.insert(packet.begin() + 20, options.begin(), options.end());
  packet[0] = static_cast<uint8_t>(0x45 + options.size() / 4);
  put16(packet, 2, static_cast<uint16_t>(packet.size()));
  put16(packet, 10, 0);
  put16(packet, 10, ones_complement(packet.data(), 20 + options.size()));
  return packet;
}

}  // namespace

TEST(a_packet_is_cut_as_rfc_791_says) {
  Bytes payload(3000);
  for (size_t i = 0; i < payload.size(); ++i) payload[i] = static_cast<uint8_t>(i * 7);
  const Bytes packet = ipv4(kA, kB, 17, payload, 0, 0x1234);
  const std::vector<Bytes> got = cut(packet, 1400);
  REQUIRE(got.size() == 3);
  CHECK_EQ(got[0].size(), 20u + 1376);  // 1380 bytes of room are 172 units
  CHECK_EQ(got[2].size(), 20u + 3000 - 2 * 1376);
  for (uint32_t k = 0; k < 3; ++k) {
    CHECK_EQ(get16(got[k], 2), got[k].size());
    CHECK_EQ(get16(got[k], 4), 0x1234u);
    CHECK_EQ(get16(got[k], 6), k * 172 + (k < 2 ? 0x2000u : 0));
    CHECK_EQ(ones_complement(got[k].data(), 20), 0u);
  }
  CHECK(model_reassembled(got) == packet);
}

TEST(options_with_the_copy_flag_are_in_every_fragment) {
  // Record route (7) stays with the first; security (130) and router alert (148) are copied.
  const Bytes options = {7, 7, 4, 0, 0, 0, 0, 1, 130, 3, 9, 148, 4, 0, 0, 0};
  const std::vector<Bytes> got = cut(with_options(options, Bytes(1000, 1)), 600);
  REQUIRE(got.size() == 2);
  CHECK_EQ(got[0][0], 0x49);
  CHECK(std::equal(options.begin(), options.end(), got[0].begin() + 20));
  const Bytes copied = {130, 3, 9, 148, 4, 0, 0, 0};
  REQUIRE(got[1][0] == 0x47);
  CHECK(std::equal(copied.begin(), copied.end(), got[1].begin() + 20));
  CHECK_EQ(ones_complement(got[1].data(), 28), 0u);
  // Without one, or with a list that is malformed, the others have none.
  for (const Bytes& others : {Bytes{7, 3, 4, 0}, Bytes{7, 0, 148, 4}, Bytes{148, 9, 0, 0}}) {
    const std::vector<Bytes> plain = cut(with_options(others, Bytes(1000, 1)), 600);
    REQUIRE(plain.size() == 2);
    CHECK_EQ(plain[1][0], 0x45);
  }
}

TEST(a_fragment_is_cut_again) {
  const Bytes payload(1600, 3);
  for (const bool more : {false, true}) {
    const auto field = static_cast<uint16_t>(185 | (more ? 0x2000 : 0));
    const std::vector<Bytes> got = cut(ipv4(kA, kB, 17, payload, field, 9), 1000);
    REQUIRE(got.size() == 2);
    CHECK_EQ(get16(got[0], 6), 0x2000u | 185);
    CHECK_EQ(get16(got[1], 6), (more ? 0x2000u : 0) | (185 + 976 / 8));
  }
}

TEST(what_must_not_be_cut_is_not) {
  const Bytes payload(1600, 3);
  CHECK(cut(ipv4(kA, kB, 17, payload, 0x4000), 1000).empty());  // Don't Fragment
  CHECK(cut(ipv4(kA, kB, 17, payload), 27).empty());            // no room for 8 bytes
  CHECK(cut(ipv4(kA, kB, 17, payload), 1620).empty());          // it fits
  CHECK(!cut(ipv4(kA, kB, 17, payload), 1619).empty());
  CHECK(cut(ipv4(kA, kB, 17, payload, 0x1fff), 1000).empty());  // above what a datagram has
  CHECK(cut(ipv6(1, 2, 17, payload), 1280).empty());
  wire::Ipv4Fragments out;
  const Bytes packet = ipv4(kA, kB, 17, payload);
  CHECK(!wire::parse_fragments(packet.data(), 1620, 1001, &out));
  CHECK(!wire::parse_fragments(packet.data(), 1620, 0, &out));
}
