// Fragments, and errors that quote a packet: they go where their flow goes.
#include "gateway/hold.h"
#include "test/native/gateway_rig.h"

using namespace gwlb;
using namespace gwlb::test;
using base::DropReason;
using batch::Verdict;
using gateway::GatewayCounter;

TEST(icmp_errors_follow_the_quoted_flow_and_change_nothing) {
  Rig rig;
  const Bytes query = ipv4(kClient, kServer, 17, udp(4000, 53));
  const Rig::Trip flow = rig.trip(query);
  const Bytes error = ipv4(0x0a0002fe, kClient, 1, icmp_unreachable(query, 28));
  rig.now_ms += 60'000;
  const Rig::Trip about = rig.trip(error);
  CHECK(about.done);
  CHECK_EQ(about.cookie, flow.cookie);
  CHECK_EQ(rig.gateway->flows(), 1);
  rig.age(60'000);  // the error has not refreshed it
  CHECK_EQ(rig.gateway->flows(), 0);
  CHECK(rig.enter(error) == Verdict::drop);
  CHECK(rig.reason() == DropReason::icmp_no_flow);
  CHECK(rig.enter(ipv4(1, kClient, 1, icmp_unreachable(query, 12))) == Verdict::drop);
  CHECK(rig.reason() == DropReason::icmp_bad_quote);
}

TEST(fragments_follow_their_train) {
  Rig rig;
  Bytes datagram = udp(4000, 53, 56);
  const Bytes head(datagram.begin(), datagram.begin() + 32);
  const Bytes tail(datagram.begin() + 32, datagram.end());
  const Rig::Trip first = rig.trip(ipv4(kClient, kServer, 17, head, 0x2000));
  const Rig::Trip later = rig.trip(ipv4(kClient, kServer, 17, tail, 4));
  CHECK(first.done && later.done);
  CHECK_EQ(first.cookie, later.cookie);
  CHECK_EQ(rig.gateway->flows(), 1);
}

// A datagram of two fragments.
struct Train {
  Bytes head, tail;
  explicit Train(uint16_t id = 1) {
    const Bytes datagram = udp(4000, 53, 56);
    head = ipv4(kClient, kServer, 17, {datagram.begin(), datagram.begin() + 32}, 0x2000, id);
    tail = ipv4(kClient, kServer, 17, {datagram.begin() + 32, datagram.end()}, 4, id);
  }
};

TEST(a_tail_that_comes_first_waits_for_its_head) {
  Rig rig;
  const Train train;
  REQUIRE(rig.enter(train.tail) == Verdict::held);
  CHECK(rig.gateway->holding());
  CHECK_EQ(rig.gateway->take_held(*rig.batch, rig.now_ms), 0);
  const Rig::Trip head = rig.trip(train.head);
  REQUIRE(head.done);
  REQUIRE(rig.gateway->take_held(*rig.batch, rig.now_ms) == 1);
  CHECK(!rig.gateway->holding());
  CHECK(rig.bytes(0) == train.tail);
  rig.gateway->to_targets(*rig.batch, rig.now_ms);
  CHECK_EQ(rig.batch->cookie[0], head.cookie);
  CHECK(rig.come_back(rig.bytes(0), rig.targets[head.target].address) == Verdict::forward);
  CHECK_EQ(rig.gateway->flows(), 1);
  CHECK_EQ(rig.count(GatewayCounter::packets_in), 2);
  CHECK_EQ(rig.count(GatewayCounter::packets_held), 1);
}

TEST(a_tail_without_a_head_goes_with_its_addresses_and_so_does_the_rest) {
  Rig rig;
  const Train train;
  REQUIRE(rig.enter(train.tail) == Verdict::held);
  rig.now_ms += gateway::kHoldMs - 1;
  REQUIRE(rig.gateway->take_held(*rig.batch, rig.now_ms) == 0);
  rig.now_ms += 1;
  REQUIRE(rig.gateway->take_held(*rig.batch, rig.now_ms) == 1);
  rig.gateway->to_targets(*rig.batch, rig.now_ms);
  REQUIRE(rig.batch->verdict[0] == static_cast<uint8_t>(Verdict::forward));
  const uint32_t cookie = rig.batch->cookie[0];
  CHECK(rig.come_back(rig.bytes(0), rig.batch->address[0]) == Verdict::forward);
  const Rig::Trip again = rig.trip(train.tail);
  CHECK(again.done);
  CHECK_EQ(again.cookie, cookie);
  CHECK(rig.trip(train.head).done);
  CHECK_EQ(rig.gateway->flows(), 2);
}

TEST(a_copy_of_a_finished_datagrams_tail_waits_and_goes_after_it) {
  Rig rig;
  const Train train;
  const Rig::Trip head = rig.trip(train.head);
  REQUIRE(rig.trip(train.tail).done);
  REQUIRE(rig.enter(train.tail) == Verdict::held);
  rig.now_ms += gateway::kHoldMs;
  REQUIRE(rig.gateway->take_held(*rig.batch, rig.now_ms) == 1);
  rig.gateway->to_targets(*rig.batch, rig.now_ms);
  CHECK_EQ(rig.batch->cookie[0], head.cookie);
  CHECK_EQ(rig.gateway->flows(), 1);
}

TEST(order_within_a_batch_does_not_matter) {
  Rig rig;
  const Train train;
  rig.batch->count = 2;
  rig.load(0, train.tail);
  rig.load(1, train.head);
  rig.batch->endpoint[0] = rig.batch->endpoint[1] = 0;
  rig.gateway->to_targets(*rig.batch, rig.now_ms);
  CHECK_EQ(rig.batch->verdict[0], static_cast<uint8_t>(Verdict::forward));
  CHECK_EQ(rig.batch->cookie[0], rig.batch->cookie[1]);
}

TEST(only_so_many_tails_wait) {
  Rig rig;
  for (uint16_t id = 0; id < gateway::kHeldMax; ++id) {
    REQUIRE(rig.enter(Train(id).tail) == Verdict::held);
  }
  CHECK(rig.enter(Train(1000).tail) == Verdict::forward);
}

TEST(ipv6_trains_whose_transport_is_behind_another_header_stay_together) {
  Rig rig;
  const Bytes datagram = udp(4000, 53, 56);
  const Bytes options = {17, 0, 1, 4, 0, 0, 0, 0};  // destination options, then UDP
  const auto fragment = [&](uint8_t offset_and_more, const Bytes& part) {
    Bytes b = {60, 0, 0, offset_and_more, 0, 0, 0, 9};
    append(b, part);
    return ipv6(1, 2, 44, b);
  };
  Bytes head = options;
  append(head, Bytes(datagram.begin(), datagram.begin() + 24));
  const Bytes tail(datagram.begin() + 24, datagram.end());
  const Rig::Trip first = rig.trip(fragment(1, head));
  const Rig::Trip later = rig.trip(fragment(32, tail));
  CHECK(first.done && later.done);
  CHECK_EQ(first.cookie, later.cookie);
  CHECK_EQ(rig.gateway->flows(), 1);
}
