// A worker's construction, control and devices. The packet loop is in worker.cc.
#include <signal.h>
#include <sys/epoll.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>

#include "base/assert.h"
#include "engine/worker.h"
#include "gateway/hold.h"

namespace gwlb::engine {

namespace {

// The flow tables are walked once in about this time, a piece in every round.
constexpr uint32_t kSweepPassMs = 8000;
constexpr uint32_t kSweepPositionsMin = 32;  // a millisecond

io::OsError out_of_memory(const char* what) { return {ENOMEM, "malloc", what}; }

}  // namespace

GatewayWorker::GatewayWorker(const Config& config, std::unique_ptr<io::UdpReceiver> receiver,
                             const io::UdpSender* sender)
    : config_(config), receiver_(std::move(receiver)), sender_(sender) {
  devices_.resize(base::kEndpointsMax);
  hot_.reserve(base::kEndpointsMax);
  leaving_.reserve(base::kEngineBatchPackets);
  const uint32_t flows = std::max(config.gateway.flows_ipv4, config.gateway.flows_ipv6);
  // Half as many positions again as flows: the tables' design load.
  sweep_per_ms_ = std::max(kSweepPositionsMin, (flows + flows / 2) / kSweepPassMs);
}

io::OsError GatewayWorker::create(const Config& config, std::unique_ptr<io::UdpReceiver> receiver,
                                  const io::UdpSender* sender,
                                  std::unique_ptr<GatewayWorker>* out) {
  std::unique_ptr<GatewayWorker> worker(new GatewayWorker(config, std::move(receiver), sender));
  worker->gateway_ = gateway::Gateway::create(config.gateway);
  if (worker->gateway_ == nullptr) return out_of_memory("flow tables");
  worker->batch_ = batch::PacketBatch::create(
      base::kEngineBatchPackets, config.offload ? base::kSlotStrideTrain : config.stride);
  if (worker->batch_ == nullptr) return out_of_memory("packet batch");
  // Endpoints' peers send bare GENEVE headers, which leave no room for ours when they are taken
  // off.
  gateway::Gateway* core = worker->gateway_.get();
  worker->receiver_->set_spread([core](uint32_t address) { return core->is_peer(address); });
  worker->rings_.resize(config.workers);
  for (uint32_t from = 0; from < config.workers; ++from) {
    if (from == config.index) continue;
    worker->rings_[from] = PacketRing::create(config.ring_slots, config.stride - base::kHeadroom);
    if (worker->rings_[from] == nullptr) return out_of_memory("rings between workers");
  }
  io::OsError error = worker->wakeup_.open();
  if (!error.ok()) return error;
  worker->epoll_ = epoll_create1(EPOLL_CLOEXEC);
  if (worker->epoll_ < 0) return io::last_error("epoll_create1", "");
  error = worker->watch(worker->wakeup_.fd(), kSourceWakeup);
  if (error.ok()) error = worker->watch(worker->receiver_->fd(), kSourceSocket);
  if (error.ok()) *out = std::move(worker);
  return error;
}

GatewayWorker::~GatewayWorker() {
  ask_stop();
  join();
  if (epoll_ >= 0) close(epoll_);
}

io::OsError GatewayWorker::start() {
  // Signals are the process's business, not this thread's.
  sigset_t all;
  sigset_t before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  const int refused = pthread_create(&thread_, nullptr, enter, this);
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
  if (refused != 0) return {refused, "pthread_create", "worker"};
  running_ = true;
  char name[16];
  std::snprintf(name, sizeof name, "gwlb-worker-%u", config_.index & 63);
  pthread_setname_np(thread_, name);
  return {};
}

void GatewayWorker::post_command(const Command& command) {
  if (!running_) return command(*this);
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    GWLB_ASSERT(command_ == nullptr);
    command_ = &command;
  }
  command_waits_.store(true, std::memory_order_seq_cst);
  wakeup_.notify();
}

void GatewayWorker::wait_command() {
  std::unique_lock<std::mutex> lock(mutex_);
  command_done_.wait(lock, [this] { return command_ == nullptr; });
}

void GatewayWorker::ask_stop() {
  stop_.store(true, std::memory_order_seq_cst);
  wakeup_.notify();
}

void GatewayWorker::join() {
  if (!running_) return;
  pthread_join(thread_, nullptr);
  running_ = false;
}

void GatewayWorker::finish() {
  now_ms_ = monotonic_ms();
  for (const auto& ring : rings_) {
    while (ring != nullptr && !ring->empty()) read_rings();
  }
  // What waits has waited for long enough.
  now_ms_ += gateway::kHoldMs;
  while (gateway_->holding()) read_held();
  receiver_.reset();
  for (Device& device : devices_) device = {};
  hot_.clear();
}

bool GatewayWorker::failed(io::OsError* error) const {
  if (!failed_.load(std::memory_order_acquire)) return false;
  *error = error_;
  return true;
}

void* GatewayWorker::enter(void* self) {
  static_cast<GatewayWorker*>(self)->run();
  return nullptr;
}

io::OsError GatewayWorker::watch(int fd, uint64_t source) {
  epoll_event event{};
  event.events = EPOLLIN;
  event.data.u64 = source;
  if (epoll_ctl(epoll_, EPOLL_CTL_ADD, fd, &event) == 0) return {};
  return io::last_error("epoll_ctl", "");
}

void GatewayWorker::unwatch(int fd) { epoll_ctl(epoll_, EPOLL_CTL_DEL, fd, nullptr); }

io::OsError GatewayWorker::add_queue(uint16_t endpoint, std::shared_ptr<io::Tun> tun) {
  remove_queue(endpoint);
  io::TunQueue& queue = tun->queue(config_.index);
  if (queue.readable()) {
    const io::OsError error = watch(queue.fd(), endpoint);
    if (!error.ok()) return error;
  }
  devices_[endpoint].queue = &queue;
  devices_[endpoint].tun = std::move(tun);
  return {};
}

void GatewayWorker::remove_queue(uint16_t endpoint) {
  Device& device = devices_[endpoint];
  if (device.queue != nullptr) unwatch(device.queue->fd());
  // It stays in hot_ until the next round finds it without a queue.
  device.queue = nullptr;
  device.tun.reset();
}

void GatewayWorker::lose_device(uint16_t endpoint) {
  Device& device = devices_[endpoint];
  unwatch(device.queue->fd());
  device.queue = nullptr;
  device.tun->lose();
}

void GatewayWorker::fail(const io::OsError& error) {
  if (failed_.load(std::memory_order_relaxed)) return;
  error_ = error;
  failed_.store(true, std::memory_order_release);
}

// Without its socket a worker gets nothing back: it stops taking packets in, but serves commands
// and what other workers send it.
void GatewayWorker::stop_reading() {
  unwatch(receiver_->fd());
  socket_hot_ = false;
  for (const Device& device : devices_) {
    if (device.queue != nullptr) unwatch(device.queue->fd());
  }
  for (const uint16_t endpoint : hot_) devices_[endpoint].hot = false;
  hot_.clear();
}

}  // namespace gwlb::engine
