// Wakes a worker that sleeps in epoll, and costs a load where it does not.
#pragma once

#include <atomic>

#include "io/os_error.h"

namespace gwlb::engine {

class Wakeup {
 public:
  Wakeup() = default;
  ~Wakeup();
  Wakeup(const Wakeup&) = delete;
  Wakeup& operator=(const Wakeup&) = delete;

  io::OsError open();
  int fd() const { return fd_; }  // readable once the worker has been woken

  // Any thread, after it has published something with a sequentially consistent store.
  void notify() {
    if (sleeping_.load(std::memory_order_seq_cst) &&
        sleeping_.exchange(false, std::memory_order_seq_cst)) {
      write();
    }
  }

  // The worker. Between will_sleep() and the wait it has to look for work once more, with
  // sequentially consistent loads.
  void will_sleep() { sleeping_.store(true, std::memory_order_seq_cst); }
  void is_awake() { sleeping_.store(false, std::memory_order_relaxed); }
  void clear();  // when fd() was readable

 private:
  void write();

  int fd_ = -1;
  std::atomic<bool> sleeping_{false};
};

}  // namespace gwlb::engine
