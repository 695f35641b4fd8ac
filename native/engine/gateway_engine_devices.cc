// The engine's endpoints and their devices.
#include <cerrno>
#include <utility>

#include "base/assert.h"
#include "engine/gateway_engine.h"
#include "engine/worker.h"
#include "io/tun_port.h"

namespace gwlb::engine {

bool GatewayEngine::ended() const {
  const std::lock_guard<std::mutex> lock(mutex_);
  return life_ == Life::stopping || life_ == Life::stopped;
}

io::OsError GatewayEngine::add_tun(uint16_t index, const gateway::EndpointSpec& endpoint,
                                   const io::TunConfig& config, std::string* device_name) {
  const std::lock_guard<std::mutex> slow(slow_);
  if (ended()) return {ESHUTDOWN, "add_tun", config.name};
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
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    on_workers([&](GatewayWorker& worker) { worker.gateway().set_endpoint(index, spec); });
    devices_[index].config = device;
    error = attach(index, std::move(opened));
  }
  if (!error.ok()) {
    take_away(index);
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

io::OsError GatewayEngine::restore_tun(uint16_t index) {
  const std::lock_guard<std::mutex> slow(slow_);
  if (ended()) return {ESHUTDOWN, "restore_tun", ""};
  if (index >= devices_.size() || devices_[index].tun == nullptr) {
    return {EINVAL, "restore_tun", "endpoint index " + std::to_string(index)};
  }
  Device& device = devices_[index];
  const io::LinkState state = device.tun->state();
  if (state == io::LinkState::up) return {};
  if (state == io::LinkState::down) return device.tun->set_up();
  {
    // One that was moved away ends with its descriptors, unless it is persistent.
    const std::lock_guard<std::mutex> lock(mutex_);
    on_workers([&](GatewayWorker& worker) { worker.remove_port(index); });
  }
  std::unique_ptr<io::Tun> opened;
  io::OsError error = io::Tun::open(device.config, &opened);
  if (!error.ok()) return error;
  former_drops_ += device.lost();
  Device former;  // closed when mutex_ is free
  const std::lock_guard<std::mutex> lock(mutex_);
  former.tun = std::move(device.tun);
  former.ports = std::move(device.ports);
  error = attach(index, std::move(opened));
  if (!error.ok()) device.tun->lose();
  return error;
}

io::OsError GatewayEngine::add_endpoint(uint16_t index, const gateway::EndpointSpec& endpoint) {
  GWLB_ASSERT(index < base::kEndpointsMax);
  const std::lock_guard<std::mutex> slow(slow_);
  if (ended()) return {ESHUTDOWN, "add_endpoint", ""};
  if (devices_[index].tun != nullptr) take_away(index);
  gateway::EndpointSpec spec = endpoint;
  spec.cuts = true;
  const std::lock_guard<std::mutex> lock(mutex_);
  on_workers([&](GatewayWorker& worker) { worker.gateway().set_endpoint(index, spec); });
  return {};
}

void GatewayEngine::remove_endpoint(uint16_t index) {
  GWLB_ASSERT(index < base::kEndpointsMax);
  const std::lock_guard<std::mutex> slow(slow_);
  if (!ended()) take_away(index);
}

void GatewayEngine::take_away(uint16_t index) {
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    on_workers([&](GatewayWorker& worker) { worker.remove_port(index); });
  }
  former_drops_ += devices_[index].lost();
  Device former;  // closed when mutex_ is free
  const std::lock_guard<std::mutex> lock(mutex_);
  std::swap(former, devices_[index]);
  on_workers([&](GatewayWorker& worker) { worker.gateway().remove_endpoint(index); });
}

std::vector<DeviceState> GatewayEngine::look_at_devices() {
  const std::lock_guard<std::mutex> slow(slow_);
  std::vector<DeviceState> states;
  for (size_t k = 0; k < devices_.size(); ++k) {
    if (devices_[k].tun == nullptr) continue;
    states.push_back({static_cast<uint16_t>(k), devices_[k].ports.front()->state()});
  }
  if (!states.empty()) ask_devices();
  return states;
}

void GatewayEngine::ask_devices() {
  uint64_t drops = former_drops_;
  for (const Device& device : devices_) drops += device.lost();
  const std::lock_guard<std::mutex> lock(mutex_);
  device_drops_ = drops;
}

void GatewayEngine::count_losses() {
  {
    // Whoever makes or takes away a device keeps the kernel's lock that asking about one needs.
    const std::unique_lock<std::mutex> slow(slow_, std::try_to_lock);
    if (slow.owns_lock()) ask_devices();
  }
  const std::lock_guard<std::mutex> lock(mutex_);
  if (life_ == Life::opened || life_ == Life::running) write_losses();
}

void GatewayEngine::write_losses() {
  if (workers_.empty()) return;
  uint64_t received = 0;
  for (const auto& tunnel : tunnels_) received += tunnel->counters().lost;
  losses_.update(received);
  gateway::Counters& counters = workers_.front()->gateway().counters();
  counters.set_drops(base::DropReason::receive_overflow, losses_.overflow());
  counters.set_drops(base::DropReason::outer_bad_checksum, losses_.bad_checksum());
  counters.set_drops(base::DropReason::returned_to_source_port, sender_->refused());
  counters.set_drops(base::DropReason::device_overflow, device_drops_);
}

}  // namespace gwlb::engine
