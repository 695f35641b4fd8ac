// What a recording keeps, as a wrapper of the ports that packets enter by.
#include "engine/recorder.h"

#include "test/native/test.h"
#include "test/native/worker_rig.h"

namespace gwlb::test {
namespace {

using engine::RecordedPacket;

std::vector<RecordedPacket> recorded(const engine::GatewayWorker& worker, uint64_t now_ms) {
  std::vector<RecordedPacket> all;
  const engine::RecordRing& ring = *worker.recording();
  ring.read(0, ring.end(), now_ms, [&all](const RecordedPacket& packet) { all.push_back(packet); });
  return all;
}

Bytes bytes_of(const RecordedPacket& packet) {
  return {packet.bytes, packet.bytes + packet.captured};
}

Bytes head_of(const Bytes& packet) {
  return {packet.begin(), packet.begin() + std::min<std::ptrdiff_t>(
                                               static_cast<std::ptrdiff_t>(packet.size()), 128)};
}

Bytes packet_of(uint32_t flow, uint32_t payload) {
  return ipv4(0xcb007100 + flow, 0x0a00020a, 17, udp(4000, 53, payload));
}

TEST(a_recording_keeps_the_first_bytes_of_what_enters) {
  WorkerRig rig({});
  engine::GatewayWorker& worker = *rig.workers[0];
  rig.enter(0, {packet_of(9, 10)});  // before there is one
  CHECK(rig.settle());
  worker.set_recording(engine::RecordRing::create(100, 10'000));
  rig.enter(0, {packet_of(1, 10)});
  rig.enter(0, {packet_of(2, 900)});
  rig.enter(0, {Bytes(3000)});  // does not enter
  rig.send_as_peer(0, packet_of(3, 300));
  rig.tunnels[0]->put({Bytes(40), 0x01020304, 6081});  // a stranger's
  CHECK(rig.settle());
  // What came back of it from the target is not in there.
  const auto kept = recorded(worker, rig.now_ms);
  REQUIRE(kept.size() == 3);
  const Bytes expected[] = {packet_of(1, 10), packet_of(2, 900), packet_of(3, 300)};
  const uint16_t endpoints[] = {kRigDevice, kRigDevice, kRigGeneve};
  for (size_t k = 0; k < 3; ++k) {
    CHECK(bytes_of(kept[k]) == head_of(expected[k]));
    CHECK_EQ(kept[k].length, expected[k].size());
    CHECK_EQ(kept[k].endpoint, endpoints[k]);
    CHECK_EQ(kept[k].time_ms, rig.now_ms);
  }
  CHECK_EQ(rig.books(), "");
  worker.set_recording(nullptr);
  CHECK(worker.recording() == nullptr);
  rig.enter(0, {packet_of(1, 10)});
  CHECK(rig.settle());
  CHECK_EQ(rig.books(), "");
}

TEST(a_recording_keeps_every_packet_of_a_super_packet) {
  WorkerRig rig({});
  engine::GatewayWorker& worker = *rig.workers[0];
  worker.set_recording(engine::RecordRing::create(100, 10'000));
  Bulk of;
  of.payload = 2500;
  rig.enter(0, {bulk_packet(of), 0, 0, 1000});
  CHECK(rig.settle());
  const auto kept = recorded(worker, rig.now_ms);
  REQUIRE(kept.size() == 3);
  CHECK_EQ(kept[0].length, 1040u);
  CHECK_EQ(kept[2].length, 540u);
  for (const RecordedPacket& packet : kept) CHECK_EQ(packet.captured, 40u);
}

// Who reads a packet keeps it, whoever's flow it is; a device that comes later is recorded too.
TEST(a_recording_covers_all_ports_of_a_worker) {
  WorkerRig rig({.workers = 3});
  for (const auto& worker : rig.workers) {
    worker->set_recording(engine::RecordRing::create(100, 10'000));
  }
  for (uint32_t n = 0; n < 30; ++n) rig.enter(1, {packet_of(n, 20)});
  CHECK(rig.settle());
  CHECK_EQ(recorded(*rig.workers[0], rig.now_ms).size(), 0u);
  CHECK_EQ(recorded(*rig.workers[1], rig.now_ms).size(), 30u);
  const auto later = std::make_shared<FakePort>();
  CHECK(rig.workers[0]->add_port(kRigDevice, later).ok());
  later->put({packet_of(1, 20)});
  CHECK(rig.settle());
  CHECK_EQ(recorded(*rig.workers[0], rig.now_ms).size(), 1u);
  // What was kept can be read when everything is over.
  rig.finish();
  CHECK_EQ(recorded(*rig.workers[1], rig.now_ms).size(), 30u);
}

}  // namespace
}  // namespace gwlb::test
