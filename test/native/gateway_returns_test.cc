// What comes back from a target, and from others.
#include <set>

#include "test/native/gateway_rig.h"

using namespace gwlb;
using namespace gwlb::test;
using base::DropReason;
using batch::Verdict;

namespace {

constexpr uint8_t kSyn = 2, kAck = 16;

}  // namespace

TEST(lenient_accepts_an_older_incarnation_strict_does_not) {
  for (const bool strict : {false, true}) {
    Rig rig;
    if (strict) {
      rig =
          Rig(3, [](gateway::GatewayConfig& c) { c.cookie_check = gateway::CookieCheck::strict; });
    }
    const Rig::Trip first = rig.trip(client_tcp(kSyn));
    CHECK(rig.trip(client_tcp(kAck)).done);
    CHECK(rig.trip(client_tcp(kSyn)).done);
    const Verdict verdict = rig.come_back(first.datagram, rig.targets[first.target].address);
    CHECK(verdict == (strict ? Verdict::drop : Verdict::forward));
    if (strict) CHECK(rig.reason() == DropReason::wrong_cookie);
  }
}

TEST(strangers_and_forged_cookies_change_nothing) {
  Rig rig;
  const Rig::Trip flow = rig.trip(client_tcp(kSyn));
  REQUIRE(flow.done);
  CHECK(rig.come_back(flow.datagram, 0x0a6300fe) == Verdict::drop);
  CHECK(rig.reason() == DropReason::unknown_source);

  const uint16_t other = flow.target == 0 ? 1 : 0;
  CHECK(rig.come_back(flow.datagram, rig.targets[other].address) == Verdict::drop);
  CHECK(rig.reason() == DropReason::wrong_target);

  Bytes forged = flow.datagram;
  forged[39] ^= 1;
  CHECK(rig.come_back(forged, rig.targets[flow.target].address) == Verdict::drop);
  CHECK(rig.reason() == DropReason::wrong_cookie);

  forged = flow.datagram;
  forged[19] ^= 0x20;
  CHECK(rig.come_back(forged, rig.targets[flow.target].address) == Verdict::drop);
  CHECK(rig.reason() == DropReason::unknown_endpoint);

  forged = flow.datagram;
  forged[19] ^= 1;  // the other endpoint's id: no such flow there
  CHECK(rig.come_back(forged, rig.targets[flow.target].address) == Verdict::drop);
  CHECK(rig.reason() == DropReason::no_flow);

  forged = flow.datagram;
  forged[1] = 0x80;
  CHECK(rig.come_back(forged, rig.targets[flow.target].address) == Verdict::drop);
  CHECK(rig.reason() == DropReason::geneve_control);

  CHECK_EQ(rig.gateway->flows(), 1);
  CHECK(rig.trip(client_tcp(kAck)).done);
  CHECK_EQ(rig.all_drops(), 6);
}

TEST(targets_may_share_an_address) {
  Rig rig;
  for (select::TargetSpec& target : rig.targets) {
    target.address = 0x0a630002;
    target.port = static_cast<uint16_t>(6081 + target.slot);
  }
  rig.publish();
  std::set<uint16_t> used;
  for (uint16_t port = 1; port <= 60; ++port) {
    const Rig::Trip trip = rig.trip(client_tcp(kSyn, port));
    REQUIRE(trip.done);
    used.insert(trip.target);
  }
  CHECK_EQ(used.size(), 3);
  for (const uint16_t slot : used) {
    CHECK(rig.gateway->counters().get(slot, gateway::TargetCounter::packets_from) > 0);
  }
}

TEST(options_may_come_back_in_any_order_and_with_others) {
  Rig rig;
  const Rig::Trip flow = rig.trip(client_tcp(kSyn));
  const Bytes& d = flow.datagram;
  Bytes shuffled(d.begin(), d.begin() + 8);
  shuffled.insert(shuffled.end(), d.begin() + 32, d.begin() + 40);
  shuffled.insert(shuffled.end(), d.begin() + 20, d.begin() + 32);
  const Bytes unknown = {0xff, 0xfe, 0x05, 0x01, 1, 2, 3, 4};
  shuffled.insert(shuffled.end(), unknown.begin(), unknown.end());
  shuffled.insert(shuffled.end(), d.begin() + 8, d.begin() + 20);
  shuffled.insert(shuffled.end(), d.begin() + 40, d.end());
  shuffled[0] = 0x0a;
  CHECK(rig.come_back(shuffled, rig.targets[flow.target].address) == Verdict::forward);
  CHECK(rig.bytes(0) == client_tcp(kSyn));
}

TEST(after_a_move_only_the_target_it_left_is_welcome) {
  Rig rig;
  const Rig::Trip at_first = rig.trip(client_tcp(kSyn));
  const auto fail = [&](uint16_t slot) {
    rig.targets[slot].flags = select::kRegistered;
    ++rig.targets[slot].generation;
    rig.publish();
  };
  fail(at_first.target);
  const Rig::Trip second = rig.trip(client_tcp(kAck));
  fail(second.target);
  const Rig::Trip third = rig.trip(client_tcp(kAck));
  REQUIRE(third.done);
  CHECK(rig.come_back(second.datagram, rig.targets[second.target].address) == Verdict::forward);
  CHECK(rig.come_back(at_first.datagram, rig.targets[at_first.target].address) == Verdict::drop);
  CHECK(rig.reason() == DropReason::wrong_target);
}
