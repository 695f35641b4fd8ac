#include "wire/coalesce.h"

#include "test/native/coalesce_rig.h"
#include "wire/segment.h"

namespace gwlb::test {
namespace {

using wire::CoalescedRun;
using wire::Coalescer;

TEST(what_a_run_is) {
  for (Bulk first : kinds()) {
    const Bulk second = after(first);
    const Bulk third = after(second, 99);
    first.flags = 0x90;
    Coalesced got({bulk_packet(first), bulk_packet(second), bulk_packet(third)});
    CHECK(got.groups() == Groups({{0, 1, 2}}));
    const CoalescedRun& run = got.run(0);
    CHECK_EQ(run.first, 0);
    CHECK_EQ(run.count, 3);
    CHECK_EQ(run.headers, bulk_headers(first));
    CHECK_EQ(run.transport, bulk_transport(first));
    CHECK_EQ(run.segment, 100);
    CHECK_EQ(run.length, bulk_headers(first) + 299);
    CHECK_EQ(run.version, first.version);
    CHECK_EQ(run.protocol, first.protocol);
    CHECK_EQ(run.congestion_window_reduced, first.protocol == 6);
  }
}

TEST(a_packet_alone_is_not_touched) {
  const Bytes packet = bulk_packet({});
  Coalesced got({packet, Bytes(), Bytes(1, 0x45)});
  CHECK(got.groups() == Groups({{0}, {1}, {2}}));
  CHECK_EQ(got.run(0).count, 1);
  CHECK_EQ(got.run(0).length, packet.size());
  CHECK_EQ(got.run(1).length, 0);
  CHECK(!got.run(0).congestion_window_reduced);
  CHECK(got.written(0) == packet);
  CHECK(Coalesced({}).groups().empty());
  Coalescer coalescer;
  const wire::PacketSpan nothing;
  coalescer.plan(&nothing, 1, true);
  CHECK_EQ(coalescer.run_count(), 1);
}

TEST(a_plan_begins_anew) {
  const Bulk first;
  const Bytes one = bulk_packet(first);
  const Bytes two = bulk_packet(after(first));
  Exact a(one);
  Exact b(two);
  const wire::PacketSpan spans[2] = {{a.data(), static_cast<uint32_t>(a.size())},
                                     {b.data(), static_cast<uint32_t>(b.size())}};
  Coalescer coalescer;
  coalescer.plan(spans, 1, true);
  CHECK_EQ(coalescer.run_count(), 1);
  coalescer.plan(spans + 1, 1, true);
  CHECK_EQ(coalescer.run_count(), 1);
  CHECK_EQ(coalescer.run(0).count, 1);
  CHECK_EQ(coalescer.order()[0], 0);
  coalescer.plan(spans, 2, true);
  CHECK_EQ(coalescer.run_count(), 1);
  CHECK_EQ(coalescer.run(0).count, 2);
  coalescer.plan(spans, 0, true);
  CHECK_EQ(coalescer.run_count(), 0);
}

TEST(what_ends_a_run) {
  for (const Bulk& kind : kinds()) {
    Bulk b[6] = {kind};
    // A short payload.
    b[1] = after(b[0], 60);
    b[2] = after(b[1], 60);
    b[3] = after(b[2], 60);
    CHECK(plan({bulk_packet(b[0]), bulk_packet(b[1]), bulk_packet(b[2]), bulk_packet(b[3])}) ==
          Groups({{0, 1}, {2, 3}}));
    if (kind.protocol != 6) continue;
    for (const uint8_t flags : {0x18, 0x11}) {
      for (size_t k = 1; k < 5; ++k) b[k] = after(b[k - 1]);
      b[1].flags = flags;
      CHECK(plan({bulk_packet(b[0]), bulk_packet(b[1]), bulk_packet(b[2]), bulk_packet(b[3])}) ==
            Groups({{0, 1}, {2, 3}}));
      b[1].flags = 0x10;
    }
    // A pure acknowledgment between them, a retransmission.
    Bulk ack = b[2];
    ack.payload = 0;
    CHECK(plan({bulk_packet(b[0]), bulk_packet(b[1]), bulk_packet(ack), bulk_packet(b[2]),
                bulk_packet(b[3])}) == Groups({{0, 1}, {2}, {3, 4}}));
    CHECK(plan({bulk_packet(b[0]), bulk_packet(b[1]), bulk_packet(b[0]), bulk_packet(b[1]),
                bulk_packet(b[2])}) == Groups({{0, 1}, {2, 3, 4}}));
  }
}

// A packet whose checksum is wrong stands where it stood.
TEST(wrong_checksums_go_alone_and_in_order) {
  for (const Bulk& kind : kinds()) {
    Bulk b[5] = {kind};
    std::vector<Bytes> packets{bulk_packet(b[0])};
    for (size_t k = 1; k < 5; ++k) {
      b[k] = after(b[k - 1]);
      packets.push_back(bulk_packet(b[k]));
    }
    packets[2].back() ^= 0x80;
    CHECK(plan(packets) == Groups({{0, 1}, {2}, {3, 4}}));
    packets[0].back() ^= 0x80;
    CHECK(plan(packets) == Groups({{0}, {1}, {2}, {3, 4}}));
  }
}

// 0xffff and 0 are the same number, but segmentation writes one of them.
TEST(a_checksum_that_segmentation_writes_otherwise_goes_alone) {
  for (const int version : {4, 6}) {
    for (const uint8_t protocol : {uint8_t{6}, uint8_t{17}}) {
      Bulk of;
      of.version = version;
      of.protocol = protocol;
      const Bytes first = bulk_packet(of);
      Bytes second = bulk_packet(after(of));
      const size_t field = bulk_transport(of) + (protocol == 6 ? 16 : 6);
      // The last word takes what the checksum was: that is then 0 for TCP, 0xffff for UDP.
      const size_t word = second.size() - 2;
      put16(second, word, 0);
      fix_checksums(second, bulk_transport(of), protocol);
      put16(second, word, static_cast<uint16_t>(second[field] * 256 + second[field + 1]));
      fix_checksums(second, bulk_transport(of), protocol);
      CHECK_EQ(second[field], protocol == 6 ? 0 : 0xff);
      CHECK_EQ(second[field + 1], protocol == 6 ? 0 : 0xff);
      CHECK(plan({first, second}) == Groups({{0, 1}}));
      put16(second, field, protocol == 6 ? 0xffff : 0);
      CHECK(plan({first, second}) == Groups({{0}, {1}}));
    }
  }
  // The IPv4 header: the identification takes the checksum's value.
  Bulk of;
  of.id = 0;
  Bytes packet = bulk_packet(of);
  of.id = static_cast<uint16_t>(packet[10] * 256 + packet[11]);
  Bytes second = bulk_packet(of);
  CHECK_EQ(second[10] + second[11], 0);
  Bulk before = of;
  --before.id;
  before.sequence -= 100;
  CHECK(plan({bulk_packet(before), second}) == Groups({{0, 1}}));
  put16(second, 10, 0xffff);
  CHECK(plan({bulk_packet(before), second}) == Groups({{0}, {1}}));
}

TEST(udp_only_where_it_may) {
  for (Bulk of : kinds()) {
    const std::vector<Bytes> packets{bulk_packet(of), bulk_packet(after(of))};
    CHECK(plan(packets, true) == Groups({{0, 1}}));
    CHECK(plan(packets, false) == (of.protocol == 6 ? Groups({{0, 1}}) : Groups({{0}, {1}})));
  }
}

TEST(udp_lengths_that_are_wrong) {
  Bulk of;
  of.protocol = 17;
  for (const int change : {-1, 1}) {
    Bytes first = bulk_packet(of);
    Bytes second = bulk_packet(after(of));
    put16(second, 24, static_cast<uint16_t>(108 + change));
    fix_checksums(second, 20, 17);
    CHECK(plan({first, second}) == Groups({{0}, {1}}));
    CHECK(plan({second, first}) == Groups({{0}, {1}}));
  }
}

TEST(no_longer_than_an_ip_packet) {
  for (Bulk of : kinds()) {
    of.payload = 1400;
    std::vector<Bytes> packets;
    for (int k = 0; k < 60; ++k) {
      packets.push_back(bulk_packet(of));
      of = after(of, 1400);
    }
    const Groups got = plan(packets);
    REQUIRE(got.size() == 2);
    const size_t most = (65535 - bulk_headers(of)) / 1400;
    CHECK_EQ(got[0].size(), most);
    CHECK_EQ(got[1].size(), 60 - most);
  }
  // Exactly as long, and one byte more.
  for (const size_t extra : {0, 1}) {
    Bulk of;
    of.payload = 32767;
    const Bytes first = bulk_packet(of);
    CHECK(plan({first, bulk_packet(after(of, 65535 - 40 - 32767 + extra))}) ==
          (extra == 0 ? Groups({{0, 1}}) : Groups({{0}, {1}})));
  }
}

// Flows of different destination ports, one packet each, `rounds` times around.
std::vector<Bytes> interleaved(Bulk of, size_t flows, size_t rounds) {
  std::vector<Bytes> out;
  for (size_t round = 0; round < rounds; ++round) {
    for (size_t flow = 0; flow < flows; ++flow) {
      Bulk packet = of;
      packet.destination_port = static_cast<uint16_t>(of.destination_port + flow);
      out.push_back(bulk_packet(packet));
    }
    of = after(of);
  }
  return out;
}

TEST(flows_among_each_other) {
  for (const Bulk& of : kinds()) {
    CHECK(plan(interleaved(of, 3, 4)) == Groups({{0, 3, 6, 9}, {1, 4, 7, 10}, {2, 5, 8, 11}}));
    const Groups eight = plan(interleaved(of, Coalescer::kOpenRuns, 3));
    CHECK_EQ(eight.size(), Coalescer::kOpenRuns);
    // One flow too many: each has to give way before it comes again.
    const Groups nine = plan(interleaved(of, Coalescer::kOpenRuns + 1, 3));
    CHECK_EQ(nine.size(), 3 * (Coalescer::kOpenRuns + 1));
  }
}

TEST(a_busy_flow_stays_open_among_many) {
  Bulk busy;
  Bulk other;
  std::vector<Bytes> packets;
  for (uint16_t k = 0; k < 40; ++k) {
    packets.push_back(bulk_packet(busy));
    busy = after(busy);
    other.source_port = static_cast<uint16_t>(1000 + k);
    packets.push_back(bulk_packet(other));
  }
  const Groups got = plan(packets);
  CHECK_EQ(got.size(), 41);
  CHECK_EQ(got[0].size(), 40);
}

TEST(flows_that_differ_in_one_thing_only) {
  Bulk tcp4;
  Bulk udp4 = tcp4;
  udp4.protocol = 17;
  Bulk tcp6 = tcp4;
  tcp6.version = 6;
  Bulk back = tcp4;
  std::swap(back.source, back.destination);
  std::swap(back.source_port, back.destination_port);
  Bulk ports = tcp4;
  std::swap(ports.source_port, ports.destination_port);
  std::vector<Bytes> packets;
  const std::vector<Bulk> flows{tcp4, udp4, tcp6, back, ports};
  for (int round = 0; round < 2; ++round) {
    for (const Bulk& of : flows) packets.push_back(bulk_packet(round == 0 ? of : after(of)));
  }
  CHECK(plan(packets) == Groups({{0, 5}, {1, 6}, {2, 7}, {3, 8}, {4, 9}}));
}

// What may be of a flow is not overtaken by it; what cannot be is no hindrance.
TEST(packets_without_ports_between_those_of_a_flow) {
  Bulk of;
  const Bulk next = after(of);
  const auto between = [&](const Bulk& a, const Bytes& packet, bool hinders) {
    CHECK(plan({bulk_packet(a), packet, bulk_packet(after(a))}) ==
          (hinders ? Groups({{0}, {1}, {2}}) : Groups({{0, 2}, {1}})));
  };
  Bulk fragment = next;
  fragment.fragment = 0x2000;
  between(of, bulk_packet(fragment), true);
  fragment.fragment = 7;
  between(of, bulk_packet(fragment), true);
  ++fragment.destination;
  between(of, bulk_packet(fragment), false);
  Bulk options = next;
  options.ip_options = Bytes(4, 1);
  between(of, bulk_packet(options), true);
  Bytes padded = bulk_packet(next);
  padded.push_back(0);
  between(of, padded, true);
  Bytes tiny = bulk_packet(next);
  tiny.resize(39);
  put16(tiny, 2, 39);
  between(of, tiny, true);
  between(of, ipv4(of.source, of.destination, 1, icmp_echo(false, 1)), false);
  between(of, Bytes(19, 0x45), false);
  between(of, Bytes(60, 0x55), false);

  of.version = 6;
  Bulk extended = after(of);
  extended.extension = Bytes{6, 0, 1, 4, 0, 0, 0, 0};
  between(of, bulk_packet(extended), true);
  extended.extension_kind = 44;
  between(of, bulk_packet(extended), true);
  ++extended.source;
  between(of, bulk_packet(extended), false);
  Bytes echo = bulk_packet(after(of));
  echo[6] = 58;
  between(of, echo, false);
  between(of, Bytes(39, 0x60), false);

  // Another version with the same bytes where the run's addresses are.
  Bytes first = bulk_packet(of);
  Bytes third = bulk_packet(after(of));
  first[9] = third[9] = 6;
  fix_checksums(first, 40, 6);
  fix_checksums(third, 40, 6);
  Bytes second = first;
  second[0] = 0x46;
  CHECK(plan({first, second, third}) == Groups({{0, 2}, {1}}));
}

TEST(super_packets_come_back) {
  for (Bulk of : kinds()) {
    for (const size_t options : {0, 12, 24, 40}) {
      if (of.protocol == 17 && options > 0) continue;
      of.tcp_options = options == 12 ? timestamps() : Bytes(options, 1);
      for (const uint8_t flags : {0x10, 0x18, 0x11, 0x90, 0xd9}) {
        of.flags = flags;
        for (const size_t payload : {101, 200, 999, 5000, 25500}) {
          of.payload = payload;
          const Bytes super = bulk_packet(of);
          const std::vector<Bytes> packets = model_segments(super, 100);
          if (packets.size() > base::kBatchPacketsMax) continue;
          Coalesced got(packets);
          REQUIRE(got.runs() == 1);
          CHECK_EQ(got.run(0).congestion_window_reduced, of.protocol == 6 && flags >= 0x80);
          Bytes written = got.written(0);
          const auto transport = static_cast<uint32_t>(bulk_transport(of));
          const uint32_t field = of.protocol == 6 ? 16 : 6;
          // The field holds the pseudo header's sum, which completion turns into the checksum.
          const Bytes pseudo = pseudo_header(super, of.protocol, super.size() - transport);
          const uint16_t sum = ones_complement(pseudo.data(), pseudo.size());
          CHECK_EQ(written[transport + field] * 256 + written[transport + field + 1],
                   static_cast<uint16_t>(~sum));
          CHECK(wire::complete_checksum(written.data(), static_cast<uint32_t>(written.size()),
                                        transport, field));
          CHECK(written == super);
        }
      }
    }
  }
}

// Everything that was put in comes out again, byte for byte, in the order of its flow.
void check_round_trip(const std::vector<Bytes>& packets, bool udp) {
  Coalesced got(packets, udp);
  const Groups groups = got.groups();
  if (groups != model_plan(packets, udp, Coalescer::kOpenRuns)) CHECK(groups.empty());
  size_t seen = 0;
  for (uint32_t k = 0; k < groups.size(); ++k) {
    const CoalescedRun run = got.run(k);
    const Bytes written = got.written(k);
    CHECK_EQ(written.size(), run.length);
    seen += run.count;
    for (size_t i = 1; i < groups[k].size(); ++i) CHECK(groups[k][i - 1] < groups[k][i]);
    if (run.count == 1) {
      CHECK(written == packets[groups[k][0]]);
      continue;
    }
    wire::SuperPacket super;
    REQUIRE(wire::parse_super_packet(written.data(), run.length, run.segment, &super));
    REQUIRE(super.count == run.count);
    for (uint32_t i = 0; i < run.count; ++i) {
      Bytes segment(super.headers + wire::segment_payload(super, i));
      wire::write_segment(super, i, segment.data());
      CHECK(segment == packets[groups[k][i]]);
    }
  }
  CHECK_EQ(seen, packets.size());
}

// A few flows that send in bursts; now and then something is odd.
class Mix {
 public:
  explicit Mix(uint32_t seed) : random_(seed) {
    for (size_t k = 0; k < 10; ++k) {
      Bulk& of = flows_[k];
      of.version = k % 3 == 2 ? 6 : 4;
      of.protocol = k % 2 == 0 ? 6 : 17;
      of.source_port = static_cast<uint16_t>(2000 + k);
      of.payload = 20 + below(60);
      if (k % 4 == 0) of.tcp_options = timestamps();
      segment_[k] = of.payload;
    }
  }
  uint32_t below(uint32_t bound) {
    random_ = random_ * 1664525 + 1013904223;
    return (random_ >> 8) % bound;
  }
  Bytes next() {
    if (below(4) == 0) current_ = below(flows_used_);
    Bulk& of = flows_[current_];
    Bulk packet = of;
    if (below(12) == 0) packet.payload = of.payload = below(static_cast<uint32_t>(of.payload) + 1);
    const uint32_t odd = below(60);
    if (odd == 0) packet.flags |= static_cast<uint8_t>(1u << below(8));
    if (odd == 1) packet.fragment = below(2) == 0 ? 0x2000 : 0;
    if (odd == 2) packet.tos = static_cast<uint8_t>(below(256));
    if (odd == 3) ++of.id;
    if (odd == 4) packet.sequence -= below(3);
    if (odd == 5) packet.ip_options = Bytes(of.version == 4 ? 4 : 0, 1);
    if (odd == 6) packet.flags = 0x90;
    if (below(15) == 0) packet.flags |= 8;
    Bytes out = bulk_packet(packet);
    if (odd == 7) out[below(static_cast<uint32_t>(out.size()))] ^= 1;
    if (odd == 8) out.resize(below(static_cast<uint32_t>(out.size())));
    if (odd == 9) out.push_back(0);
    of = after(of, segment_[current_]);
    return out;
  }
  void use(uint32_t flows) { flows_used_ = flows, current_ = 0; }

 private:
  Bulk flows_[10];
  size_t segment_[10];
  uint32_t random_;
  uint32_t current_ = 0;
  uint32_t flows_used_ = 1;
};

TEST(random_mixes_come_back_and_are_what_the_model_says) {
  size_t joined = 0;
  for (uint32_t seed = 1; seed <= 300; ++seed) {
    Mix mix(seed);
    mix.use(1 + seed % 10);
    std::vector<Bytes> packets;
    for (uint32_t k = 1 + mix.below(120); k > 0; --k) packets.push_back(mix.next());
    check_round_trip(packets, seed % 5 != 0);
    joined += packets.size() - Coalesced(packets).runs();
  }
  CHECK(joined > 3000);
}

TEST(a_full_batch) {
  Bulk of;
  of.payload = 10;
  std::vector<Bytes> packets;
  for (uint32_t k = 0; k < base::kBatchPacketsMax; ++k, of = after(of, 10)) {
    packets.push_back(bulk_packet(of));
  }
  Coalesced together(packets);
  CHECK_EQ(together.runs(), 1);
  CHECK_EQ(together.run(0).count, base::kBatchPacketsMax);
  check_round_trip(packets, true);
  std::vector<Bytes> alone(base::kBatchPacketsMax, packets[0]);
  CHECK_EQ(Coalesced(alone).runs(), base::kBatchPacketsMax);
}

}  // namespace
}  // namespace gwlb::test
