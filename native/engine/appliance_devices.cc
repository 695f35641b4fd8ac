#include "engine/appliance_devices.h"

#include <sys/epoll.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <utility>

#include "base/assert.h"
#include "engine/worker_thread.h"

namespace gwlb::engine {

using appliance::Appliance;
using appliance::ApplianceCounter;
using appliance::Counters;
using appliance::DeviceCounter;
using appliance::Opened;
using appliance::ReturnHeaders;
using base::DropReason;
using batch::PacketBatch;
using batch::Verdict;

namespace {

bool has(const PacketBatch& batch, uint32_t i, Verdict verdict) {
  return batch.verdict[i] == static_cast<uint8_t>(verdict);
}

}  // namespace

ApplianceDevices::ApplianceDevices(const ApplianceDevicesConfig& config, const Setting& setting,
                                   std::function<void()> arrived)
    : config_(config),
      setting_(setting),
      arrived_(std::move(arrived)),
      numbers_(config.devices, setting.key.k0),
      devices_(config.devices) {
  for (Device& device : devices_) {
    device.counters = std::make_unique<appliance::DeviceCounters>();
  }
  hot_.reserve(2 * size_t{config.devices});
  entering_.reserve(config.devices);
}

io::OsError ApplianceDevices::create(const ApplianceDevicesConfig& config, const Setting& setting,
                                     std::function<void()> arrived,
                                     std::unique_ptr<ApplianceDevices>* out) {
  GWLB_ASSERT(config.devices >= 1 && config.devices <= kDevicesMax);
  ApplianceDevicesConfig sorted = config;
  std::sort(sorted.endpoints.begin(), sorted.endpoints.end());
  std::unique_ptr<ApplianceDevices> self(new ApplianceDevices(sorted, setting, std::move(arrived)));
  self->headers_ = ReturnHeaders::create(config.limits, setting.paths, setting.key);
  self->batch_ = PacketBatch::create(
      base::kEngineBatchPackets, config.offload ? base::kSlotStrideTrain : base::kSlotStrideJumbo);
  if (self->headers_ == nullptr || self->batch_ == nullptr) {
    return {ENOMEM, "malloc", "flow tables of the appliance's devices"};
  }
  if (setting.paths) self->batch_->keep_paths();
  self->epoll_ = epoll_create1(EPOLL_CLOEXEC);
  if (self->epoll_ < 0) return io::last_error("epoll_create1", "devices of the appliance");
  *out = std::move(self);
  return {};
}

ApplianceDevices::~ApplianceDevices() {
  if (epoll_ >= 0) close(epoll_);
}

int ApplianceDevices::tick_ms() const {
  const ReturnHeaders::Flows now = flows();
  return now.ipv4 != 0 || now.ipv6 != 0 ? kTickMs : -1;
}

io::OsError ApplianceDevices::set_port(uint32_t number, std::shared_ptr<io::Port> port) {
  Source& source = this->source(number);
  if (source.port != nullptr && source.port->fd() >= 0) {
    epoll_ctl(epoll_, EPOLL_CTL_DEL, source.port->fd(), nullptr);
  }
  source.port = nullptr;
  if (port == nullptr) return {};
  if (port->fd() >= 0) {
    epoll_event event{};
    event.events = EPOLLIN;
    event.data.u32 = number;
    if (epoll_ctl(epoll_, EPOLL_CTL_ADD, port->fd(), &event) != 0) {
      return io::last_error("epoll_ctl", "a device of the appliance");
    }
  }
  source.port = std::move(port);
  return {};
}

io::OsError ApplianceDevices::set_ports(uint32_t number, std::shared_ptr<io::Port> in,
                                        std::shared_ptr<io::Port> out) {
  GWLB_ASSERT(number < devices_.size());
  io::OsError error = set_port(2 * number, std::move(in));
  if (error.ok()) error = set_port(2 * number + 1, std::move(out));
  if (!error.ok()) set_port(2 * number, nullptr);
  return error;
}

// None, or why a packet of this endpoint has no device.
DropReason ApplianceDevices::device_of(uint64_t endpoint_id, uint16_t* number) {
  *number = config_.per_endpoint ? numbers_.find(endpoint_id) : uint16_t{0};
  if (*number == EndpointNumbers::kNone) {
    const auto& known = config_.endpoints;
    if (!config_.any_endpoint && !std::binary_search(known.begin(), known.end(), endpoint_id)) {
      return DropReason::device_not_allowed;
    }
    if (numbers_.full()) return DropReason::device_limit;
    *number = numbers_.add(endpoint_id);
    arrived_();
  }
  return devices_[*number].in.port == nullptr ? DropReason::device_unavailable : DropReason::none;
}

void ApplianceDevices::enter(PacketBatch& batch, Appliance& opener, Counters& counters,
                             uint64_t now_ms) {
  uint16_t packets[base::kBatchPacketsMax];
  DropReason why[base::kBatchPacketsMax];
  uint32_t n = 0;
  for (uint32_t i = 0; i < batch.count; ++i) {
    const Opened& opened = opener.opened(i);
    if (!opened.is_open() || opened.rejected || opened.direct || !batch.pending(i)) continue;
    uint16_t number;
    const DropReason reason = device_of(opened.options.endpoint_id, &number);
    if (reason != DropReason::none) {
      (number == EndpointNumbers::kNone ? other_ : *devices_[number].counters).drop(reason);
      opener.drop(batch, i, reason);
      continue;
    }
    batch.endpoint[i] = number;
    packets[n++] = static_cast<uint16_t>(i);
  }
  if (n == 0) return;
  headers_->learn(batch, opener, packets, n, now_ms, why);
  for (uint32_t k = 0; k < n; ++k) {
    const uint16_t i = packets[k];
    Device& device = devices_[batch.endpoint[i]];
    if (why[k] != DropReason::none) {
      device.counters->drop(why[k]);
      opener.drop(batch, i, why[k]);
      continue;
    }
    next_[i] = kEnd;
    if (device.first == kEnd) {
      device.first = i;
      entering_.push_back(batch.endpoint[i]);
    } else {
      next_[device.last] = i;
    }
    device.last = i;
  }
  for (const uint16_t number : entering_) write(devices_[number], batch, opener, counters);
  entering_.clear();
  counters.add(ApplianceCounter::tun_flows_evicted, headers_->take_evicted());
}

void ApplianceDevices::write(Device& device, PacketBatch& batch, Appliance& opener,
                             Counters& counters) {
  uint16_t packets[base::kBatchPacketsMax];
  uint32_t n = 0;
  uint16_t next = device.first;
  do {  // there is at least one
    packets[n++] = next;
    next = next_[next];
  } while (next != kEnd);
  device.first = kEnd;
  device.in.port->send(batch, packets, n);
  uint64_t entered = 0;
  uint64_t bytes = 0;
  for (uint32_t k = 0; k < n; ++k) {
    const uint32_t i = packets[k];
    if (has(batch, i, Verdict::drop)) {
      const auto reason = static_cast<DropReason>(batch.reason[i]);
      device.counters->drop(reason);
      opener.drop(batch, i, reason);
      continue;
    }
    ++entered;
    bytes += opener.opened(i).length;
    batch.verdict[i] = static_cast<uint8_t>(Verdict::moved);
  }
  device.counters->add(DeviceCounter::packets_to_kernel, entered);
  device.counters->add(DeviceCounter::bytes_to_kernel, bytes);
  counters.add(ApplianceCounter::packets_to_kernel, entered);
  counters.add(ApplianceCounter::bytes_to_kernel, bytes);
}

void ApplianceDevices::find_hot() {
  epoll_event events[kEventsMax];
  const int n = epoll_wait(epoll_, events, kEventsMax, 0);
  for (int k = 0; k < n; ++k) {
    Source& found = source(events[k].data.u32);
    if (!found.hot) hot_.push_back(events[k].data.u32);
    found.hot = true;
  }
}

bool ApplianceDevices::read(io::Port& tunnel, Counters& counters, uint64_t now_ms) {
  headers_->sweep(now_ms);
  find_hot();
  bool came = false;
  size_t kept = 0;
  for (size_t k = 0; k < hot_.size(); ++k) {
    const uint32_t number = hot_[k];
    came |= read_source(number, tunnel, counters, now_ms);
    if (source(number).hot) hot_[kept++] = number;
  }
  hot_.resize(kept);
  return came;
}

bool ApplianceDevices::read_source(uint32_t number, io::Port& tunnel, Counters& counters,
                                   uint64_t now_ms) {
  Source& from = source(number);
  from.hot = false;
  if (from.port == nullptr) return false;
  io::OsError error;
  io::Rest rest;
  bool came = false;
  do {
    rest = io::Rest::none;
    if (from.port->receive(*batch_, static_cast<uint16_t>(number / 2), &rest, &error) == 0) break;
    came = true;
    send_back(devices_[number / 2], tunnel, counters, now_ms);
  } while (rest == io::Rest::in_batch && error.ok());
  if (!error.ok()) {
    from.port->lose();
    set_port(number, nullptr);
    return came;
  }
  from.hot = rest != io::Rest::none;
  return came;
}

// Gives what came its headers, sends it, and counts what became of it.
void ApplianceDevices::send_back(Device& device, io::Port& tunnel, Counters& counters,
                                 uint64_t now_ms) {
  PacketBatch& batch = *batch_;
  struct Came {
    uint16_t packets;
    bool left;
    uint64_t bytes;
  } came[base::kEngineBatchPackets];
  uint64_t packets = 0, bytes = 0, back = 0, back_bytes = 0;
  for (uint32_t i = 0; i < batch.count; ++i) {
    came[i] = {batch.packets[i], false, batch.bytes(i)};
    packets += came[i].packets;
    bytes += came[i].bytes;
  }
  headers_->give_back(batch, setting_.gateway_port, now_ms);
  uint16_t leaving[base::kEngineBatchPackets];
  uint32_t n = 0;
  for (uint32_t i = 0; i < batch.count; ++i) {
    came[i].left = has(batch, i, Verdict::forward);
    if (came[i].left) leaving[n++] = static_cast<uint16_t>(i);
  }
  if (n > 0) tunnel.send(batch, leaving, n);
  for (uint32_t i = 0; i < batch.count; ++i) {
    uint64_t lost = 0, lost_bytes = 0;
    if (has(batch, i, Verdict::drop)) {
      const auto reason = static_cast<DropReason>(batch.reason[i]);
      // Of a super-packet a part may have gone.
      lost = batch.packets[i];
      lost_bytes = came[i].left && batch.is_super(i) ? batch.lost_bytes[i] : came[i].bytes;
      device.counters->drop(reason, lost);
      counters.drop(reason, lost);
    }
    back += came[i].packets - lost;
    back_bytes += came[i].bytes - lost_bytes;
  }
  device.counters->add(DeviceCounter::packets_from_kernel, packets);
  device.counters->add(DeviceCounter::bytes_from_kernel, bytes);
  device.counters->add(DeviceCounter::packets_returned, back);
  device.counters->add(DeviceCounter::bytes_returned, back_bytes);
  counters.add(ApplianceCounter::packets_from_kernel, packets);
  counters.add(ApplianceCounter::bytes_from_kernel, bytes);
  counters.add(ApplianceCounter::packets_returned, back);
  counters.add(ApplianceCounter::bytes_returned, back_bytes);
}

}  // namespace gwlb::engine
