#include "engine/record_ring.h"

#include <cstring>
#include <vector>

#include "test/native/test.h"

namespace gwlb::test {
namespace {

using engine::RecordedPacket;
using engine::RecordRing;

void put(RecordRing& ring, uint8_t fill, uint32_t length, uint64_t now_ms) {
  std::vector<uint8_t> packet(length, fill);
  ring.put(packet.data(), length, length, fill, now_ms);
}

std::vector<RecordedPacket> read(const RecordRing& ring, uint64_t now_ms) {
  std::vector<RecordedPacket> out;
  ring.read(0, ring.end(), now_ms, [&out](const RecordedPacket& packet) { out.push_back(packet); });
  return out;
}

TEST(what_was_put_is_read_in_order_and_stays) {
  const auto ring = RecordRing::create(4, 1000);
  CHECK_EQ(read(*ring, 0).size(), 0u);
  put(*ring, 1, 20, 100);
  put(*ring, 2, 128, 150);
  put(*ring, 3, 1500, 150);
  for (int twice = 0; twice < 2; ++twice) {
    const auto packets = read(*ring, 200);
    CHECK_EQ(packets.size(), 3u);
    for (uint32_t i = 0; i < 3; ++i) {
      const uint32_t lengths[] = {20, 128, 1500};
      const uint32_t kept[] = {20, 128, 128};
      CHECK_EQ(packets[i].endpoint, i + 1);
      CHECK_EQ(packets[i].time_ms, i == 0 ? 100u : 150u);
      CHECK_EQ(packets[i].length, lengths[i]);
      CHECK_EQ(packets[i].captured, kept[i]);
      for (uint32_t k = 0; k < kept[i]; ++k) CHECK_EQ(packets[i].bytes[k], i + 1);
    }
  }
  CHECK_EQ(ring->lost(), 0u);
}

TEST(the_oldest_gives_way_and_is_counted_while_it_is_young) {
  const auto ring = RecordRing::create(3, 1000);
  for (uint8_t i = 0; i < 5; ++i) put(*ring, i, 20, 100u * i);
  auto packets = read(*ring, 400);
  CHECK_EQ(packets.size(), 3u);
  for (uint32_t i = 0; i < 3; ++i) CHECK_EQ(packets[i].endpoint, i + 2);
  CHECK_EQ(ring->lost(), 2u);
  put(*ring, 9, 20, 1200);
  CHECK_EQ(ring->lost(), 3u);  // exactly a window old still counts
  put(*ring, 10, 20, 1301);
  CHECK_EQ(ring->lost(), 3u);
  packets = read(*ring, 1400);
  CHECK_EQ(packets.size(), 3u);
  CHECK_EQ(packets[0].endpoint, 4u);
  packets = read(*ring, 1401);
  CHECK_EQ(packets.size(), 2u);  // what has left the window is not told
  CHECK_EQ(read(*ring, 5000).size(), 0u);
}

// What comes between two pieces is no part of either; what it overwrites is.
TEST(a_ring_is_read_in_pieces) {
  const auto ring = RecordRing::create(6, 1000);
  for (uint8_t i = 0; i < 8; ++i) put(*ring, i, 20, 100);
  CHECK_EQ(ring->begin(), 2u);
  CHECK_EQ(ring->end(), 8u);
  std::vector<uint16_t> seen;
  const auto piece = [&](uint64_t from, uint64_t end) {
    ring->read(from, end, 200,
               [&](const RecordedPacket& packet) { seen.push_back(packet.endpoint); });
  };
  piece(2, 4);
  put(*ring, 8, 20, 150);
  put(*ring, 9, 20, 150);
  put(*ring, 10, 20, 150);
  CHECK_EQ(ring->begin(), 5u);
  piece(4, 6);
  piece(6, 8);
  CHECK(seen == (std::vector<uint16_t>{2, 3, 5, 6, 7}));
}

}  // namespace
}  // namespace gwlb::test
