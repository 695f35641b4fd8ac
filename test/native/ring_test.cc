#include "engine/ring.h"

#include <pthread.h>

#include "test/native/packets.h"
#include "test/native/test.h"

namespace gwlb::test {
namespace {

using batch::PacketBatch;
using engine::PacketKind;
using engine::PacketRing;

void put(PacketBatch& batch, uint32_t i, uint32_t length, uint8_t fill) {
  batch.reset(i, length);
  std::memset(batch.packet(i), fill, length);
  batch.address[i] = 0x0a000000u + fill;
  batch.port[i] = static_cast<uint16_t>(1000 + fill);
  batch.endpoint[i] = static_cast<uint16_t>(fill * 2);
  batch.tos[i] = static_cast<uint8_t>(fill ^ 3);
}

bool is(const PacketBatch& batch, uint32_t i, uint32_t length, uint8_t fill) {
  if (batch.length[i] != length || batch.address[i] != 0x0a000000u + fill ||
      batch.port[i] != 1000 + fill || batch.endpoint[i] != fill * 2 ||
      batch.tos[i] != static_cast<uint8_t>(fill ^ 3) || !batch.pending(i)) {
    return false;
  }
  for (uint32_t k = 0; k < length; ++k) {
    if (batch.packet(i)[k] != fill) return false;
  }
  return true;
}

TEST(nothing_is_seen_before_publish) {
  auto ring = PacketRing::create(4, 512);
  auto in = PacketBatch::create(8, 704);
  auto out = PacketBatch::create(8, 704);
  put(*in, 0, 100, 1);
  CHECK(ring->push(*in, 0, PacketKind::ingress));
  PacketKind kind;
  CHECK(ring->empty());
  CHECK_EQ(ring->pop(*out, &kind), 0u);
  ring->publish();
  CHECK(!ring->empty());
  CHECK_EQ(ring->pop(*out, &kind), 1u);
  CHECK(kind == PacketKind::ingress);
  CHECK(is(*out, 0, 100, 1));
  CHECK_EQ(out->headroom(0), base::kHeadroom);
  CHECK(ring->empty());
}

TEST(full_ring_and_large_packet_are_refused) {
  auto ring = PacketRing::create(4, 512);
  auto in = PacketBatch::create(8, 704);
  auto out = PacketBatch::create(8, 704);
  put(*in, 0, 513, 1);
  CHECK(!ring->push(*in, 0, PacketKind::ingress));
  put(*in, 0, 512, 2);
  for (int k = 0; k < 4; ++k) CHECK(ring->push(*in, 0, PacketKind::ingress));
  CHECK(!ring->push(*in, 0, PacketKind::ingress));
  ring->publish();
  PacketKind kind;
  CHECK_EQ(ring->pop(*out, &kind), 4u);
  CHECK(is(*out, 3, 512, 2));
  CHECK(ring->push(*in, 0, PacketKind::ingress));
}

TEST(kinds_come_in_runs) {
  auto ring = PacketRing::create(8, 512);
  auto in = PacketBatch::create(8, 704);
  auto out = PacketBatch::create(8, 704);
  const PacketKind kinds[] = {PacketKind::ingress, PacketKind::ingress, PacketKind::datagram,
                              PacketKind::ingress};
  for (uint8_t k = 0; k < 4; ++k) {
    put(*in, k, 60, k);
    CHECK(ring->push(*in, k, kinds[k]));
  }
  ring->publish();
  PacketKind kind;
  CHECK_EQ(ring->pop(*out, &kind), 2u);
  CHECK(kind == PacketKind::ingress && is(*out, 0, 60, 0) && is(*out, 1, 60, 1));
  CHECK_EQ(ring->pop(*out, &kind), 1u);
  CHECK(kind == PacketKind::datagram && is(*out, 0, 60, 2));
  CHECK_EQ(ring->pop(*out, &kind), 1u);
  CHECK(kind == PacketKind::ingress && is(*out, 0, 60, 3));
  CHECK_EQ(ring->pop(*out, &kind), 0u);
}

TEST(pop_stops_at_the_batch) {
  auto ring = PacketRing::create(8, 512);
  auto in = PacketBatch::create(8, 704);
  auto out = PacketBatch::create(3, 704);
  for (uint8_t k = 0; k < 7; ++k) {
    put(*in, k, 60u + k, k);
    CHECK(ring->push(*in, k, PacketKind::datagram));
  }
  ring->publish();
  PacketKind kind;
  CHECK_EQ(ring->pop(*out, &kind), 3u);
  CHECK_EQ(ring->pop(*out, &kind), 3u);
  CHECK(is(*out, 0, 63, 3));
  CHECK_EQ(ring->pop(*out, &kind), 1u);
}

// A thread pushes numbered packets of changing length as fast as the ring takes them.
struct Race {
  static constexpr uint32_t kPackets = 100'000;
  std::unique_ptr<PacketRing> ring = PacketRing::create(64, 512);

  static uint32_t length_of(uint32_t number) { return 4 + number * 7 % 500; }
  static void* produce(void* argument) {
    Race& race = *static_cast<Race*>(argument);
    auto batch = PacketBatch::create(1, 704);
    for (uint32_t number = 0; number < kPackets;) {
      batch->reset(0, length_of(number));
      std::memcpy(batch->packet(0), &number, 4);
      const auto kind = number % 97 < 40 ? PacketKind::ingress : PacketKind::datagram;
      if (race.ring->push(*batch, 0, kind)) {
        ++number;
      } else {
        race.ring->publish();
        sched_yield();
      }
      if (number % 5 == 0) race.ring->publish();
    }
    race.ring->publish();
    return nullptr;
  }
};

TEST(every_packet_arrives_once_and_in_order_between_threads) {
  Race race;
  auto batch = PacketBatch::create(16, 704);
  pthread_t thread;
  REQUIRE(pthread_create(&thread, nullptr, Race::produce, &race) == 0);
  uint32_t next = 0;
  bool right = true;
  while (next < Race::kPackets) {
    PacketKind kind;
    const uint32_t n = race.ring->pop(*batch, &kind);
    if (n == 0) sched_yield();
    for (uint32_t i = 0; i < n; ++i, ++next) {
      uint32_t number;
      std::memcpy(&number, batch->packet(i), 4);
      right = right && number == next && batch->length[i] == Race::length_of(number) &&
              (kind == PacketKind::ingress) == (number % 97 < 40);
    }
  }
  pthread_join(thread, nullptr);
  CHECK(right);
  CHECK(race.ring->empty());
}

}  // namespace
}  // namespace gwlb::test
