// What a TUN device has no room for is written to it in fragments: each write as it was made, by a
// socket in the device's place, and the kernel's opinion of them.
#include <algorithm>
#include <numeric>

#include "io/tun.h"
#include "io/vnet_header.h"
#include "test/native/bulk_rig.h"
#include "test/native/io_rig.h"
#include "test/native/oracle/fragment_model.h"
#include "test/native/oracle/segment_model.h"
#include "test/native/test.h"

namespace gwlb::test {
namespace {

using base::DropReason;
using batch::PacketBatch;

constexpr char kNoTun[] = "no network namespace or no TUN device can be made here";
constexpr uint16_t kSegment = 480;
constexpr uint32_t kHere = 0x0a090001;   // the kernel's end
constexpr uint32_t kThere = 0x0a090002;  // behind the device

// A queue whose writes are messages that can be read one by one.
struct Written {
  int ends[2] = {-1, -1};
  std::unique_ptr<io::TunQueue> queue;
  const bool vnet;
  explicit Written(bool has_vnet) : vnet(has_vnet) {
    CHECK(socketpair(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, ends) == 0);
    queue = std::make_unique<io::TunQueue>(ends[1], "written", vnet);
  }
  ~Written() { close(ends[0]); }
  std::vector<Bytes> all() {
    std::vector<Bytes> messages;
    for (Bytes one(65'536);; one.resize(65'536)) {
      const ssize_t got = read(ends[0], one.data(), one.size());
      if (got < 0) return messages;
      one.resize(static_cast<size_t>(got));
      messages.push_back(one);
    }
  }
  // The same, when nothing is said in front of any of them but that it is one packet.
  std::vector<Bytes> without_front() {
    std::vector<Bytes> messages = all();
    for (Bytes& one : messages) {
      if (!vnet) continue;
      CHECK(one.size() >= sizeof(io::VnetHeader));
      const auto header = one.begin() + sizeof(io::VnetHeader);
      CHECK(std::all_of(one.begin(), header, [](uint8_t byte) { return byte == 0; }));
      one.erase(one.begin(), header);
    }
    return messages;
  }
};

Bytes datagram(size_t payload, const Bytes& ip_options = {}) {
  Bulk of;
  of.protocol = 17;
  of.fragment = 0;
  of.source = kThere;
  of.destination = kHere;
  of.ip_options = ip_options;
  of.payload = payload;
  return bulk_packet(of);
}

void put(PacketBatch& batch, const Bytes& packet) {
  const uint32_t i = batch.count++;
  batch.reset(i, static_cast<uint32_t>(packet.size()));
  std::memcpy(batch.packet(i), packet.data(), packet.size());
}

// To leave in fragments of kSegment bytes.
void put_cut(PacketBatch& batch, const Bytes& packet) {
  put(batch, packet);
  batch.make_fragmented(batch.count - 1, kSegment);
}

void send_all(io::TunQueue& queue, PacketBatch& batch) {
  uint16_t all[base::kBatchPacketsMax];
  std::iota(all, all + batch.count, uint16_t{0});
  queue.send(batch, all, batch.count);
}

bool is_dropped(const PacketBatch& batch, uint32_t i) {
  return batch.verdict[i] == static_cast<uint8_t>(batch::Verdict::drop);
}

// Router alert is copied into each fragment (RFC 2113), record route is in the first one alone.
const Bytes kOptions = {148, 4, 0, 0, 7, 7, 4, 0, 0, 0, 0, 0};

TEST(each_fragment_is_a_packet_of_its_own) {
  for (const bool vnet : {false, true}) {
    for (const Bytes& options : {Bytes{}, kOptions}) {
      for (const size_t payload : {kSegment - 7u, kSegment * 2u - 8u, 2000u}) {
        Written written(vnet);
        auto batch = PacketBatch::create(4, base::kSlotStrideJumbo);
        const Bytes before = datagram(10);
        const Bytes packet = datagram(payload, options);
        put(*batch, before);
        put_cut(*batch, packet);
        put(*batch, before);
        send_all(*written.queue, *batch);
        for (uint32_t i = 0; i < 3; ++i) CHECK(!is_dropped(*batch, i));
        std::vector<Bytes> expected = model_fragments(packet, kSegment);
        CHECK(expected.size() > 1);
        expected.insert(expected.begin(), before);
        expected.push_back(before);
        CHECK(written.without_front() == expected);
      }
    }
  }
}

TEST(packets_of_a_super_packet_are_cut_where_they_are_longer) {
  for (const bool vnet : {false, true}) {
    for (const uint8_t protocol : {uint8_t{6}, uint8_t{17}}) {
      Written written(vnet);
      auto batch = PacketBatch::create(4, base::kSlotStrideTrain);
      Bulk of;
      of.protocol = protocol;
      of.fragment = 0;
      of.payload = 3'300;
      const Bytes packet = bulk_packet(of);
      put(*batch, packet);
      constexpr uint16_t kEach = 1'000;
      const auto count = static_cast<uint16_t>(model_segment_count(packet, kEach));
      batch->make_super(0, count, static_cast<uint16_t>(bulk_headers(of)), kEach);
      batch->make_fragmented(0, kSegment);
      send_all(*written.queue, *batch);
      CHECK(!is_dropped(*batch, 0));
      const auto expected = model_fitting(model_segments(packet, kEach), kSegment + 20, kSegment);
      CHECK_EQ(expected.size(), 10u);
      CHECK(written.without_front() == expected);
      // Nobody reads any more.
      close(written.ends[0]);
      written.ends[0] = -1;
      send_all(*written.queue, *batch);
      CHECK(is_dropped(*batch, 0));
      CHECK_EQ(batch->packets[0], count);
      CHECK_EQ(batch->lost_bytes[0], count * bulk_headers(of) + of.payload);
    }
  }
}

TEST(a_packet_whose_fragment_is_refused_is_dropped_as_a_whole) {
  Written written(false);
  auto batch = PacketBatch::create(2, base::kSlotStrideJumbo);
  // More than the socket takes.
  const Bytes packet = datagram(8'000);
  std::vector<Bytes> expected;
  while (expected.size() < 1000) {
    batch->count = 0;
    put_cut(*batch, packet);
    send_all(*written.queue, *batch);
    const std::vector<Bytes> fragments = model_fragments(packet, kSegment);
    expected.insert(expected.end(), fragments.begin(), fragments.end());
    if (is_dropped(*batch, 0)) break;
  }
  REQUIRE(is_dropped(*batch, 0));
  CHECK_EQ(batch->reason[0], static_cast<uint8_t>(DropReason::send_would_block));
  const std::vector<Bytes> messages = written.all();
  CHECK(messages.size() < expected.size());
  CHECK(std::equal(messages.begin(), messages.end(), expected.begin()));
  close(written.ends[0]);
  written.ends[0] = -1;
  batch->count = 0;
  put_cut(*batch, packet);
  send_all(*written.queue, *batch);
  CHECK(is_dropped(*batch, 0));
  CHECK_EQ(batch->reason[0], static_cast<uint8_t>(DropReason::send_failed));
}

TEST(the_kernel_puts_the_fragments_together) {
  for (const bool offload : {false, true}) {
    PrivateNetns netns;
    if (!netns.made() || access("/dev/net/tun", R_OK | W_OK) != 0) SKIP(kNoTun);
    io::TunConfig config;
    config.name = "gwlbt0";
    config.netns = netns.path();
    config.mtu = kSegment + 20;
    config.offload = offload;
    std::unique_ptr<io::Tun> tun;
    CHECK_EQ(io::sentence(io::Tun::open(config, &tun)), "");
    REQUIRE(tun != nullptr);
    std::unique_ptr<PlainUdp> server;
    netns.run([&] {
      CHECK(set_address("gwlbt0", kHere, 0xffffff00));
      server = std::make_unique<PlainUdp>(kHere, 5001);
    });
    REQUIRE(server && server->bound());
    auto batch = PacketBatch::create(8, base::kSlotStrideTrain);
    // Neighbours of one flow, which offloads would put together.
    const size_t payloads[] = {100, 8'000, 100, 100, 1'000, 50};
    for (const size_t payload : payloads) {
      if (payload > 400)
        put_cut(*batch, datagram(payload));
      else
        put(*batch, datagram(payload));
    }
    send_all(tun->queue(0), *batch);
    for (uint32_t i = 0; i < batch->count; ++i) CHECK(!is_dropped(*batch, i));
    for (const size_t payload : payloads) {
      Bytes bytes;
      REQUIRE(server->receive(&bytes));
      CHECK(bytes == bulk_payload(payload, 1));
    }
  }
}

}  // namespace
}  // namespace gwlb::test
