// The devices of an ApplianceEngine, as whoever makes them sees them.
#include <sys/random.h>

#include <algorithm>
#include <cerrno>
#include <utility>

#include "engine/appliance_engine.h"
#include "engine/appliance_worker.h"
#include "io/tun_port.h"

namespace gwlb::engine {

using base::DropReason;

io::OsError ApplianceEngine::attach_devices(const ApplianceDevicesConfig& config) {
  const std::lock_guard<std::mutex> slow(slow_);
  if (stopped_) return {ESHUTDOWN, "attach_devices", ""};
  if (offline_ != nullptr) return {EINVAL, "attach_devices", "an appliance without sockets"};
  if (devices_ != nullptr) return {EEXIST, "attach_devices", "devices of the appliance"};
  ApplianceDevices::Setting setting;
  const ApplianceEngineConfig& own = worker_->config();
  setting.paths = own.udp.keeps_paths();
  setting.gateway_port = own.gateway_port;
  setting.key = own.hash_key;
  if (setting.key.k0 == 0 && setting.key.k1 == 0 &&
      getrandom(&setting.key, sizeof setting.key, 0) != sizeof setting.key) {
    return io::last_error("getrandom", "devices of the appliance");
  }
  std::unique_ptr<ApplianceDevices> made;
  const io::OsError error = ApplianceDevices::create(
      config, setting, [this] { worker_->notify(); }, &made);
  if (!error.ok()) return error;
  pairs_ = std::vector<Pair>(config.devices);
  offloads_devices_ = config.offload;
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    devices_ = std::move(made);
  }
  worker_->set_devices(devices_.get());
  return {};
}

void ApplianceEngine::detach_devices() {
  const std::lock_guard<std::mutex> slow(slow_);
  detach();
}

void ApplianceEngine::detach() {
  if (devices_ == nullptr) return;
  worker_->set_devices(nullptr);
  ask_devices();
  former_tun_drops_ = tun_drops_.load(std::memory_order_relaxed);
  pairs_.clear();
  const std::lock_guard<std::mutex> lock(mutex_);
  devices_.reset();
}

io::OsError ApplianceEngine::open_tun(const io::TunConfig& config, Tun* out) {
  out->config = config;
  out->config.queues = 1;
  out->config.offload = offloads_devices_;
  std::unique_ptr<io::Tun> opened;
  const io::OsError error = io::Tun::open(out->config, &opened);
  if (!error.ok()) return error;
  // A pattern is a name from now on: made again, it is the same.
  out->config.name = opened->name();
  out->tun = std::move(opened);
  return {};
}

io::OsError ApplianceEngine::hand_over(uint32_t number) {
  const auto port_of = [](const Tun& tun) {
    return tun.tun != nullptr ? std::make_shared<io::TunPort>(tun.tun, 0) : nullptr;
  };
  return hand_over(number, port_of(pairs_[number].in), port_of(pairs_[number].out));
}

io::OsError ApplianceEngine::hand_over(uint32_t number, std::shared_ptr<io::Port> in,
                                       std::shared_ptr<io::Port> out) {
  io::OsError error;
  worker_->between_batches([&] { error = devices_->set_ports(number, in, out); });
  return error;
}

io::OsError ApplianceEngine::add_device_on(uint32_t number, std::shared_ptr<io::Port> in,
                                           std::shared_ptr<io::Port> out) {
  const std::lock_guard<std::mutex> slow(slow_);
  if (stopped_) return {ESHUTDOWN, "add_device", ""};
  if (number >= pairs_.size()) return {EINVAL, "add_device", "number " + std::to_string(number)};
  return hand_over(number, std::move(in), std::move(out));
}

namespace {

void tell_names(const io::Tun& in, const io::Tun* out, ApplianceEngine::DeviceNames* made) {
  made->in = in.name();
  made->in_ifindex = in.ifindex();
  if (out == nullptr) return;
  made->out = out->name();
  made->out_ifindex = out->ifindex();
}

}  // namespace

io::OsError ApplianceEngine::add_device(uint32_t number, const io::TunConfig& in,
                                        const io::TunConfig* out, DeviceNames* made) {
  const std::lock_guard<std::mutex> slow(slow_);
  if (stopped_) return {ESHUTDOWN, "add_device", in.name};
  if (number >= pairs_.size()) {
    return {EINVAL, "add_device", in.name + " as number " + std::to_string(number)};
  }
  if (pairs_[number].in.tun != nullptr) {
    return {EEXIST, "add_device", in.name + " as number " + std::to_string(number)};
  }
  Pair pair;
  io::OsError error = open_tun(in, &pair.in);
  if (error.ok() && out != nullptr) error = open_tun(*out, &pair.out);
  if (!error.ok()) return error;
  pairs_[number] = std::move(pair);
  error = hand_over(number);
  if (error.ok()) {
    tell_names(*pairs_[number].in.tun, pairs_[number].out.tun.get(), made);
  } else {
    pairs_[number] = {};
  }
  return error;
}

// Sets it up, or makes it anew where it is gone. One that was moved away ends with its descriptors.
io::OsError ApplianceEngine::restore_tun(Tun* tun, bool* renewed) {
  if (tun->tun == nullptr) return {};
  const io::LinkState state = tun->tun->state();
  if (state == io::LinkState::up) return {};
  if (state == io::LinkState::down) return tun->tun->set_up();
  *renewed = true;
  tun->former_drops = tun->drops();
  tun->tun->lose();
  const std::shared_ptr<io::Tun> before = std::move(tun->tun);
  const io::OsError error = open_tun(io::TunConfig(tun->config), tun);
  if (!error.ok()) tun->tun = before;
  return error;
}

io::OsError ApplianceEngine::restore_device(uint32_t number, DeviceNames* made) {
  const std::lock_guard<std::mutex> slow(slow_);
  if (stopped_) return {ESHUTDOWN, "restore_device", ""};
  if (number >= pairs_.size() || pairs_[number].in.tun == nullptr) {
    return {EINVAL, "restore_device", "number " + std::to_string(number)};
  }
  Pair& pair = pairs_[number];
  bool renewed = false;
  io::OsError error = restore_tun(&pair.in, &renewed);
  if (error.ok()) error = restore_tun(&pair.out, &renewed);
  if (renewed) {
    const io::OsError refused = hand_over(number);
    if (error.ok()) error = refused;
  }
  if (error.ok()) tell_names(*pair.in.tun, pair.out.tun.get(), made);
  return error;
}

std::vector<DeviceState> ApplianceEngine::look_at_devices() {
  const std::lock_guard<std::mutex> slow(slow_);
  std::vector<DeviceState> states;
  for (uint32_t number = 0; number < pairs_.size(); ++number) {
    const Pair& pair = pairs_[number];
    if (pair.in.tun == nullptr) continue;
    io::LinkState state = pair.in.tun->state();
    if (pair.out.tun != nullptr) state = std::max(state, pair.out.tun->state());
    states.push_back({number, state});
  }
  ask_devices();
  return states;
}

void ApplianceEngine::ask_devices() {
  if (devices_ == nullptr) return;
  uint64_t sum = former_tun_drops_;
  for (uint32_t number = 0; number < pairs_.size(); ++number) {
    const uint64_t lost = pairs_[number].in.drops() + pairs_[number].out.drops();
    devices_->counters(number).set_drops(DropReason::device_overflow, lost);
    sum += lost;
  }
  tun_drops_.store(sum, std::memory_order_relaxed);
}

std::vector<uint64_t> ApplianceEngine::endpoints_from(uint32_t number) {
  std::vector<uint64_t> ids;
  const std::shared_ptr<ApplianceDevices> now = devices();
  if (now == nullptr) return ids;
  const EndpointNumbers& numbers = now->numbers();
  for (const uint32_t end = numbers.count(); number < end; ++number) {
    ids.push_back(numbers.id(number));
  }
  return ids;
}

std::shared_ptr<uint64_t[]> ApplianceEngine::device_counters(uint32_t number) {
  const std::shared_ptr<ApplianceDevices> now = devices();
  if (now == nullptr || number >= now->size()) return nullptr;
  return now->counters(number).words();
}

std::shared_ptr<uint64_t[]> ApplianceEngine::deviceless_counters() {
  const std::shared_ptr<ApplianceDevices> now = devices();
  return now != nullptr ? now->other_counters().words() : nullptr;
}

appliance::ReturnHeaders::Flows ApplianceEngine::device_flows() {
  const std::shared_ptr<ApplianceDevices> now = devices();
  return now != nullptr ? now->flows() : appliance::ReturnHeaders::Flows{0, 0};
}

}  // namespace gwlb::engine
