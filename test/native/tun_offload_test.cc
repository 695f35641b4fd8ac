// Super-packets of a TUN device: what the kernel hands over as one, and what it takes as one.
#include <algorithm>
#include <numeric>

#include "io/tun.h"
#include "test/native/bulk_rig.h"
#include "test/native/io_rig.h"
#include "test/native/test.h"
#include "wire/segment.h"

namespace gwlb::test {
namespace {

using base::DropReason;
using batch::PacketBatch;

constexpr char kNoTun[] = "no network namespace or no TUN device can be made here";
constexpr char kNoOffload[] = "the kernel has no such offload";
constexpr uint32_t kHere = 0x0a090001;   // the kernel's end
constexpr uint32_t kThere = 0x0a090002;  // behind the device
constexpr int kUdpSegment = 103;

struct Device {
  PrivateNetns netns;
  std::unique_ptr<io::Tun> tun;
  std::unique_ptr<PacketBatch> batch = PacketBatch::create(64, base::kSlotStrideTrain);

  explicit Device(bool offload) {
    if (!netns.made() || access("/dev/net/tun", R_OK | W_OK) != 0) return;
    io::TunConfig config;
    config.name = "gwlbt0";
    config.netns = netns.path();
    config.mtu = 1500;
    config.offload = offload;
    CHECK_EQ(io::sentence(io::Tun::open(config, &tun)), "");
    CHECK(netns.run([] { CHECK(set_address("gwlbt0", kHere, 0xffffff00)); }));
  }

  // Appends until `enough` packets (super-packets count as what they stand for) are there.
  uint32_t receive(uint32_t enough) {
    io::OsError error;
    uint32_t packets = 0;
    batch->count = 0;
    for (int tries = 0; packets < enough && tries < 500; ++tries) {
      bool more = false;
      if (tun->queue(0).receive(*batch, 3, &more, &error) == 0) usleep(1000);
      CHECK(error.ok());
      packets = 0;
      for (uint32_t i = 0; i < batch->count; ++i) packets += batch->packets[i];
    }
    return packets;
  }

  void put(const Bytes& bytes) {
    const uint32_t i = batch->count++;
    batch->reset(i, static_cast<uint32_t>(bytes.size()));
    std::memcpy(batch->packet(i), bytes.data(), bytes.size());
  }

  uint32_t write() {
    uint16_t all[base::kBatchPacketsMax];
    std::iota(all, all + batch->count, uint16_t{0});
    tun->queue(0).send(*batch, all, batch->count);
    uint32_t dropped = 0;
    for (uint32_t i = 0; i < batch->count; ++i) {
      dropped += batch->verdict[i] == static_cast<uint8_t>(batch::Verdict::drop);
    }
    return batch->count - dropped;
  }
};

// One send of `length` bytes, cut by the stack (or not) into datagrams of `segment`.
bool send_train(const PlainUdp& from, size_t length, uint16_t segment) {
  const int size = segment;
  if (setsockopt(from.fd(), IPPROTO_UDP, kUdpSegment, &size, sizeof size) != 0) return false;
  const Bytes bytes = bulk_payload(length, 9);
  const sockaddr_in to = address_of(kThere, 9999);
  return sendto(from.fd(), bytes.data(), bytes.size(), 0, reinterpret_cast<const sockaddr*>(&to),
                sizeof to) == static_cast<ssize_t>(length);
}

// IPv4 and UDP.
bool checksum_is_right(const uint8_t* packet, uint32_t length) {
  const Bytes as_it_is(packet, packet + length);
  Bytes right = as_it_is;
  fix_checksums(right, 20, 17);
  return right == as_it_is;
}

TEST(a_super_packet_arrives_whole_and_its_segments_are_right) {
  Device device(true);
  if (device.tun == nullptr) SKIP(kNoTun);
  if (!device.tun->offloads().udp) SKIP(kNoOffload);
  std::unique_ptr<PlainUdp> client;
  device.netns.run([&] { client = std::make_unique<PlainUdp>(kHere); });
  REQUIRE(send_train(*client, 20'100, 1000));
  CHECK_EQ(device.receive(21), 21u);
  PacketBatch& batch = *device.batch;
  REQUIRE(batch.count == 1);
  CHECK(batch.is_super(0));
  CHECK_EQ(batch.endpoint[0], 3);
  CHECK_EQ(batch.length[0], 20'128u);
  CHECK_EQ(batch.bytes(0), 20'100u + 21 * 28);
  CHECK_EQ(batch.longest(0), 1028u);
  CHECK_EQ(batch.headroom(0), base::kHeadroom);
  const Bytes sent = bulk_payload(20'100, 9);
  wire::SuperPacket super;
  REQUIRE(wire::parse_super_packet(batch.packet(0), batch.length[0], batch.segment[0], &super));
  for (uint32_t k = 0; k < super.count; ++k) {
    uint8_t segment[2000];
    const uint32_t length = wire::write_segment(super, k, segment);
    CHECK(checksum_is_right(segment, length));
    CHECK(std::equal(segment + 28, segment + length, sent.begin() + k * 1000));
  }
}

// Without a train too: the device said that it computes checksums, so the kernel does not.
TEST(an_ordinary_packets_checksum_is_completed) {
  for (const bool offload : {false, true}) {
    Device device(offload);
    if (device.tun == nullptr) SKIP(kNoTun);
    device.netns.run([] {
      PlainUdp client(kHere);
      CHECK(client.send(bulk_payload(777, 1), kThere, 9999));
    });
    REQUIRE(device.receive(1) == 1 && device.batch->count == 1);
    CHECK(!device.batch->is_super(0));
    CHECK_EQ(device.batch->length[0], 805u);
    CHECK(device.batch->pending(0));
    CHECK(checksum_is_right(device.batch->packet(0), 805));
  }
}

TEST(without_offloads_the_kernel_cuts_itself) {
  Device device(false);
  if (device.tun == nullptr) SKIP(kNoTun);
  CHECK(!device.tun->offloads().tcp && !device.tun->offloads().udp);
  std::unique_ptr<PlainUdp> client;
  device.netns.run([&] { client = std::make_unique<PlainUdp>(kHere); });
  if (!send_train(*client, 5000, 1000)) SKIP(kNoOffload);
  CHECK_EQ(device.receive(5), 5u);
  REQUIRE(device.batch->count == 5);
  for (uint32_t i = 0; i < 5; ++i) {
    CHECK_EQ(device.batch->length[i], 1028u);
    CHECK(checksum_is_right(device.batch->packet(i), 1028));
  }
}

// UDP packets to the kernel's end, in runs and alone; the socket sees each as it was sent.
void packets_are_delivered(bool offload) {
  Device device(offload);
  if (device.tun == nullptr) SKIP(kNoTun);
  std::unique_ptr<PlainUdp> server;
  device.netns.run([&] { server = std::make_unique<PlainUdp>(kHere); });
  std::vector<Bytes> expected;
  Bulk of;
  of.protocol = 17;
  of.source = kThere;
  of.destination = kHere;
  of.source_port = 7;
  of.destination_port = server->port();
  device.batch->count = 0;
  for (int k = 0; k < 60; ++k) {
    of.payload = k == 20 ? 300 : k < 50 ? 1200 : 10u + static_cast<size_t>(k);
    of.seed = static_cast<uint8_t>(k);
    device.put(bulk_packet(of));
    expected.push_back(bulk_payload(of.payload, of.seed));
    ++of.id;
  }
  CHECK_EQ(device.write(), 60u);
  for (const Bytes& one : expected) {
    Bytes got;
    REQUIRE(server->receive(&got));
    CHECK(got == one);
  }
}
TEST(packets_are_delivered_in_runs) { packets_are_delivered(true); }
TEST(packets_are_delivered_one_by_one) { packets_are_delivered(false); }

// failOpen: what was read as a super-packet is written as one.
TEST(a_super_packet_that_was_read_can_be_written) {
  Device from(true);
  Device to(true);
  if (from.tun == nullptr || to.tun == nullptr) SKIP(kNoTun);
  if (!from.tun->offloads().udp) SKIP(kNoOffload);
  std::unique_ptr<PlainUdp> client;
  std::unique_ptr<PlainUdp> server;
  from.netns.run([&] { client = std::make_unique<PlainUdp>(kHere); });
  to.netns.run([&] {
    CHECK(set_address("gwlbt0", kThere, 0xffffff00));
    server = std::make_unique<PlainUdp>(kThere, 9999);
  });
  REQUIRE(server->bound() && send_train(*client, 20'100, 1000));
  REQUIRE(from.receive(21) == 21 && from.batch->count == 1);
  std::swap(from.batch, to.batch);
  CHECK_EQ(to.write(), 1u);
  const Bytes sent = bulk_payload(20'100, 9);
  for (uint32_t k = 0; k < 21; ++k) {
    Bytes got;
    REQUIRE(server->receive(&got));
    const size_t length = k < 20 ? 1000 : 100;
    REQUIRE(got.size() == length);
    CHECK(std::equal(got.begin(), got.end(), sent.begin() + k * 1000));
  }
}

TEST(a_refused_run_drops_each_of_its_packets) {
  Device device(true);
  if (device.tun == nullptr) SKIP(kNoTun);
  Bulk of;
  of.source = kThere;
  of.destination = kHere;
  of.payload = 1000;
  device.batch->count = 0;
  for (int k = 0; k < 3; ++k) {
    device.put(bulk_packet(of));
    ++of.id;
    of.sequence += 1000;
  }
  const Bytes before(device.batch->packet(0), device.batch->packet(0) + 1040);
  CHECK(device.netns.run([] { CHECK(delete_link("gwlbt0")); }));
  CHECK_EQ(device.write(), 0u);
  for (uint32_t i = 0; i < 3; ++i) {
    CHECK_EQ(device.batch->reason[i], static_cast<uint8_t>(DropReason::send_failed));
  }
  CHECK(std::equal(before.begin(), before.end(), device.batch->packet(0)));
}

}  // namespace
}  // namespace gwlb::test
