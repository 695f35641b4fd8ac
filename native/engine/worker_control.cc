// A worker's construction, control and devices. The packet loop is in worker.cc.
#include <sys/epoll.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <string>

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

GatewayWorker::GatewayWorker(const Config& config, std::shared_ptr<io::Port> tunnel)
    : config_(config) {
  tunnel_.port = std::move(tunnel);
  devices_.resize(base::kEndpointsMax);
  hot_.reserve(base::kEndpointsMax);
  leaving_.reserve(base::kEngineBatchPackets);
  const uint32_t flows = std::max(config.gateway.flows_ipv4, config.gateway.flows_ipv6);
  // Half as many positions again as flows: the tables' design load.
  sweep_per_ms_ = std::max(kSweepPositionsMin, (flows + flows / 2) / kSweepPassMs);
}

io::OsError GatewayWorker::create(const Config& config, std::shared_ptr<io::Port> tunnel,
                                  std::unique_ptr<GatewayWorker>* out) {
  std::unique_ptr<GatewayWorker> worker(new GatewayWorker(config, std::move(tunnel)));
  worker->gateway_ = gateway::Gateway::create(config.gateway);
  if (worker->gateway_ == nullptr) return out_of_memory("flow tables");
  worker->batch_ = batch::PacketBatch::create(
      base::kEngineBatchPackets, config.offload ? base::kSlotStrideTrain : config.stride);
  if (worker->batch_ == nullptr) return out_of_memory("packet batch");
  worker->rings_.resize(config.workers);
  for (uint32_t from = 0; from < config.workers; ++from) {
    if (from == config.index) continue;
    worker->rings_[from] = PacketRing::create(config.ring_slots, config.stride - base::kHeadroom);
    if (worker->rings_[from] == nullptr) return out_of_memory("rings between workers");
  }
  io::OsError error = worker->thread_.open();
  if (!error.ok()) return error;
  worker->epoll_ = epoll_create1(EPOLL_CLOEXEC);
  if (worker->epoll_ < 0) return io::last_error("epoll_create1", "");
  error = worker->watch(worker->thread_.wake_fd(), kSourceWakeup);
  if (error.ok()) error = worker->watch(worker->tunnel_.port->fd(), kSourceTunnel);
  if (error.ok()) *out = std::move(worker);
  return error;
}

GatewayWorker::~GatewayWorker() {
  thread_.stop();
  if (epoll_ >= 0) close(epoll_);
}

io::OsError GatewayWorker::start() {
  return thread_.start("gwlb-worker-" + std::to_string(config_.index), [this] { run(); });
}

void GatewayWorker::finish() {
  now_ms_ = monotonic_ms();
  for (const auto& ring : rings_) {
    while (ring != nullptr && !ring->empty()) read_rings();
  }
  // What waits has waited for long enough.
  now_ms_ += gateway::kHoldMs;
  while (gateway_->holding()) read_held();
  tunnel_ = {};
  for (Device& device : devices_) device = {};
  hot_.clear();
}

io::OsError GatewayWorker::watch(int fd, uint64_t source) {
  epoll_event event{};
  event.events = EPOLLIN;
  event.data.u64 = source;
  if (epoll_ctl(epoll_, EPOLL_CTL_ADD, fd, &event) == 0) return {};
  return io::last_error("epoll_ctl", "");
}

void GatewayWorker::unwatch(int fd) {
  if (fd >= 0) epoll_ctl(epoll_, EPOLL_CTL_DEL, fd, nullptr);
}

io::OsError GatewayWorker::add_port(uint16_t endpoint, std::shared_ptr<io::Port> port) {
  remove_port(endpoint);
  if (port->fd() >= 0) {
    const io::OsError error = watch(port->fd(), endpoint);
    if (!error.ok()) return error;
  }
  Source& source = devices_[endpoint].source;
  source.port = std::move(port);
  record_source(source);
  return {};
}

// It stays in hot_ until the next round finds it without a port.
void GatewayWorker::remove_port(uint16_t endpoint) {
  Source& source = devices_[endpoint].source;
  if (source.port != nullptr) unwatch(source.port->fd());
  source.recorder.reset();
  source.port.reset();
}

void GatewayWorker::lose_device(uint16_t endpoint) {
  devices_[endpoint].source.port->lose();
  remove_port(endpoint);
}

void GatewayWorker::set_recording(std::unique_ptr<RecordRing> ring) {
  tunnel_.recorder.reset();
  for (Device& device : devices_) device.source.recorder.reset();
  record_ = std::move(ring);
  record_source(tunnel_);
  for (Device& device : devices_) record_source(device.source);
}

void GatewayWorker::record_source(Source& source) {
  if (record_ == nullptr || source.port == nullptr) return;
  source.recorder = std::make_unique<Recorder>(source.port, *record_, *gateway_, now_ms_);
}

// Without its tunnel a worker gets nothing back: it stops taking packets in, but serves commands
// and what other workers send it.
void GatewayWorker::stop_reading() {
  unwatch(tunnel_.port->fd());
  tunnel_.port->lose();
  tunnel_.hot = false;
  for (Device& device : devices_) {
    device.source.hot = false;
    if (device.source.port != nullptr) unwatch(device.source.port->fd());
  }
  hot_.clear();
}

}  // namespace gwlb::engine
