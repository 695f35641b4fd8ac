// The packet loop over ports in memory: whatever a port loses, doubles, reorders, corrupts or
// refuses, every packet has one fate.
#include "engine/worker.h"

#include <unistd.h>

#include <cerrno>
#include <map>

#include "test/native/test.h"
#include "test/native/worker_rig.h"

namespace gwlb::test {
namespace {

using base::DropReason;
using Counter = gateway::GatewayCounter;

Bytes small(uint32_t flow, uint32_t payload = 32) {
  return ipv4(0xcb007100 + flow, 0x0a00020a, 17, udp(4000, 53, payload));
}

// Mixed traffic by device and peer, in bursts that fill rings and batches; the books after each.
void drive(WorkerRig& rig, const WorkerRigConfig& config, uint32_t bursts) {
  Traffic traffic(config.seed);
  for (uint32_t burst = 0; burst < bursts; ++burst) {
    for (uint32_t n = traffic.random(300); n > 0; --n) {
      const uint32_t worker = traffic.random(config.workers);
      Item item = traffic.next();
      if (traffic.random(5) == 0) {
        rig.send_as_peer(worker, item.bytes);
      } else {
        rig.enter(worker, std::move(item));
      }
    }
    CHECK(rig.settle());
    CHECK_EQ(rig.books(), "");
    rig.now_ms += traffic.random(3) == 0 ? 11'000 : traffic.random(20);
  }
}

void books_balance(const WorkerRigConfig& config) {
  WorkerRig rig(config);
  drive(rig, config, 12);
  // What was held has waited for long enough.
  rig.now_ms += 60'000;
  CHECK(rig.settle());
  rig.finish();
  CHECK_EQ(rig.books(), "");
  CHECK_EQ(rig.count(Counter::packets_waiting), 0u);
  CHECK(rig.received() > 1000);
}

TEST(every_packet_comes_back_where_nothing_goes_wrong) {
  for (const uint32_t workers : {1u, 2u, 4u}) {
    WorkerRig rig({.workers = workers});
    std::map<Bytes, int> expected;
    for (uint32_t n = 0; n < 50 * workers; ++n) {
      rig.enter(n % workers, {small(n)});
      ++expected[small(n)];
    }
    CHECK(rig.settle());
    for (const auto& device : rig.devices) {
      for (const Item& item : device->take_sent()) --expected[item.bytes];
    }
    for (const auto& [bytes, missing] : expected) CHECK_EQ(missing, 0);
    CHECK_EQ(rig.all_drops(), 0u);
    CHECK_EQ(rig.books(), "");
    rig.finish();
  }
}

TEST(the_books_balance_under_losses) { books_balance({.faults = {.lost = 200}}); }
TEST(the_books_balance_under_duplicates) { books_balance({.faults = {.doubled = 200}}); }
TEST(the_books_balance_under_reordering) { books_balance({.faults = {.late = 300}}); }
TEST(the_books_balance_under_corruption) { books_balance({.faults = {.corrupt = 300}}); }
TEST(the_books_balance_under_everything_at_once) {
  for (uint64_t seed = 1; seed <= 6; ++seed) {
    const uint32_t workers = 1 + seed % 3;
    const auto refusal = [](const Item& piece, uint64_t number) {
      if (piece.bytes.size() > 1400) return EMSGSIZE;
      return number % 11 == 0 ? ENOBUFS : number % 13 == 0 ? EPERM : 0;
    };
    books_balance({.workers = workers,
                   .faults = {.lost = 50, .doubled = 50, .late = 100, .corrupt = 80},
                   .seed = seed,
                   .halves = seed % 2 == 0,
                   .no_targets = seed == 5,
                   .refusal = refusal});
  }
}

// The injector itself: nothing but the seed decides.
TEST(faults_are_the_same_for_the_same_seed) {
  const auto left = [](uint64_t seed) {
    const WorkerRigConfig config{
        .faults = {.lost = 100, .doubled = 100, .late = 100, .corrupt = 100}, .seed = seed};
    WorkerRig rig(config);
    drive(rig, config, 3);
    std::vector<Bytes> all;
    for (const Item& item : rig.devices[0]->take_sent()) all.push_back(item.bytes);
    return all;
  };
  CHECK(!left(1).empty());
  CHECK(left(1) == left(1));
  CHECK(left(1) != left(2));
}

TEST(each_fault_happens) {
  const auto outcome = [](const Faults& faults) {
    WorkerRig rig({.faults = faults, .returns = false});
    for (uint32_t n = 0; n < 1000; ++n) rig.enter(0, {small(n % 50, 32 + n % 500)});
    CHECK(rig.settle());
    CHECK_EQ(rig.books(), "");
    return std::pair(rig.received(), rig.all_drops());
  };
  CHECK(outcome({}) == std::pair(uint64_t{1000}, uint64_t{0}));
  CHECK(outcome({.lost = 500}).first < 700);
  CHECK(outcome({.doubled = 500}).first > 1300);
  CHECK(outcome({.late = 500}) == std::pair(uint64_t{1000}, uint64_t{0}));
  CHECK(outcome({.corrupt = 500}).second > 50);
}

// A batch of which half still lies in its slots, with something to hand over and cut in between.
TEST(what_lies_in_a_batch_is_not_touched) {
  for (const uint32_t workers : {1u, 3u}) {
    std::map<Bytes, int> back[2];
    for (const bool halves : {false, true}) {
      WorkerRig rig({.workers = workers, .halves = halves});
      for (uint32_t n = 0; n < 60; ++n) rig.enter(n % workers, {small(n, n * 7)});
      CHECK(rig.settle());
      for (const auto& device : rig.devices) {
        for (const Item& item : device->take_sent()) ++back[halves][item.bytes];
      }
      CHECK_EQ(rig.books(), "");
    }
    CHECK_EQ(back[0].size(), 60u);
    CHECK(back[0] == back[1]);
  }
}

void refused(int number, DropReason reason) {
  WorkerRig rig({.refusal = [number](const Item& piece, uint64_t) {
    return piece.address == kRigTarget ? number : 0;
  }});
  for (uint32_t n = 0; n < 10; ++n) rig.enter(0, {small(n)});
  CHECK(rig.settle());
  CHECK_EQ(rig.drops(reason), 10u);
  CHECK_EQ(rig.all_drops(), 10u);
  CHECK_EQ(rig.count(Counter::packets_to_targets), 0u);
  CHECK_EQ(rig.sent(), 0u);
  CHECK_EQ(rig.books(), "");
}

TEST(a_full_queue_is_send_would_block) {
  refused(EAGAIN, DropReason::send_would_block);
  refused(ENOBUFS, DropReason::send_would_block);
  refused(ENOMEM, DropReason::send_would_block);
}
TEST(other_refusals_are_send_failed) {
  refused(EMSGSIZE, DropReason::send_failed);
  refused(EPERM, DropReason::send_failed);
  refused(ENETUNREACH, DropReason::send_failed);
}

// A device that takes nothing of what comes back.
TEST(what_a_device_refuses_is_a_drop_of_what_returned) {
  WorkerRig rig({});
  rig.devices[0]->refuse([](const Item&, uint64_t number) { return number < 4 ? EAGAIN : 0; });
  for (uint32_t n = 0; n < 10; ++n) rig.enter(0, {small(n)});
  CHECK(rig.settle());
  CHECK_EQ(rig.count(Counter::packets_to_targets), 10u);
  CHECK_EQ(rig.count(Counter::packets_out), 6u);
  CHECK_EQ(rig.drops(DropReason::send_would_block), 4u);
  CHECK_EQ(rig.books(), "");
}

// Of a super-packet only a part went.
TEST(what_was_lost_of_a_super_packet_counts_piece_by_piece) {
  WorkerRig rig({.returns = false});
  rig.tunnels[0]->refuse(
      [](const Item&, uint64_t number) { return number % 3 == 0 ? ENOBUFS : 0; });
  Bulk of;
  of.payload = 9000;
  rig.enter(0, {bulk_packet(of), 0, 0, 1000});
  CHECK(rig.settle());
  CHECK_EQ(rig.count(Counter::packets_in), 9u);
  CHECK_EQ(rig.count(Counter::packets_to_targets), 6u);
  CHECK_EQ(rig.drops(DropReason::send_would_block), 3u);
  CHECK_EQ(rig.books(), "");
  CHECK_EQ(rig.workers[0]->gateway().counters().get(0, gateway::TargetCounter::bytes_to),
           6u * 1040);
}

TEST(what_input_cannot_take_is_counted) {
  WorkerRig rig({});
  rig.enter(0, {Bytes(3000)});
  rig.enter(0, {Bytes(200), 0, 0, 100});  // no super-packet
  CHECK(rig.settle());
  CHECK_EQ(rig.drops(DropReason::receive_truncated), 1u);
  CHECK_EQ(rig.drops(DropReason::bad_super_packet), 1u);
  CHECK_EQ(rig.count(Counter::packets_in), 0u);
  CHECK_EQ(rig.books(), "");
}

TEST(a_device_with_a_lasting_error_is_lost_alone) {
  WorkerRig rig({});
  rig.enter(0, {small(1)});
  CHECK(rig.settle());
  CHECK(rig.devices[0]->state() == io::LinkState::up);
  // What comes back from now on has nowhere to go.
  rig.devices[0]->break_with(EBADFD);
  for (int n = 0; n < 10; ++n) rig.workers[0]->step(rig.now_ms);
  REQUIRE(rig.devices[0]->state() == io::LinkState::gone);
  rig.send_as_peer(0, small(2));
  CHECK(rig.settle());
  CHECK_EQ(rig.count(Counter::packets_in), 2u);
  CHECK_EQ(rig.count(Counter::packets_out), 2u);
  io::OsError error;
  CHECK(!rig.workers[0]->failed(&error));
  // Made again, it is read again.
  const auto next = std::make_shared<FakePort>();
  CHECK(rig.workers[0]->add_port(kRigDevice, next).ok());
  next->put({small(1)});
  CHECK(rig.settle());
  CHECK_EQ(next->take_sent().size(), 1u);
  CHECK_EQ(rig.count(Counter::packets_in), 3u);
}

TEST(what_returns_to_a_lost_device_is_a_drop) {
  WorkerRig rig({.returns = false});
  rig.enter(0, {small(1)});
  Item sent;
  rig.tunnels[0]->leave([&sent](Item&& item) { sent = std::move(item); });
  CHECK(rig.settle());
  rig.workers[0]->remove_port(kRigDevice);
  rig.tunnels[0]->put(sent);
  CHECK(rig.settle());
  CHECK_EQ(rig.drops(DropReason::endpoint_has_no_device), 1u);
  CHECK_EQ(rig.books(), "");
}

TEST(without_its_tunnel_a_worker_reads_nothing_more) {
  WorkerRig rig({});
  rig.tunnels[0]->break_with(EBADFD);
  io::OsError error;
  for (int n = 0; n < 10 && !rig.workers[0]->failed(&error); ++n) rig.workers[0]->step(rig.now_ms);
  CHECK(rig.workers[0]->failed(&error));
  CHECK_EQ(error.number, EBADFD);
  CHECK(rig.tunnels[0]->state() == io::LinkState::gone);
  rig.enter(0, {small(1)});
  for (int n = 0; n < 10; ++n) rig.workers[0]->step(rig.now_ms);
  CHECK_EQ(rig.count(Counter::packets_in), 0u);
  CHECK(!rig.devices[0]->empty());
}

// Threads of their own, packets and commands at the same time.
void threads_keep_the_books(uint32_t workers, uint64_t seed) {
  WorkerRig rig({.workers = workers,
                 .faults = {.lost = 30, .doubled = 30, .late = 60, .corrupt = 30},
                 .seed = seed,
                 .halves = seed % 2 == 0,
                 .refusal = [](const Item&, uint64_t n) { return n % 50 == 0 ? EAGAIN : 0; }});
  for (const auto& worker : rig.workers) CHECK(worker->start().ok());
  Traffic traffic(seed);
  uint32_t asked = 0;
  for (uint32_t burst = 0; burst < 40; ++burst) {
    std::vector<std::vector<Item>> items(workers);
    for (uint32_t n = 0; n < 50; ++n) items[traffic.random(workers)].push_back(traffic.next());
    for (uint32_t k = 0; k < workers; ++k) rig.devices[k]->put(std::move(items[k]));
    rig.send_as_peer(traffic.random(workers), small(burst));
    std::atomic<uint32_t> answered{0};
    const engine::GatewayWorker::Command count = [&answered](engine::GatewayWorker&) {
      ++answered;
    };
    for (const auto& worker : rig.workers) worker->post_command(count);
    for (const auto& worker : rig.workers) worker->wait_command();
    CHECK_EQ(answered.load(), workers);
    ++asked;
  }
  CHECK_EQ(asked, 40u);
  const auto quiet = [&rig] {
    for (const auto& port : rig.tunnels) {
      if (!port->empty()) return false;
    }
    for (const auto& port : rig.devices) {
      if (!port->empty()) return false;
    }
    return true;
  };
  for (int waited = 0; waited < 10'000 && !quiet(); ++waited) usleep(2000);
  CHECK(quiet());
  rig.finish();
  CHECK_EQ(rig.books(), "");
  CHECK(rig.received() > 1000);
}

TEST(one_thread_keeps_the_books) { threads_keep_the_books(1, 1); }
TEST(two_threads_keep_the_books) { threads_keep_the_books(2, 2); }
TEST(four_threads_keep_the_books) { threads_keep_the_books(4, 3); }

}  // namespace
}  // namespace gwlb::test
