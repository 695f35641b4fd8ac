#include "engine/gateway_engine.h"

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "base/assert.h"
#include "engine/worker.h"
#include "io/tun_port.h"

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

io::OsError GatewayEngine::start(const GatewayEngineConfig& config,
                                 std::unique_ptr<GatewayEngine>* out) {
  if (config.workers < 1 || config.workers > base::kWorkersMax) {
    return {EINVAL, "start", "workers " + std::to_string(config.workers)};
  }
  std::unique_ptr<GatewayEngine> engine(new GatewayEngine());
  const io::OsError error = engine->open(config);
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

io::OsError GatewayEngine::open(const GatewayEngineConfig& config) {
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
  for (GatewayWorker* worker : all) {
    error = worker->start();
    if (!error.ok()) return error;
  }
  return {};
}

uint16_t GatewayEngine::port() const { return port_; }
uint32_t GatewayEngine::workers() const { return static_cast<uint32_t>(workers_.size()); }
uint16_t GatewayEngine::source_ports() const { return source_ports_; }
uint64_t GatewayEngine::now_ms() const { return monotonic_ms(); }

gateway::Counters& GatewayEngine::counters(uint32_t worker) {
  GWLB_ASSERT(worker < workers_.size());
  return workers_[worker]->gateway().counters();
}

// All at the same time; returns when the last has done it.
void GatewayEngine::on_workers(const std::function<void(GatewayWorker&)>& command) {
  for (const auto& worker : workers_) worker->post_command(command);
  for (const auto& worker : workers_) worker->wait_command();
}

io::OsError GatewayEngine::add_tun(uint16_t index, const gateway::EndpointSpec& endpoint,
                                   const io::TunConfig& config, std::string* device_name) {
  if (stopped_) return {ESHUTDOWN, "add_tun", config.name};
  if (index >= base::kEndpointsMax) {
    return {EINVAL, "add_tun", "endpoint index " + std::to_string(index)};
  }
  if (devices_[index].tun != nullptr) {
    return {EEXIST, "add_tun", config.name + " at endpoint index " + std::to_string(index)};
  }
  if (config.mtu > packet_bytes_max_) {
    return {EINVAL, "add_tun",
            config.name + " mtu " + std::to_string(config.mtu) + ": at most " +
                std::to_string(packet_bytes_max_)};
  }
  io::TunConfig device = config;
  device.queues = workers();
  device.offload = offload_;
  std::unique_ptr<io::Tun> opened;
  io::OsError error = io::Tun::open(device, &opened);
  if (!error.ok()) return error;
  device.name = opened->name();

  // Every worker knows the endpoint before any reads its first packet, which may cross at once.
  gateway::EndpointSpec spec = endpoint;
  spec.kind = gateway::EndpointKind::tun;
  spec.cuts = true;
  on_workers([&](GatewayWorker& worker) { worker.gateway().set_endpoint(index, spec); });
  devices_[index].config = device;
  error = attach(index, std::move(opened));
  if (!error.ok()) {
    remove_endpoint(index);
    error.detail = device.name;
    return error;
  }
  *device_name = device.name;
  return {};
}

// Gives every worker its port of the device.
io::OsError GatewayEngine::attach(uint16_t index, std::shared_ptr<io::Tun> tun) {
  Device& device = devices_[index];
  device.tun = std::move(tun);
  device.ports.clear();
  for (uint32_t k = 0; k < workers(); ++k) {
    device.ports.push_back(std::make_shared<io::TunPort>(device.tun, k));
  }
  offloads_.device = device.ports.front()->offloads();
  io::OsError error;
  std::mutex mutex;
  on_workers([&](GatewayWorker& worker) {
    const io::OsError refused = worker.add_port(index, device.ports[worker.index()]);
    const std::lock_guard<std::mutex> lock(mutex);
    if (error.ok()) error = refused;
  });
  return error;
}

uint64_t GatewayEngine::Device::lost() const {
  uint64_t sum = 0;
  for (const auto& port : ports) sum += port->counters().lost;
  return sum;
}

std::optional<io::LinkState> GatewayEngine::device_state(uint16_t index) const {
  if (index >= devices_.size() || devices_[index].ports.empty()) return std::nullopt;
  return devices_[index].ports.front()->state();
}

io::OsError GatewayEngine::restore_tun(uint16_t index) {
  if (stopped_) return {ESHUTDOWN, "restore_tun", ""};
  const std::optional<io::LinkState> state = device_state(index);
  if (!state) return {EINVAL, "restore_tun", "endpoint index " + std::to_string(index)};
  Device& device = devices_[index];
  if (*state == io::LinkState::up) return {};
  if (*state == io::LinkState::down) return device.tun->set_up();
  // One that was moved away ends with its descriptors, unless it is persistent.
  on_workers([&](GatewayWorker& worker) { worker.remove_port(index); });
  std::unique_ptr<io::Tun> opened;
  io::OsError error = io::Tun::open(device.config, &opened);
  if (!error.ok()) return error;
  former_drops_ += device.lost();
  error = attach(index, std::move(opened));
  if (!error.ok()) device.tun->lose();
  return error;
}

void GatewayEngine::add_endpoint(uint16_t index, const gateway::EndpointSpec& endpoint) {
  GWLB_ASSERT(index < base::kEndpointsMax);
  if (devices_[index].tun != nullptr) remove_endpoint(index);
  gateway::EndpointSpec spec = endpoint;
  spec.cuts = true;
  on_workers([&](GatewayWorker& worker) { worker.gateway().set_endpoint(index, spec); });
}

void GatewayEngine::remove_endpoint(uint16_t index) {
  GWLB_ASSERT(index < base::kEndpointsMax);
  on_workers([&](GatewayWorker& worker) { worker.remove_port(index); });
  former_drops_ += devices_[index].lost();
  devices_[index] = {};
  on_workers([&](GatewayWorker& worker) { worker.gateway().remove_endpoint(index); });
}

void GatewayEngine::set_targets(std::shared_ptr<const select::TargetTable> table) {
  on_workers([&](GatewayWorker& worker) { worker.gateway().set_targets(table); });
}

void GatewayEngine::set_idle_timeouts(uint32_t tcp_ms, uint32_t other_ms) {
  on_workers([&](GatewayWorker& worker) { worker.gateway().set_idle_timeouts(tcp_ms, other_ms); });
}

void GatewayEngine::set_fail_open(bool fail_open) {
  on_workers([&](GatewayWorker& worker) { worker.gateway().set_fail_open(fail_open); });
}

void GatewayEngine::set_path_mtu(uint32_t bytes) {
  on_workers([&](GatewayWorker& worker) { worker.gateway().set_path_mtu(bytes); });
}

void GatewayEngine::set_reset_on_idle(bool reset_on_idle) {
  on_workers([&](GatewayWorker& worker) { worker.gateway().set_reset_on_idle(reset_on_idle); });
}

void GatewayEngine::set_stickiness(flow::Stickiness stickiness) {
  on_workers([&](GatewayWorker& worker) { worker.gateway().set_stickiness(stickiness); });
}

void GatewayEngine::set_cookie_key(const base::HashKey& key, uint32_t overlap_ms) {
  const uint64_t now = now_ms();
  on_workers([&](GatewayWorker& worker) { worker.gateway().set_cookie_key(key, now, overlap_ms); });
}

void GatewayEngine::set_report_interval(uint32_t interval_ms) {
  on_workers([&](GatewayWorker& worker) { worker.gateway().set_report_interval(interval_ms); });
}

bool GatewayEngine::set_recording(uint64_t bytes, uint32_t window_ms) {
  std::vector<std::unique_ptr<RecordRing>> rings(workers_.size());
  const uint64_t packets = bytes / sizeof(RecordedPacket) / workers_.size();
  for (auto& ring : rings) {
    if (bytes == 0) break;
    ring = RecordRing::create(static_cast<uint32_t>(packets), window_ms);
    if (ring == nullptr) return false;
  }
  for (size_t k = 0; k < workers_.size(); ++k) {
    const std::function<void(GatewayWorker&)> give = [&rings, k](GatewayWorker& worker) {
      worker.set_recording(std::move(rings[k]));
    };
    workers_[k]->post_command(give);
    workers_[k]->wait_command();
  }
  return true;
}

// One worker after the other, so that the others go on.
void GatewayEngine::read_recording(std::vector<RecordedPacket>* out, uint64_t* lost) {
  *lost = 0;
  const std::function<void(GatewayWorker&)> read = [&](GatewayWorker& worker) {
    const RecordRing* ring = worker.recording();
    if (ring == nullptr) return;
    ring->read(now_ms(), [out](const RecordedPacket& packet) { out->push_back(packet); });
    *lost += ring->lost();
  };
  for (const auto& worker : workers_) {
    worker->post_command(read);
    worker->wait_command();
  }
}

// All workers' tables have one size, so that one cursor serves them all.
void GatewayEngine::preview(const select::TargetTable& table, uint32_t positions, uint32_t* cursor,
                            std::vector<gateway::FlowMove>* out) {
  const uint32_t from = *cursor;
  std::mutex mutex;
  on_workers([&](GatewayWorker& worker) {
    uint32_t at = from;
    std::vector<gateway::FlowMove> moves;
    worker.gateway().preview(table, positions, &at, &moves);
    const std::lock_guard<std::mutex> lock(mutex);
    *cursor = at;
    out->insert(out->end(), moves.begin(), moves.end());
  });
}

// Rows are the same on every worker; flows and fragment trains only their owner knows. Asking all
// finds it without a second way to name the owner.
gateway::Explanation GatewayEngine::explain(const uint8_t* packet, uint32_t length,
                                            uint16_t endpoint) {
  const uint64_t now = now_ms();
  const auto rank = [](const gateway::Explanation& answer) {
    return answer.pinned ? 2 : answer.error == base::DropReason::none ? 1 : 0;
  };
  gateway::Explanation best;
  bool first = true;
  std::mutex mutex;
  on_workers([&](GatewayWorker& worker) {
    const gateway::Explanation answer = worker.gateway().explain(packet, length, endpoint, now);
    const std::lock_guard<std::mutex> lock(mutex);
    if (first || rank(answer) > rank(best)) best = answer;
    first = false;
  });
  return best;
}

bool GatewayEngine::send_datagram(uint32_t address, uint16_t port, uint16_t source,
                                  const uint8_t* bytes, uint32_t length) {
  if (stopped_ || length > kDatagramBytesMax) return false;
  if (own_batch_ == nullptr) {
    own_batch_ = batch::PacketBatch::create(1, base::kSlotStrideStandard);
    own_scratch_ = std::make_unique<io::UdpSendScratch>();
  }
  if (own_batch_ == nullptr) return false;
  batch::PacketBatch& batch = *own_batch_;
  batch.count = 1;
  batch.reset(0, length);
  std::memcpy(batch.packet(0), bytes, length);
  batch.verdict[0] = static_cast<uint8_t>(batch::Verdict::forward);
  batch.address[0] = address;
  batch.port[0] = port;
  batch.source_port[0] = source;
  const uint16_t only = 0;
  return sender_->send(batch, &only, 1, *own_scratch_) == 1;
}

uint32_t GatewayEngine::drain_unreachable(io::UdpPeer* out, uint32_t max) {
  return stopped_ ? 0 : sender_->drain_unreachable(out, max);
}

uint32_t GatewayEngine::drain_events(gateway::FlowEvent* out, uint32_t max) {
  uint32_t n = 0;
  for (const auto& worker : workers_) n += worker->gateway().drain_events(out + n, max - n);
  return n;
}

void GatewayEngine::discard_events() {
  for (const auto& worker : workers_) worker->gateway().discard_events();
}

void GatewayEngine::end_flows(uint32_t positions, uint32_t* cursor,
                              std::vector<gateway::FlowEvent>* out) {
  const uint32_t from = *cursor;
  const uint64_t now = now_ms();
  *cursor = 0;
  std::mutex mutex;
  on_workers([&](GatewayWorker& worker) {
    uint32_t at = from;
    std::vector<gateway::FlowEvent> events;
    worker.gateway().end_flows(now, positions, &at, &events);
    const std::lock_guard<std::mutex> lock(mutex);
    *cursor = at;
    out->insert(out->end(), events.begin(), events.end());
  });
}

void GatewayEngine::release() {
  stop();
  workers_.clear();
}

bool GatewayEngine::failed(io::OsError* error) const {
  for (const auto& worker : workers_) {
    if (worker->failed(error)) return true;
  }
  return false;
}

void GatewayEngine::count_losses() {
  if (sender_ == nullptr || workers_.empty()) return;
  uint64_t received = 0, devices = former_drops_;
  for (const auto& tunnel : tunnels_) received += tunnel->counters().lost;
  for (const Device& device : devices_) devices += device.lost();
  losses_.update(received);
  gateway::Counters& counters = this->counters(0);
  counters.set_drops(base::DropReason::receive_overflow, losses_.overflow());
  counters.set_drops(base::DropReason::outer_bad_checksum, losses_.bad_checksum());
  counters.set_drops(base::DropReason::returned_to_source_port, sender_->refused());
  counters.set_drops(base::DropReason::device_overflow, devices);
}

void GatewayEngine::stop() {
  if (stopped_) return;
  stopped_ = true;
  for (const auto& worker : workers_) worker->ask_stop();
  for (const auto& worker : workers_) worker->join();
  count_losses();
  for (const auto& worker : workers_) worker->finish();
  for (Device& device : devices_) device = {};
  tunnels_.clear();
  sender_.reset();
}

}  // namespace gwlb::engine
