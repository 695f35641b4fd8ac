#include "engine/gateway_engine.h"

#include <algorithm>
#include <cerrno>

#include "engine/worker.h"

namespace gwlb::engine {

namespace {

// What a slot holds behind its headroom besides the inner packet: a GENEVE header with the most
// options, and an inner Ethernet header with two VLAN tags.
constexpr uint32_t kHeadersMax = 8 + base::kGeneveOptionBytesMax + 22;
constexpr uint32_t kInnerBytesStandard = base::kSlotStrideStandard - base::kHeadroom - kHeadersMax;

// Rings between workers: this much memory in all, but room for one batch in each whatever that
// takes, and no more than is of use.
constexpr uint64_t kRingBytes = 256u << 20;
constexpr uint32_t kRingSlotsMax = 256;

uint32_t ring_slots(uint32_t workers, uint32_t stride) {
  if (workers < 2) return 0;
  const uint64_t rings = uint64_t{workers} * (workers - 1);
  uint32_t slots = kRingSlotsMax;
  while (slots > base::kEngineBatchPackets && rings * slots * stride > kRingBytes) slots /= 2;
  return slots;
}

uint32_t slot_stride(uint32_t mtu) {
  return mtu > kInnerBytesStandard ? base::kSlotStrideJumbo : base::kSlotStrideStandard;
}

uint32_t share_of(uint32_t flows, uint32_t workers) {
  return std::max((flows + workers - 1) / workers, base::kFlowsMin);
}

}  // namespace

GatewayEngine::GatewayEngine() : devices_(base::kEndpointsMax) {}
GatewayEngine::~GatewayEngine() { stop(); }

io::OsError GatewayEngine::open(const GatewayEngineConfig& config,
                                std::unique_ptr<GatewayEngine>* out) {
  if (config.workers < 1 || config.workers > base::kWorkersMax) {
    return {EINVAL, "open", "workers " + std::to_string(config.workers)};
  }
  std::unique_ptr<GatewayEngine> engine(new GatewayEngine());
  const io::OsError error = engine->prepare(config);
  if (error.ok()) *out = std::move(engine);
  return error;
}

// The first socket is bound alone, so that a port in use is an error however it is used; then the
// others join it.
io::OsError GatewayEngine::open_sockets(const GatewayEngineConfig& config) {
  io::UdpConfig udp = config.udp;
  udp.reuse_port = false;
  offload_ = udp.offload;
  udp.datagram_bytes_max = slot_stride(config.gateway.mtu) - base::kHeadroom;
  std::vector<std::unique_ptr<io::UdpReceiver>> receivers;
  for (uint32_t k = 0; k < config.workers; ++k) {
    std::unique_ptr<io::UdpReceiver> receiver;
    io::OsError error = io::UdpReceiver::open(udp, &receiver);
    if (error.ok() && k == 0 && config.workers > 1) error = receiver->share();
    if (!error.ok()) return error;
    udp.port = receiver->port();
    udp.reuse_port = true;
    receivers.push_back(std::move(receiver));
  }
  port_ = udp.port;
  const io::UdpReceiver* only = udp.source_port_count == 0 ? receivers.front().get() : nullptr;
  io::OsError error = io::UdpSender::open(udp, only, &sender_);
  if (!error.ok()) return error;
  source_ports_ = sender_->sockets();
  for (auto& receiver : receivers) {
    tunnels_.push_back(std::make_shared<io::UdpPort>(std::move(receiver), *sender_));
  }
  offloads_.tunnel = tunnels_.front()->offloads();
  return {};
}

io::OsError GatewayEngine::prepare(const GatewayEngineConfig& config) {
  losses_.begin(config.udp.netns);
  io::OsError error = open_sockets(config);
  if (!error.ok()) return error;

  const bool jumbo = slot_stride(config.gateway.mtu) == base::kSlotStrideJumbo;
  packet_bytes_max_ = jumbo ? base::kInnerBytesMax : kInnerBytesStandard;
  GatewayWorker::Config each;
  each.gateway = config.gateway;
  each.gateway.outer_headers = false;
  each.gateway.counted_by_sender = true;
  each.gateway.flows_ipv4 = share_of(config.gateway.flows_ipv4, config.workers);
  each.gateway.flows_ipv6 = share_of(config.gateway.flows_ipv6, config.workers);
  each.workers = config.workers;
  each.offload = config.udp.offload;
  each.stride = slot_stride(config.gateway.mtu);
  each.ring_slots = ring_slots(each.workers, each.stride);
  std::vector<GatewayWorker*> all;
  for (uint32_t k = 0; k < config.workers; ++k) {
    each.index = k;
    std::unique_ptr<GatewayWorker> worker;
    error = GatewayWorker::create(each, tunnels_[k], &worker);
    if (!error.ok()) return error;
    // Endpoints' peers send bare GENEVE headers, which leave no room for ours when they are taken
    // off.
    const gateway::Gateway* core = &worker->gateway();
    tunnels_[k]->set_spread([core](uint32_t address) { return core->is_peer(address); });
    all.push_back(worker.get());
    workers_.push_back(std::move(worker));
  }
  for (GatewayWorker* worker : all) worker->set_workers(all);
  worker_count_ = config.workers;
  return {};
}

io::OsError GatewayEngine::run() {
  const std::lock_guard<std::mutex> slow(slow_);
  const std::lock_guard<std::mutex> lock(mutex_);
  if (life_ != Life::opened) return {ESHUTDOWN, "run", ""};
  life_ = Life::running;
  for (const auto& worker : workers_) {
    const io::OsError error = worker->start();
    if (!error.ok()) return error;
  }
  return {};
}

void GatewayEngine::stop() {
  const std::lock_guard<std::mutex> slow(slow_);
  stop_threads();
}

void GatewayEngine::stop_threads() {
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (life_ == Life::stopped) return;
    life_ = Life::stopping;
  }
  for (const auto& worker : workers_) worker->ask_stop();
  for (const auto& worker : workers_) worker->join();
  ask_devices();
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    write_losses();
  }
  for (const auto& worker : workers_) worker->finish();
  // Closing devices takes long.
  std::vector<Device> devices(devices_.size());
  const std::lock_guard<std::mutex> lock(mutex_);
  devices.swap(devices_);
  tunnels_.clear();
  sender_.reset();
  life_ = Life::stopped;
}

void GatewayEngine::release() {
  const std::lock_guard<std::mutex> slow(slow_);
  stop_threads();
  std::vector<std::unique_ptr<GatewayWorker>> workers;
  const std::lock_guard<std::mutex> lock(mutex_);
  workers.swap(workers_);
}

}  // namespace gwlb::engine
