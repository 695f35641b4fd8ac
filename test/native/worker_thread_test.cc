#include "engine/worker_thread.h"

#include <poll.h>
#include <signal.h>
#include <unistd.h>

#include <cerrno>

#include "test/native/test.h"

namespace gwlb::test {
namespace {

using engine::WorkerThread;

// Sleeps whenever it is not asked.
void loop(WorkerThread& thread) {
  while (!thread.stopping()) {
    thread.will_sleep();
    if (!thread.asked()) {
      pollfd waits{thread.wake_fd(), POLLIN, 0};
      poll(&waits, 1, -1);
      thread.clear_wake();
    }
    thread.is_awake();
    thread.run_commands();
  }
}

TEST(a_worker_thread_has_a_name_and_no_signals) {
  WorkerThread thread;
  CHECK(thread.open().ok());
  CHECK(thread.start("gwlb-test", [&thread] { loop(thread); }).ok());
  char name[16] = "";
  sigset_t masked;
  sigemptyset(&masked);
  thread.post([&] {
    pthread_getname_np(pthread_self(), name, sizeof name);
    pthread_sigmask(SIG_SETMASK, nullptr, &masked);
  });
  thread.wait();
  CHECK_EQ(std::string(name), "gwlb-test");
  for (const int signal : {SIGTERM, SIGINT, SIGHUP, SIGUSR1, SIGUSR2, SIGPROF}) {
    CHECK(sigismember(&masked, signal) == 1);
  }
  sigset_t ours;
  pthread_sigmask(SIG_SETMASK, nullptr, &ours);
  CHECK(sigismember(&ours, SIGTERM) == 0);
}

TEST(commands_run_once_and_in_their_order) {
  WorkerThread thread;
  CHECK(thread.open().ok());
  CHECK(thread.start("gwlb-test", [&thread] { loop(thread); }).ok());
  std::vector<int> ran;
  for (int n = 0; n < 1000; ++n) {
    thread.post([&ran, n] { ran.push_back(n); });
    if (n % 7 == 0) {
      thread.wait();
      CHECK_EQ(ran.size(), static_cast<size_t>(n + 1));
    }
  }
  thread.wait();
  CHECK_EQ(ran.size(), 1000u);
  for (int n = 0; n < 1000; ++n) CHECK_EQ(ran[static_cast<size_t>(n)], n);
}

TEST(without_a_thread_commands_run_at_once) {
  WorkerThread thread;
  bool ran = false;
  thread.post([&ran] { ran = true; });
  CHECK(ran);
  thread.wait();
}

// One that has ended leaves none behind.
TEST(commands_that_a_thread_left_run_when_it_is_joined) {
  WorkerThread thread;
  CHECK(thread.open().ok());
  CHECK(thread.start("gwlb-test", [] {}).ok());
  int ran = 0;
  thread.post([&ran] { ++ran; });
  thread.join();
  REQUIRE(ran == 1);
  thread.wait();
  CHECK(!thread.running());
  thread.post([&ran] { ++ran; });
  CHECK_EQ(ran, 2);
}

TEST(a_sleeping_thread_is_woken_to_stop) {
  for (int n = 0; n < 50; ++n) {
    WorkerThread thread;
    CHECK(thread.open().ok());
    CHECK(thread.start("gwlb-test", [&thread] { loop(thread); }).ok());
    if (n % 2 == 0) usleep(500);
    thread.stop();
    CHECK(!thread.running());
  }
}

TEST(the_first_failure_is_kept) {
  WorkerThread thread;
  io::OsError error;
  CHECK(!thread.failed(&error));
  thread.fail({EBADFD, "read", "one"});
  thread.fail({EIO, "read", "two"});
  CHECK(thread.failed(&error));
  CHECK_EQ(error.number, EBADFD);
  CHECK_EQ(error.detail, "one");
}

}  // namespace
}  // namespace gwlb::test
