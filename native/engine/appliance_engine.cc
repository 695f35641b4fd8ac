#include "engine/appliance_engine.h"

#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <utility>

#include "base/assert.h"
#include "engine/number_ring.h"

namespace gwlb::engine {

using appliance::Appliance;
using appliance::ApplianceCounter;
using appliance::Opened;
using base::DropReason;
using batch::PacketBatch;
using batch::Verdict;

namespace {

// A batch with what was found out about its packets.
struct Load {
  std::unique_ptr<PacketBatch> batch;
  std::unique_ptr<Appliance> appliance;
  uint32_t open = 0;      // packets of it that open() and the rules left
  bool released = false;  // worker's side: came back, waits for those before it
  bool held = false;      // inspector's side

  bool create(uint32_t packets, uint32_t stride, const appliance::ApplianceConfig& config) {
    batch = PacketBatch::create(packets, stride);
    appliance = std::make_unique<Appliance>(config);
    return batch != nullptr;
  }
};

io::OsError out_of_memory() { return {ENOMEM, "malloc", "packet batches of the appliance"}; }

}  // namespace

class ApplianceEngine::Worker {
 public:
  Worker(const ApplianceEngineConfig& config, std::function<void()> ready)
      : config_(config),
        tell_(std::move(ready)),
        order_(config.batches),
        ready_(config.batches),
        returned_(config.batches) {}
  ~Worker() {
    if (wake_ >= 0) ::close(wake_);
  }

  io::OsError start();
  void stop();

  // Inspector's thread.
  int next_batch();
  bool release(int number);
  bool set_inspect(bool inspect);
  Load& load(int number) {
    GWLB_ASSERT(number >= 0 && static_cast<size_t>(number) < loads_.size());
    return loads_[static_cast<size_t>(number)];
  }

  const ApplianceEngineConfig& config() const { return config_; }
  const appliance::Counters& counters() const { return counters_; }
  uint16_t port() const { return port_; }
  bool failed(io::OsError* error) const {
    if (!failed_.load(std::memory_order_acquire)) return false;
    *error = error_;
    return true;
  }

 private:
  static void* enter(void* self) {
    static_cast<Worker*>(self)->run();
    return nullptr;
  }
  void run();
  bool may_read() const;
  bool read_once();
  bool take_back();
  void sleep();
  void count_overflows();
  void abandon();
  uint32_t receive(PacketBatch& batch);
  void open(Load& load);
  void finish(Load& load);
  void fail(const io::OsError& error);
  void notify() {
    if (tell_ && !told_.exchange(true)) tell_();
  }
  bool create_loads();
  void wake();

  const ApplianceEngineConfig config_;
  const std::function<void()> tell_;
  appliance::Counters counters_;
  std::unique_ptr<io::UdpReceiver> receiver_;
  std::unique_ptr<io::UdpSender> sender_;
  pthread_t thread_ = {};
  bool running_ = false;  // control thread's
  int wake_ = -1;
  uint16_t port_ = 0;

  // The worker's own.
  io::UdpSendScratch scratch_;
  Load direct_;
  std::vector<uint32_t> free_;   // numbers of loads nobody uses
  std::vector<uint32_t> order_;  // ring: numbers with the inspector, as received
  uint32_t order_head_ = 0;
  uint32_t order_count_ = 0;

  std::vector<Load> loads_;  // made before inspect_ is first set
  NumberRing ready_;         // worker -> inspector
  NumberRing returned_;      // inspector -> worker
  std::atomic<bool> told_{false};
  std::atomic<bool> sleeping_{false};
  std::atomic<bool> inspect_{false};
  std::atomic<bool> stop_{false};
  std::atomic<bool> failed_{false};
  io::OsError error_;  // written before failed_
};

io::OsError ApplianceEngine::Worker::start() {
  const uint32_t stride = config_.jumbo ? base::kSlotStrideJumbo : base::kSlotStrideStandard;
  if (!direct_.create(base::kEngineBatchPackets, stride, config_.appliance)) {
    return out_of_memory();
  }
  io::OsError error = io::UdpReceiver::open(config_.udp, &receiver_);
  if (!error.ok()) return error;
  port_ = receiver_->port();
  error = io::UdpSender::open(config_.udp, receiver_.get(), &sender_);
  if (error.number == EADDRINUSE || error.number == EACCES) {
    // No source port is free here. A gateway takes answers from any port: send from our own.
    io::UdpConfig own_port = config_.udp;
    own_port.source_port_count = 0;
    error = io::UdpSender::open(own_port, receiver_.get(), &sender_);
  }
  if (!error.ok()) return error;
  wake_ = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  if (wake_ < 0) return {errno, "eventfd", ""};
  if (config_.inspect && !set_inspect(true)) return out_of_memory();

  // Signals are the process's business, not this thread's.
  sigset_t all;
  sigset_t before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  const int refused = pthread_create(&thread_, nullptr, enter, this);
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
  if (refused != 0) return {refused, "pthread_create", ""};
  pthread_setname_np(thread_, "gwlb-appliance");
  running_ = true;
  return {};
}

void ApplianceEngine::Worker::stop() {
  if (!running_) return;
  running_ = false;
  stop_.store(true);
  wake();
  pthread_join(thread_, nullptr);
  sender_.reset();
  receiver_.reset();
}

bool ApplianceEngine::Worker::create_loads() {
  const uint32_t stride = config_.jumbo ? base::kSlotStrideJumbo : base::kSlotStrideStandard;
  std::vector<Load> loads(config_.batches);
  for (Load& load : loads) {
    if (!load.create(base::kBatchPacketsMax, stride, config_.appliance)) return false;
  }
  loads_ = std::move(loads);
  for (uint32_t number = config_.batches; number > 0; --number) free_.push_back(number - 1);
  return true;
}

bool ApplianceEngine::Worker::set_inspect(bool inspect) {
  if (inspect && loads_.empty() && !create_loads()) return false;
  inspect_.store(inspect);
  if (!inspect) {
    for (int number = next_batch(); number >= 0; number = next_batch()) release(number);
  }
  wake();
  return true;
}

int ApplianceEngine::Worker::next_batch() {
  if (stop_.load()) return -1;
  int number = ready_.pop();
  if (number < 0) {
    // A batch pushed before this store did not cause a call of tell_; the second look finds it.
    told_.store(false);
    number = ready_.pop();
    if (number < 0) return -1;
    told_.store(true);
  }
  load(number).held = true;
  return number;
}

bool ApplianceEngine::Worker::release(int number) {
  if (number < 0 || static_cast<size_t>(number) >= loads_.size()) return false;
  Load& given = load(number);
  if (!given.held) return false;
  given.held = false;
  returned_.push(static_cast<uint32_t>(number));
  wake();
  return true;
}

// Costs a system call only where the worker sleeps or is about to.
void ApplianceEngine::Worker::wake() {
  if (!sleeping_.exchange(false)) return;
  const uint64_t one = 1;
  const ssize_t written = write(wake_, &one, sizeof one);
  GWLB_ASSERT(written == sizeof one);
}

void ApplianceEngine::Worker::run() {
  while (!stop_.load(std::memory_order_relaxed)) {
    bool worked = take_back();
    if (may_read()) worked |= read_once();
    if (!worked) sleep();
  }
  take_back();
  abandon();
  count_overflows();
}

// Without an inspector only what it still holds is in the way: later packets must not overtake it.
bool ApplianceEngine::Worker::may_read() const {
  if (failed_.load(std::memory_order_relaxed)) return false;
  return inspect_.load() ? !free_.empty() : order_count_ == 0;
}

bool ApplianceEngine::Worker::read_once() {
  if (!inspect_.load() || free_.empty()) {
    // Switched on or off since may_read(): look again.
    if (order_count_ != 0) return true;
    if (receive(*direct_.batch) == 0) return false;
    open(direct_);
    if (direct_.open > 0) finish(direct_);
    return true;
  }
  const uint32_t number = free_.back();
  Load& load = loads_[number];
  if (receive(*load.batch) == 0) return false;
  open(load);
  if (load.open == 0) return true;
  free_.pop_back();
  order_[(order_head_ + order_count_++) % config_.batches] = number;
  ready_.push(number);
  notify();
  return true;
}

uint32_t ApplianceEngine::Worker::receive(PacketBatch& batch) {
  io::OsError error;
  const uint32_t packets = receiver_->receive(batch, &error);
  if (packets > 0) counters_.add(ApplianceCounter::packets_received, packets);
  counters_.set_drops(DropReason::receive_overflow, receiver_->overflows());
  if (!error.ok()) fail(error);
  return packets;
}

// Counts what is dropped here; finish() counts the others.
void ApplianceEngine::Worker::open(Load& load) {
  PacketBatch& batch = *load.batch;
  Appliance& appliance = *load.appliance;
  appliance.open(batch);
  uint64_t bytes = 0;
  load.open = 0;
  for (uint32_t i = 0; i < batch.count; ++i) {
    const Opened& opened = appliance.opened(i);
    bytes += opened.length;
    if (opened.is_open()) {
      for (const appliance::DropRule& rule : config_.drop) {
        if (!appliance::matches(rule, opened.inner)) continue;
        appliance.drop(batch, i, DropReason::appliance_verdict);
        break;
      }
    }
    if (opened.is_open()) {
      ++load.open;
    } else {
      counters_.drop(opened.reason);
    }
  }
  counters_.add(ApplianceCounter::bytes_received, bytes);
}

void ApplianceEngine::Worker::finish(Load& load) {
  PacketBatch& batch = *load.batch;
  const Appliance& appliance = *load.appliance;
  load.appliance->close(batch, config_.gateway_port);
  for (uint32_t i = 0; i < batch.count; ++i) {
    batch.source_port[i] = sender_->index_of_port(batch.source_port[i]);
  }
  sender_->send(batch, nullptr, scratch_);

  uint64_t packets = 0;
  uint64_t bytes = 0;
  uint64_t rewritten = 0;
  for (uint32_t i = 0; i < batch.count; ++i) {
    const Opened& opened = appliance.opened(i);
    if (!opened.is_open()) continue;
    if (batch.verdict[i] == static_cast<uint8_t>(Verdict::drop)) {
      counters_.drop(static_cast<DropReason>(batch.reason[i]));
      continue;
    }
    ++packets;
    bytes += opened.length;
    rewritten += opened.rewritten ? 1 : 0;
  }
  counters_.add(ApplianceCounter::packets_returned, packets);
  counters_.add(ApplianceCounter::bytes_returned, bytes);
  counters_.add(ApplianceCounter::packets_rewritten, rewritten);
}

bool ApplianceEngine::Worker::take_back() {
  bool worked = false;
  for (int number = returned_.pop(); number >= 0; number = returned_.pop()) {
    loads_[static_cast<size_t>(number)].released = true;
    worked = true;
  }
  if (!worked) return false;
  while (order_count_ > 0 && loads_[order_[order_head_]].released) {
    const uint32_t number = order_[order_head_];
    order_head_ = (order_head_ + 1) % config_.batches;
    --order_count_;
    loads_[number].released = false;
    finish(loads_[number]);
    free_.push_back(number);
  }
  return true;
}

void ApplianceEngine::Worker::sleep() {
  count_overflows();
  sleeping_.store(true);
  // Whoever changes one of these afterwards finds sleeping_ set and writes to wake_.
  if (!stop_.load() && returned_.empty()) {
    pollfd waits[2] = {{wake_, POLLIN, 0}, {may_read() ? receiver_->fd() : -1, POLLIN, 0}};
    poll(waits, 2, -1);
    uint64_t wakes = 0;
    // A wake-up that comes too late for this poll ends the next one.
    if (waits[0].revents != 0 && read(wake_, &wakes, sizeof wakes) < 0)
      GWLB_ASSERT(errno == EAGAIN);
  }
  sleeping_.store(false);
}

// Asks the kernel, since what it drops behind the last datagram comes with no datagram.
void ApplianceEngine::Worker::count_overflows() {
  receiver_->refresh_overflows();
  counters_.set_drops(DropReason::receive_overflow, receiver_->overflows());
}

void ApplianceEngine::Worker::fail(const io::OsError& error) {
  error_ = error;
  failed_.store(true, std::memory_order_release);
  if (tell_) tell_();
}

// What the inspector has not given back in time. Its batches may be in use: only the worker's own
// count is read.
void ApplianceEngine::Worker::abandon() {
  for (; order_count_ > 0; --order_count_) {
    counters_.drop(DropReason::appliance_stopped, loads_[order_[order_head_]].open);
    order_head_ = (order_head_ + 1) % config_.batches;
  }
}

io::OsError ApplianceEngine::start(const ApplianceEngineConfig& config, std::function<void()> ready,
                                   std::unique_ptr<ApplianceEngine>* out) {
  GWLB_ASSERT(config.batches >= 1 && config.batches <= kBatchesMax);
  GWLB_ASSERT(config.gateway_port != 0);
  auto worker = std::make_unique<Worker>(config, std::move(ready));
  io::OsError error = worker->start();
  if (error.ok()) out->reset(new ApplianceEngine(std::move(worker)));
  return error;
}

ApplianceEngine::ApplianceEngine(std::unique_ptr<Worker> worker) : worker_(std::move(worker)) {}
ApplianceEngine::~ApplianceEngine() { stop(); }

uint16_t ApplianceEngine::port() const { return worker_->port(); }
int ApplianceEngine::next_batch() { return worker_->next_batch(); }
PacketBatch& ApplianceEngine::batch(int number) { return *worker_->load(number).batch; }
Appliance& ApplianceEngine::appliance(int number) { return *worker_->load(number).appliance; }
bool ApplianceEngine::release(int number) { return worker_->release(number); }
uint32_t ApplianceEngine::batches() const { return worker_->config().batches; }
bool ApplianceEngine::set_inspect(bool inspect) { return worker_->set_inspect(inspect); }
const std::shared_ptr<uint64_t[]>& ApplianceEngine::counters() const {
  return worker_->counters().words();
}
bool ApplianceEngine::failed(io::OsError* error) const { return worker_->failed(error); }
void ApplianceEngine::stop() { worker_->stop(); }

}  // namespace gwlb::engine
