// The appliance's worker over a port in memory: whatever that does, what was received is returned,
// or dropped for one reason.
#include <unistd.h>

#include <atomic>
#include <cerrno>

#include "engine/appliance_engine.h"
#include "test/native/datagrams.h"
#include "test/native/fake_port.h"
#include "test/native/faulty_port.h"
#include "test/native/test.h"

namespace gwlb::test {
namespace {

using appliance::ApplianceCounter;
using appliance::Counters;
using base::DropReason;
using engine::ApplianceEngine;

struct ApplianceOnPort {
  std::shared_ptr<FakePort> fake =
      std::make_shared<FakePort>(base::kSlotStrideStandard - base::kHeadroom);
  std::shared_ptr<FaultyPort> line;
  std::unique_ptr<ApplianceEngine> engine;
  std::atomic<uint32_t> ready{0};

  ApplianceOnPort(const Faults& faults, uint64_t seed, bool inspect) {
    line = std::make_shared<FaultyPort>(fake, faults, seed);
    engine::ApplianceEngineConfig config;
    config.udp.address = 0x0a630002;
    config.jumbo = false;
    config.inspect = inspect;
    config.batches = 3;
    const io::OsError error = ApplianceEngine::start_on(
        config, line, [this] { ++ready; }, &engine);
    CHECK_EQ(io::sentence(error), "");
  }
  uint64_t count(ApplianceCounter which) const {
    return engine->counters()[static_cast<uint32_t>(which)];
  }
  uint64_t drops(DropReason which) const {
    return engine->counters()[Counters::kDropsAt + static_cast<uint32_t>(which)];
  }
  uint64_t all_drops() const {
    uint64_t sum = 0;
    for (uint32_t k = 1; k < base::kDropReasons; ++k) sum += drops(static_cast<DropReason>(k));
    return sum;
  }
  // Drops every ninth packet that the inspector is shown, and gives verdicts on flows.
  void inspect() {
    for (int number = engine->next_batch(); number >= 0; number = engine->next_batch()) {
      batch::PacketBatch& batch = engine->batch(number);
      for (uint32_t i = 0; i < batch.count; ++i) {
        if (i % 9 == 0 && batch.pending(i)) batch.drop(i, DropReason::appliance_verdict);
      }
      if (number % 2 == 0) engine->decide(number, 0, appliance::FlowVerdict::pass, {});
      engine->release(number);
    }
  }
  void check_books() const {
    CHECK_EQ(count(ApplianceCounter::packets_received), line->received());
    CHECK_EQ(count(ApplianceCounter::packets_returned), line->sent());
    CHECK_EQ(line->received(), line->sent() + all_drops());
  }
};

void books_balance(bool inspect, uint64_t seed) {
  ApplianceOnPort on({.lost = 40, .doubled = 40, .late = 80, .corrupt = 80}, seed, inspect);
  on.fake->refuse([](const Item&, uint64_t n) {
    return n % 40 == 0 ? EAGAIN : n % 41 == 0 ? ENOBUFS : n % 43 == 0 ? EMSGSIZE : 0;
  });
  for (uint32_t n = 0; n < 3000; ++n) {
    const Bytes inner = ipv4(0x0a010000 + n % 37, 0x0a020001, 17, udp(4000, 53, n % 1500));
    on.fake->put({datagram(inner), 0x0a630001, static_cast<uint16_t>(40000 + n % 5)});
    if (inspect && n % 64 == 0) on.inspect();
    if (inspect && n % 1000 == 0) on.engine->set_inspect(n % 2000 == 0);
  }
  for (int waited = 0; waited < 5000 && !on.fake->empty(); ++waited) {
    on.inspect();
    usleep(2000);
  }
  CHECK(on.fake->empty());
  on.engine->stop();
  CHECK(!inspect || on.ready > 0);
  CHECK(on.line->received() > 2000);
  CHECK(on.drops(DropReason::send_would_block) > 0);
  CHECK(on.drops(DropReason::send_failed) > 0);
  on.check_books();
}

TEST(the_appliances_books_balance_under_every_fault) { books_balance(false, 1); }
TEST(they_do_with_an_inspector) {
  books_balance(true, 2);
  books_balance(true, 3);
}

TEST(an_appliance_without_faults_returns_everything) {
  ApplianceOnPort on({}, 1, false);
  for (uint32_t n = 0; n < 500; ++n) {
    on.fake->put({datagram(ipv4(1, 2, 17, udp(4000, 53, n))), 0x0a630001, 40000});
  }
  for (int waited = 0; waited < 5000 && on.line->sent() < 500; ++waited) usleep(2000);
  on.engine->stop();
  CHECK_EQ(on.line->sent(), 500u);
  CHECK_EQ(on.all_drops(), 0u);
  on.check_books();
}

TEST(an_appliance_whose_port_fails_says_so_once) {
  ApplianceOnPort on({}, 1, false);
  on.fake->break_with(EBADFD);
  io::OsError error;
  for (int waited = 0; waited < 5000 && !on.engine->failed(&error); ++waited) usleep(2000);
  CHECK(on.engine->failed(&error));
  CHECK_EQ(error.number, EBADFD);
  CHECK(on.fake->state() == io::LinkState::gone);
  on.engine->stop();
  CHECK_EQ(on.ready.load(), 1u);
}

}  // namespace
}  // namespace gwlb::test
