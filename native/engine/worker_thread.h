// The thread of a worker of either side of the tunnel: it begins with every signal masked, sleeps
// until somebody wakes it, runs commands between batches, and ends when it is asked to.
#pragma once

#include <pthread.h>

#include <atomic>
#include <condition_variable>
#include <functional>
#include <mutex>
#include <string>
#include <vector>

#include "engine/wakeup.h"
#include "io/os_error.h"

namespace gwlb::engine {

// Of one epoll_wait.
inline constexpr int kEventsMax = 64;

// While there are flows an idle worker wakes this often to end those that are over.
inline constexpr int kTickMs = 250;

// CLOCK_MONOTONIC.
uint64_t monotonic_ms();

class WorkerThread {
 public:
  using Command = std::function<void()>;

  WorkerThread() = default;
  ~WorkerThread() { stop(); }
  WorkerThread(const WorkerThread&) = delete;
  WorkerThread& operator=(const WorkerThread&) = delete;

  // What waking takes; before anything else.
  io::OsError open() { return wakeup_.open(); }

  // --- control thread ---
  // Starts the thread in the network namespace of the caller; `run` returns soon after stopping().
  // `name` has at most 15 bytes.
  io::OsError start(const std::string& name, std::function<void()> run);
  bool running() const { return running_.load(std::memory_order_relaxed); }
  // Has it run between two batches, after those posted before; at once where the thread does not
  // run.
  void post(Command command);
  // Until all that was posted has run.
  void wait();
  void ask_stop();
  // Until the thread has ended and what was posted has run.
  void join();
  void stop();
  // True once fail() was called; `*error` is what it was given.
  bool failed(io::OsError* error) const;

  // --- any thread ---
  // After it has published something with a sequentially consistent store.
  void wake() { wakeup_.notify(); }

  // --- the thread ---
  bool stopping() const { return stop_.load(std::memory_order_relaxed); }
  void run_commands();
  // Keeps the first error.
  void fail(const io::OsError& error);
  bool has_failed() const { return failed_.load(std::memory_order_relaxed); }

  // Sleeping: will_sleep(), then a look whether asked() or anything else that others publish; if
  // not, a wait for wake_fd() and what brings packets; then is_awake(), and clear_wake() where
  // wake_fd() was readable.
  void will_sleep() { wakeup_.will_sleep(); }
  bool asked() const {
    return stop_.load(std::memory_order_seq_cst) || posted_.load(std::memory_order_seq_cst);
  }
  int wake_fd() const { return wakeup_.fd(); }
  void is_awake() { wakeup_.is_awake(); }
  void clear_wake() { wakeup_.clear(); }

 private:
  static void* enter(void* self);

  std::function<void()> run_;
  pthread_t thread_ = {};
  std::atomic<bool> running_{false};
  Wakeup wakeup_;
  std::atomic<bool> stop_{false};
  std::atomic<bool> failed_{false};
  io::OsError error_;  // written once, before failed_

  std::atomic<bool> posted_{false};  // commands_ has some
  std::mutex mutex_;
  std::condition_variable done_;
  // Under mutex_.
  std::vector<Command> commands_;
  bool running_commands_ = false;
};

}  // namespace gwlb::engine
