// UDP trains over the loopback: what is sent as one arrives as what it stands for, and the other
// way round, with offloads at either end, both, or none.
#include <sys/ioctl.h>

#include "io/udp.h"
#include "test/native/bulk_rig.h"
#include "test/native/io_rig.h"
#include "test/native/oracle/fragment_model.h"
#include "test/native/test.h"
#include "wire/segment.h"

namespace gwlb::test {
namespace {

using base::DropReason;
using batch::PacketBatch;
using batch::Verdict;

constexpr uint32_t kLocal = 0x7f000001;

struct Ends {
  std::unique_ptr<io::UdpReceiver> receiver;
  std::unique_ptr<io::UdpSender> sender;
  std::unique_ptr<PacketBatch> out = PacketBatch::create(256, base::kSlotStrideTrain);
  std::unique_ptr<PacketBatch> in = PacketBatch::create(64, base::kSlotStrideTrain);
  io::UdpSendScratch scratch;

  Ends(bool send_trains, bool receive_trains, const std::string& netns = "") {
    io::UdpConfig config;
    config.address = kLocal;
    config.port = 0;
    config.netns = netns;
    config.source_port_base = 44000;
    config.source_port_count = 4;
    config.offload = receive_trains;
    CHECK_EQ(io::sentence(io::UdpReceiver::open(config, &receiver)), "");
    config.offload = send_trains;
    CHECK_EQ(io::sentence(io::UdpSender::open(config, receiver.get(), &sender)), "");
    out->count = 0;
  }

  void put(const Bytes& bytes, uint16_t source = 0) {
    const uint32_t i = out->count++;
    out->reset(i, static_cast<uint32_t>(bytes.size()));
    if (!bytes.empty()) std::memcpy(out->packet(i), bytes.data(), bytes.size());
    out->verdict[i] = static_cast<uint8_t>(Verdict::forward);
    out->address[i] = kLocal;
    out->port[i] = receiver->port();
    out->source_port[i] = source;
  }

  uint32_t send() {
    const uint32_t sent = send_all(*sender, *out, scratch);
    out->count = 0;
    return sent;
  }

  // The next `n` datagrams.
  std::vector<Bytes> receive(uint32_t n) {
    std::vector<Bytes> all;
    io::OsError error;
    for (int tries = 0; all.size() < n && tries < 500; ++tries) {
      do {
        receiver->receive(*in, &error);
        for (uint32_t i = 0; i < in->count; ++i) {
          CHECK(in->pending(i));
          CHECK(in->begin[i] <= in->offset[i] && in->offset[i] + in->length[i] <= in->end[i]);
          all.emplace_back(in->packet(i), in->packet(i) + in->length[i]);
        }
      } while (receiver->pending());
      CHECK(error.ok());
      if (all.size() < n) usleep(1000);
    }
    return all;
  }
};

Bytes numbered_bytes(uint32_t number, size_t length) {
  Bytes b = bulk_payload(length, static_cast<uint8_t>(number));
  if (length >= 4) put32(b, 0, number);
  return b;
}

// Lengths that make trains, break them, end them, and leave packets alone.
void all_arrive(bool send_trains, bool receive_trains) {
  Ends ends(send_trains, receive_trains);
  std::vector<Bytes> sent;
  const auto add = [&](size_t length) {
    sent.push_back(numbered_bytes(static_cast<uint32_t>(sent.size()), length));
    ends.put(sent.back());
  };
  for (int k = 0; k < 70; ++k) add(1400);  // above 64 segments
  add(600);
  add(600);
  add(601);
  add(0);
  add(0);
  add(4);
  for (int k = 0; k < 10; ++k) add(9000);  // above 65,507 bytes
  add(1);
  CHECK_EQ(ends.send(), sent.size());
  const std::vector<Bytes> got = ends.receive(static_cast<uint32_t>(sent.size()));
  CHECK_EQ(got.size(), sent.size());
  CHECK(got == sent);
}

TEST(packets_arrive_as_they_were_without_trains) { all_arrive(false, false); }
TEST(packets_arrive_as_they_were_from_trains) { all_arrive(true, false); }
TEST(packets_arrive_as_they_were_into_trains) { all_arrive(false, true); }
TEST(packets_arrive_as_they_were_in_trains) { all_arrive(true, true); }

TEST(a_train_is_received_in_one_slot_and_goes_on_where_the_batch_was_full) {
  Ends ends(true, true);
  if (!ends.sender->trains() || !ends.receiver->trains()) SKIP("the kernel has no UDP GSO or GRO");
  ends.in = PacketBatch::create(16, base::kSlotStrideTrain);
  for (uint32_t k = 0; k < 40; ++k) ends.put(numbered_bytes(k, k == 39 ? 77 : 1000));
  CHECK_EQ(ends.send(), 40u);
  io::OsError error;
  uint32_t got = 0;
  for (int tries = 0; tries < 500 && got == 0; ++tries) {
    got = ends.receiver->receive(*ends.in, &error);
    if (got == 0) usleep(1000);
  }
  REQUIRE(got == 16);
  CHECK(ends.receiver->pending());
  CHECK_EQ(ends.in->headroom(0), base::kHeadroom);
  CHECK_EQ(ends.in->headroom(1), 0u);
  CHECK_EQ(ends.in->tailroom(1), 0u);
  CHECK_EQ(ends.in->offset[5], ends.in->offset[0] + 5000);
  CHECK_EQ(ends.in->port[5], 44000);
  CHECK_EQ(ends.receiver->receive(*ends.in, &error), 16u);
  CHECK_EQ(ends.receiver->receive(*ends.in, &error), 8u);
  CHECK_EQ(ends.in->length[7], 77u);
  CHECK(!ends.receiver->pending());
  CHECK_EQ(ends.receiver->receive(*ends.in, &error), 0u);
}

TEST(datagrams_of_a_train_are_moved_apart_where_they_need_headroom) {
  Ends ends(true, true);
  if (!ends.sender->trains() || !ends.receiver->trains()) SKIP("the kernel has no UDP GSO or GRO");
  ends.in = PacketBatch::create(16, base::kSlotStrideTrain);
  ends.receiver->set_spread([](uint32_t address) { return address == kLocal; });
  for (const size_t length : {size_t{1000}, size_t{1023}}) {
    const uint32_t count = 65'000 / length < 64 ? 63 : 64;
    std::vector<Bytes> sent;
    for (uint32_t k = 0; k < count; ++k) {
      sent.push_back(numbered_bytes(k, k + 1 == count ? 5 : length));
      ends.put(sent.back());
    }
    CHECK_EQ(ends.send(), count);
    io::OsError error;
    uint32_t got = 0;
    for (int tries = 0; tries < 500 && got < count; ++tries) {
      const uint32_t n = ends.receiver->receive(*ends.in, &error);
      if (n == 0) usleep(1000);
      for (uint32_t i = 0; i < n; ++i, ++got) {
        const uint8_t* packet = ends.in->packet(i);
        CHECK(Bytes(packet, packet + ends.in->length[i]) == sent[got]);
        CHECK(ends.in->headroom(i) >= base::kTrainGap);
        CHECK(i == 0 || ends.in->begin[i] >= ends.in->offset[i - 1] + ends.in->length[i - 1]);
      }
    }
    CHECK_EQ(got, count);
  }
}

// A super-packet with 40 bytes in front, as encapsulation leaves it, and what must arrive.
void put_super(Ends& ends, const Bulk& of, uint16_t segment, std::vector<Bytes>* expected) {
  const Bytes packet = bulk_packet(of);
  const Bytes prefix(40, 0xee);
  const uint32_t i = ends.out->count;
  ends.put(packet);
  wire::SuperPacket super;
  REQUIRE(wire::parse_super_packet(ends.out->packet(i), ends.out->length[i], segment, &super));
  ends.out->make_super(i, super.count, super.headers, super.segment);
  ends.out->offset[i] -= 40;
  ends.out->length[i] += 40;
  std::memcpy(ends.out->packet(i), prefix.data(), prefix.size());
  for (uint32_t k = 0; k < super.count; ++k) {
    Bytes one(40 + super.headers + size_t{super.segment}, 0xee);
    one.resize(40 + wire::write_segment(super, k, one.data() + 40));
    expected->push_back(one);
  }
}

void super_packets_are_cut(bool send_trains, bool receive_trains) {
  Ends ends(send_trains, receive_trains);
  std::vector<Bytes> expected;
  const Bytes plain = numbered_bytes(1, 500);
  ends.put(plain);
  expected.push_back(plain);
  Bulk of;
  of.payload = 60'001;  // with 40 bytes in front of each more than one train
  put_super(ends, of, 1400, &expected);
  of.version = 6;
  of.payload = 2801;
  of.tcp_options = Bytes(12, 1);
  put_super(ends, of, 1400, &expected);
  of.protocol = 17;
  of.tcp_options.clear();
  of.payload = 6400;
  put_super(ends, of, 64, &expected);
  ends.put(plain);
  expected.push_back(plain);
  CHECK_EQ(ends.send(), expected.size());
  CHECK(ends.receive(static_cast<uint32_t>(expected.size())) == expected);
}

// The same of one whose packets leave in fragments where they are longer.
void put_super_cut(Ends& ends, const Bulk& of, uint16_t segment, uint16_t fragment,
                   std::vector<Bytes>* expected) {
  std::vector<Bytes> whole;
  put_super(ends, of, segment, &whole);
  ends.out->fragment[ends.out->count - 1] = fragment;
  for (Bytes& packet : whole) {
    packet.erase(packet.begin(), packet.begin() + 40);
    const size_t mtu = bulk_transport(of) + fragment;
    for (const Bytes& one : model_fitting({packet}, mtu, fragment)) {
      expected->emplace_back(40, 0xee);
      append(expected->back(), one);
    }
  }
}

TEST(super_packets_are_cut_into_fragments) {
  for (const bool trains : {false, true}) {
    Ends ends(trains, trains);
    std::vector<Bytes> expected;
    const Bytes plain = numbered_bytes(1, 500);
    Bulk of;
    of.fragment = 0;
    for (const size_t payload : {20'001u, 65'000u}) {
      of.payload = payload;
      put_super_cut(ends, of, 8000, 1400, &expected);  // the last one of each fits
      of.protocol = 17;
      ends.put(plain);
      expected.push_back(plain);
    }
    of.payload = 60'000;
    of.ip_options = {148, 4, 0, 0, 7, 7, 4, 0, 0, 0, 0, 0};  // of unequal fragments
    put_super_cut(ends, of, 30'000, 512, &expected);
    CHECK_EQ(ends.send(), expected.size());
    CHECK(ends.receive(static_cast<uint32_t>(expected.size())) == expected);
  }
}

TEST(super_packets_are_cut_into_trains) { super_packets_are_cut(true, false); }
TEST(super_packets_are_cut_into_trains_that_arrive_as_such) { super_packets_are_cut(true, true); }
TEST(super_packets_are_cut_without_trains) { super_packets_are_cut(false, false); }

// The kernel fragments a datagram, but no train.
TEST(a_train_above_the_mtu_goes_packet_by_packet) {
  PrivateNetns netns;
  if (!netns.made()) SKIP("no network namespace can be made here");
  CHECK(netns.run([] {
    const int fd = socket(AF_INET, SOCK_DGRAM, 0);
    ifreq request{};
    std::strncpy(request.ifr_name, "lo", IFNAMSIZ - 1);
    request.ifr_mtu = 1500;
    CHECK(ioctl(fd, SIOCSIFMTU, &request) == 0);
    close(fd);
    CHECK(set_link_up("lo"));
  }));
  Ends ends(true, true, netns.path());
  for (int round = 0; round < 2; ++round) {
    std::vector<Bytes> expected;
    for (uint32_t k = 0; k < 20; ++k) {
      expected.push_back(numbered_bytes(k, 2000));
      ends.put(expected.back());
    }
    Bulk of;
    of.payload = 20'000;
    put_super(ends, of, 1460, &expected);  // 1,540 bytes with what is in front
    for (uint32_t k = 0; k < 5; ++k) {
      expected.push_back(numbered_bytes(k, 100));
      ends.put(expected.back());
    }
    CHECK_EQ(ends.send(), expected.size());
    CHECK(ends.receive(static_cast<uint32_t>(expected.size())) == expected);
  }
}

TEST(what_is_lost_of_a_super_packet_is_known) {
  PrivateNetns netns;
  if (!netns.made()) SKIP("no network namespace can be made here");
  CHECK(netns.run([] { CHECK(set_link_up("lo")); }));
  Ends ends(true, true, netns.path());
  std::vector<Bytes> expected;
  Bulk of;
  of.payload = 30'000;
  put_super(ends, of, 1000, &expected);
  ends.out->address[0] = 0xcb007101;  // 203.0.113.1: no route leads there
  CHECK_EQ(send_all(*ends.sender, *ends.out, ends.scratch), 0u);
  CHECK_EQ(ends.out->verdict[0], static_cast<uint8_t>(Verdict::drop));
  CHECK_EQ(ends.out->reason[0], static_cast<uint8_t>(DropReason::send_failed));
  CHECK_EQ(ends.out->packets[0], 30);
  CHECK_EQ(ends.out->lost_bytes[0], 30 * 40 + 30'000);
}

TEST(a_packet_that_lost_a_fragment_is_lost_once) {
  for (const bool trains : {false, true}) {
    PrivateNetns netns;
    if (!netns.made()) SKIP("no network namespace can be made here");
    CHECK(netns.run([] { CHECK(set_link_up("lo")); }));
    Ends ends(trains, trains, netns.path());
    std::vector<Bytes> expected;
    Bulk of;
    of.fragment = 0;
    of.payload = 10'500;
    put_super_cut(ends, of, 5000, 1000, &expected);
    ends.out->address[0] = 0xcb007101;  // no route leads there
    CHECK_EQ(send_all(*ends.sender, *ends.out, ends.scratch), 0u);
    CHECK_EQ(ends.out->reason[0], static_cast<uint8_t>(DropReason::send_failed));
    CHECK_EQ(ends.out->packets[0], 3);
    CHECK_EQ(ends.out->lost_bytes[0], 3 * 40 + 10'500);
  }
}

TEST(a_longer_datagram_than_allowed_is_a_drop_in_a_train_too) {
  Ends ends(true, true);
  io::UdpConfig config;
  config.address = kLocal;
  config.port = 0;
  config.source_port_count = 0;
  config.offload = true;
  config.datagram_bytes_max = 1000;
  CHECK(io::UdpReceiver::open(config, &ends.receiver).ok());
  for (uint32_t k = 0; k < 3; ++k) ends.put(numbered_bytes(k, 1001));
  ends.put(numbered_bytes(3, 1000));
  CHECK_EQ(ends.send(), 4u);
  io::OsError error;
  uint32_t dropped = 0;
  uint32_t good = 0;
  for (int tries = 0; tries < 500 && dropped + good < 4; ++tries) {
    const uint32_t n = ends.receiver->receive(*ends.in, &error);
    for (uint32_t i = 0; i < n; ++i) {
      const bool drop = ends.in->verdict[i] == static_cast<uint8_t>(Verdict::drop);
      CHECK(!drop || ends.in->reason[i] == static_cast<uint8_t>(DropReason::receive_truncated));
      ++(drop ? dropped : good);
    }
    if (n == 0) usleep(1000);
  }
  CHECK_EQ(dropped, 3u);
  CHECK_EQ(good, 1u);
}

}  // namespace
}  // namespace gwlb::test
