#include "engine/worker_thread.h"

#include <signal.h>
#include <time.h>

#include <utility>

namespace gwlb::engine {

uint64_t monotonic_ms() {
  timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return static_cast<uint64_t>(now.tv_sec) * 1000 + static_cast<uint64_t>(now.tv_nsec) / 1'000'000;
}

void* WorkerThread::enter(void* self) {
  static_cast<WorkerThread*>(self)->run_();
  return nullptr;
}

io::OsError WorkerThread::start(const std::string& name, std::function<void()> run) {
  run_ = std::move(run);
  // Signals are the process's business, not this thread's.
  sigset_t all;
  sigset_t before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  const int refused = pthread_create(&thread_, nullptr, enter, this);
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
  if (refused != 0) return {refused, "pthread_create", name};
  running_ = true;
  pthread_setname_np(thread_, name.c_str());
  return {};
}

void WorkerThread::post(Command command) {
  if (!running()) return command();
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    commands_.push_back(std::move(command));
  }
  posted_.store(true, std::memory_order_seq_cst);
  wake();
}

void WorkerThread::wait() {
  std::unique_lock<std::mutex> lock(mutex_);
  done_.wait(lock, [this] { return commands_.empty() && !running_commands_; });
}

void WorkerThread::run_commands() {
  if (!posted_.load(std::memory_order_acquire)) return;
  std::vector<Command> now;
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    posted_.store(false, std::memory_order_relaxed);
    now.swap(commands_);
    running_commands_ = true;
  }
  for (const Command& command : now) command();
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    running_commands_ = false;
  }
  done_.notify_all();
}

void WorkerThread::ask_stop() {
  stop_.store(true, std::memory_order_seq_cst);
  wake();
}

void WorkerThread::join() {
  if (!running()) return;
  pthread_join(thread_, nullptr);
  running_ = false;
  run_commands();
}

void WorkerThread::stop() {
  ask_stop();
  join();
}

bool WorkerThread::failed(io::OsError* error) const {
  if (!failed_.load(std::memory_order_acquire)) return false;
  *error = error_;
  return true;
}

void WorkerThread::fail(const io::OsError& error) {
  if (has_failed()) return;
  error_ = error;
  failed_.store(true, std::memory_order_release);
}

}  // namespace gwlb::engine
