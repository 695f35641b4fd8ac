// The answers by which an appliance refuses a packet.
#include <memory>

#include "appliance/appliance.h"
#include "test/native/datagrams.h"
#include "test/native/test.h"
#include "wire/checksum.h"

namespace gwlb::test {
namespace {

using appliance::Appliance;
using batch::PacketBatch;

constexpr uint32_t kClient = 0xcb007109;
constexpr uint32_t kServer = 0x0a00020a;

// One datagram, opened and refused.
struct Refusal {
  std::unique_ptr<PacketBatch> batch = PacketBatch::create(1, base::kSlotStrideJumbo);
  std::unique_ptr<Appliance> appliance = std::make_unique<Appliance>(appliance::ApplianceConfig{});
  Bytes sent;
  bool done;

  explicit Refusal(const Bytes& packet, uint16_t type = 0x0800)
      : sent(geneve(type, gateway_options(7)) + packet) {
    batch->reset(0, static_cast<uint32_t>(sent.size()));
    std::memcpy(batch->packet(0), sent.data(), sent.size());
    batch->count = 1;
    appliance->open(*batch);
    done = appliance->reject(*batch, 0);
  }
  Bytes answer() const { return {batch->packet(0), batch->packet(0) + batch->length[0]}; }
  const wire::InnerPacket& inner() const { return appliance->opened(0).inner; }
  Bytes returned() {
    appliance->close(*batch, 6081);
    return answer();
  }
};

uint16_t sum_of(const Refusal& refusal) {
  const wire::InnerPacket& inner = refusal.inner();
  const Bytes answer = refusal.answer();
  const uint8_t* segment = answer.data() + inner.transport_offset;
  const size_t length = inner.total_length - inner.transport_offset;
  if (inner.protocol == wire::kIcmp) {
    return wire::checksum_finish(wire::checksum_add(segment, length));
  }
  return wire::transport_checksum(inner.source, inner.destination, inner.version == 4 ? 4 : 16,
                                  inner.protocol, segment, length);
}

TEST(a_tcp_segment_is_reset) {
  Bytes data = tcp(52144, 443, wire::kAck | wire::kPsh, 100);
  put32(data, 8, 0x01020304);
  Refusal refusal(ipv4(kClient, kServer, 6, data));
  REQUIRE(refusal.done);
  CHECK_EQ(refusal.inner().tcp_flags, wire::kRst);
  CHECK_EQ(refusal.inner().source_port, 443);
  CHECK_EQ(refusal.inner().destination_port, 52144);
  CHECK_EQ(base::load_be32(refusal.inner().destination), kClient);
  CHECK_EQ(base::load_be32(refusal.answer().data() + 24), 0x01020304u);
  CHECK_EQ(sum_of(refusal), 0);
  CHECK(refusal.appliance->opened(0).rejected);
  CHECK(refusal.appliance->opened(0).rewritten);
  const Bytes answer = refusal.answer();
  CHECK(refusal.returned() == geneve(0x0800, gateway_options(7)) + answer);
}

TEST(an_opening_segment_is_acknowledged_too) {
  Refusal refusal(ipv6(9, 10, 6, tcp(52144, 443, wire::kSyn)), 0x86dd);
  REQUIRE(refusal.done);
  CHECK_EQ(refusal.inner().tcp_flags, wire::kRst | wire::kAck);
  CHECK_EQ(base::load_be32(refusal.answer().data() + 40 + 8), 1001u);
  CHECK_EQ(sum_of(refusal), 0);
}

TEST(others_are_administratively_prohibited) {
  const Bytes packet = ipv4(kClient, kServer, 17, udp(5353, 53, 900));
  Refusal refusal(packet);
  REQUIRE(refusal.done);
  CHECK_EQ(refusal.inner().icmp_type, 3);
  CHECK_EQ(refusal.inner().icmp_code, 13);
  CHECK_EQ(refusal.inner().total_length, 576u);
  CHECK_EQ(sum_of(refusal), 0);
  const Bytes answer = refusal.answer();
  CHECK(Bytes(answer.begin() + 28, answer.end()) == Bytes(packet.begin(), packet.begin() + 548));

  const Bytes packet6 = ipv6(9, 10, 17, udp(5353, 53, 40));
  Refusal six(packet6, 0x86dd);
  REQUIRE(six.done);
  CHECK_EQ(six.inner().protocol, wire::kIcmpv6);
  CHECK_EQ(six.inner().icmp_type, 1);
  CHECK_EQ(six.inner().icmp_code, 1);
  CHECK_EQ(sum_of(six), 0);
  const Bytes answer6 = six.answer();
  CHECK(Bytes(answer6.begin() + 48, answer6.end()) == packet6);

  CHECK(Refusal(ipv4(kClient, kServer, 1, icmp_echo(false, 1))).done);
  Refusal part(ipv4(kClient, kServer, 6, tcp(1, 2, wire::kAck, 60), 0x2000));
  REQUIRE(part.done);
  CHECK_EQ(part.inner().icmp_code, 13);
}

TEST(what_may_not_be_answered_stays_as_it_is) {
  const Bytes packet = ipv4(kClient, kServer, 17, udp(5353, 53));
  const Bytes silent[] = {
      ipv4(kClient, kServer, 6, tcp(1, 2, wire::kRst)),
      ipv4(kClient, kServer, 1, icmp_unreachable(packet, 28)),
      ipv4(kClient, kServer, 17, Bytes(64, 1), 100),
      ipv4(kClient, 0xe0000001, 17, udp(5353, 53)),
      ipv4(0xffffffff, kServer, 17, udp(5353, 53)),
      ipv4(0, kServer, 17, udp(5353, 53)),
  };
  for (const Bytes& one : silent) {
    Refusal refusal(one);
    CHECK(!refusal.done);
    CHECK(!refusal.appliance->opened(0).rejected);
    CHECK(refusal.returned() == refusal.sent);
  }
  Refusal twice(packet);
  CHECK(twice.done);
  CHECK(!twice.appliance->reject(*twice.batch, 0));
}

TEST(the_largest_packets_have_room_for_their_answer) {
  const Bytes largest = ipv4(kClient, kServer, 17, udp(5353, 53, base::kInnerBytesMax - 28));
  Refusal refusal(largest);
  CHECK(refusal.done);
  CHECK_EQ(refusal.inner().total_length, 576u);
}

}  // namespace
}  // namespace gwlb::test
