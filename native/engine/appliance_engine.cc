#include "engine/appliance_engine.h"

#include <sys/random.h>

#include <algorithm>
#include <cerrno>
#include <utility>

#include "base/assert.h"
#include "engine/appliance_worker.h"
#include "io/netns.h"
#include "io/udp_port.h"

namespace gwlb::engine {

using appliance::Appliance;
using appliance::FlowVerdict;
using appliance::FlowVerdicts;
using base::DropReason;
using batch::PacketBatch;

namespace {

uint32_t stride_of(const ApplianceEngineConfig& config) {
  return config.jumbo ? base::kSlotStrideJumbo : base::kSlotStrideStandard;
}

io::OsError out_of_memory() { return {ENOMEM, "malloc", "packet batches of the appliance"}; }

}  // namespace

io::OsError ApplianceEngine::Worker::open(std::shared_ptr<io::Port> port, Offline* offline) {
  port_ = std::move(port);
  offline_ = offline;
  const io::PortOffloads granted = port_->offloads();
  const bool trains = granted.gro || granted.tso;
  direct_ = PacketBatch::create(base::kEngineBatchPackets,
                                trains ? base::kSlotStrideTrain : stride_of(config_));
  if (direct_ == nullptr) return out_of_memory();
  opener_ = std::make_unique<Appliance>(config_.appliance);
  if (config_.udp.keeps_paths()) direct_->keep_paths();
  if (config_.inspect && !set_inspect(true, {})) return out_of_memory();
  return thread_.open();
}

// A thread begins in the network namespace of the one that makes it: so this one can open further
// sockets without the privilege to enter.
io::OsError ApplianceEngine::Worker::start() {
  return io::in_netns(config_.udp.netns,
                      [this] { return thread_.start("gwlb-appliance", [this] { run(); }); });
}

void ApplianceEngine::Worker::stop() {
  if (!thread_.running()) return;
  thread_.stop();
  port_.reset();
}

bool ApplianceEngine::Worker::create_loads() {
  base::HashKey key = config_.hash_key;
  if (key.k0 == 0 && key.k1 == 0 && getrandom(&key, sizeof key, 0) != sizeof key) return false;
  std::unique_ptr<FlowVerdicts> flows = FlowVerdicts::create(config_.flows, key);
  if (flows == nullptr) return false;
  std::vector<ApplianceLoad> loads(config_.batches + kWaitingLoads);
  for (ApplianceLoad& load : loads) {
    if (!load.create(base::kBatchPacketsMax, stride_of(config_), config_.appliance)) return false;
    if (config_.udp.keeps_paths()) load.batch->keep_paths();
  }
  loads_ = std::move(loads);
  flows_ = std::move(flows);
  lent_.reserve(config_.batches);
  for (uint32_t n = config_.batches; n > 0; --n) free_.push_back(n - 1);
  for (uint32_t n = 0; n < kWaitingLoads; ++n) free_waiting_.push_back(config_.batches + n);
  return true;
}

void ApplianceEngine::Worker::change(const Settings& wanted) {
  if (wanted == asked_) return;
  asked_ = wanted;
  thread_.post([this, wanted] {
    wanted_ = wanted;
    changed_ = true;
  });
}

bool ApplianceEngine::Worker::set_inspect(bool inspect, const appliance::Filter& filter) {
  if (inspect && loads_.empty() && !create_loads()) return false;
  Settings wanted = asked_;
  wanted.inspect = inspect;
  wanted.filter = filter;
  if (!inspect && asked_.inspect) ++wanted.forgets;
  change(wanted);
  if (!inspect) {
    for (int number = next_batch(); number >= 0; number = next_batch()) release(number);
  }
  return true;
}

void ApplianceEngine::Worker::forget_flows() {
  Settings wanted = asked_;
  ++wanted.forgets;
  change(wanted);
}

void ApplianceEngine::Worker::hide(ApplianceLoad& load, uint32_t i, FlowVerdicts::Sight sight) {
  load.hidden[i] = true;
  if (sight == FlowVerdicts::Sight::drop) load.batch->drop(i, DropReason::appliance_verdict);
  if (sight == FlowVerdicts::Sight::direct) load.appliance->set_direct(i);
}

void ApplianceEngine::Worker::took_effect(ApplianceLoad& load, FlowVerdict verdict) {
  ++(verdict == FlowVerdict::drop ? load.flows_dropped : load.flows_passed);
}

// Which packets of a load the inspector is still to be shown. Where no verdict has been given since
// the worker took it into use, that is all of them, and the worker has prepared it.
void ApplianceEngine::Worker::look(ApplianceLoad& load) {
  using Sight = FlowVerdicts::Sight;
  load.flows_passed = load.flows_dropped = 0;
  if (!load.counting && load.decisions == decisions_.load(std::memory_order_relaxed)) return;
  load.shown_count = 0;
  for (uint32_t i = 0; i < load.batch->count; ++i) {
    bool effective = false;
    const Sight sight = flows_->sight_of(load.flow[i], load.batch->length[i], &effective);
    if (sight != Sight::show) {
      hide(load, i, sight);
      continue;
    }
    load.shown[load.shown_count++] = static_cast<uint16_t>(i);
    if (!effective) continue;
    const bool drop = flows_->standing(load.flow[i]) == Sight::drop;
    took_effect(load, drop ? FlowVerdict::drop : FlowVerdict::pass);
  }
  if (load.shown_count == load.batch->count) return;
  load.shadow->show(load.shown, load.shown_count);
  for (uint32_t v = 0; v < load.shown_count; ++v) load.describe(v, load.shown[v]);
}

int ApplianceEngine::Worker::next_batch() {
  for (;;) {
    if (thread_.stopping()) return -1;
    int number = ready_.pop();
    if (number < 0) {
      // A load pushed before this store did not cause a call of tell_; the second look finds it.
      told_.store(false);
      number = ready_.pop();
      if (number < 0) return -1;
      told_.store(true);
    }
    ApplianceLoad& next = load(number);
    next.held = true;
    lent_.push_back(static_cast<uint32_t>(number));
    look(next);
    next.shadow->clear_verdicts(next.shown_count);
    if (next.shown_count > 0) return number;
    release(number);
  }
}

bool ApplianceEngine::Worker::decide(int number, uint32_t i, FlowVerdict verdict,
                                     appliance::After after) {
  using Sight = FlowVerdicts::Sight;
  ApplianceLoad& from = load(number);
  GWLB_ASSERT(from.held && i < from.batch->count);
  const appliance::FlowRef flow = from.flow[i];
  if (!flows_->decide(flow, verdict, after)) return false;
  decisions_.store(decisions_.load(std::memory_order_relaxed) + 1, std::memory_order_release);
  if (after.reached()) {
    took_effect(from, verdict);
    if (verdict == FlowVerdict::direct) from.appliance->set_direct(i);
  }
  for (uint32_t k = i + 1; k < from.batch->count; ++k) {
    if (!(from.flow[k] == flow) || from.hidden[k]) continue;
    bool effective = false;
    const Sight sight = flows_->sight_of(flow, from.batch->length[k], &effective);
    if (sight != Sight::show) hide(from, k, sight);
    if (effective) took_effect(from, verdict);
  }
  const Sight standing = flows_->standing(flow);
  if (standing == Sight::show) return true;
  for (const uint32_t other : lent_) {
    ApplianceLoad& later = loads_[other];
    if (static_cast<int32_t>(later.sequence - from.sequence) <= 0) continue;
    for (uint32_t k = 0; k < later.batch->count; ++k) {
      if (later.flow[k] == flow && !later.hidden[k]) hide(later, k, standing);
    }
  }
  return true;
}

void ApplianceEngine::Worker::take_verdicts(int number) {
  ApplianceLoad& from = load(number);
  if (!from.shadow->drops_any(from.shown_count)) return;
  for (uint32_t v = 0; v < from.shown_count; ++v) {
    const uint32_t i = from.shown[v];
    if (from.shadow->drops(v) && !from.hidden[i] && from.batch->pending(i)) {
      from.batch->drop(i, DropReason::appliance_verdict);
    }
  }
}

bool ApplianceEngine::Worker::release(int number) {
  if (number < 0 || static_cast<uint32_t>(number) >= config_.batches || loads_.empty()) {
    return false;
  }
  ApplianceLoad& given = load(number);
  if (!given.held) return false;
  given.held = false;
  lent_.erase(std::find(lent_.begin(), lent_.end(), static_cast<uint32_t>(number)));
  returned_.push(static_cast<uint32_t>(number));
  thread_.wake();
  return true;
}

ApplianceEngine::ApplianceEngine(const ApplianceEngineConfig& config, std::function<void()> ready)
    : worker_(std::make_unique<Worker>(config, std::move(ready))) {}
ApplianceEngine::~ApplianceEngine() { stop(); }

io::OsError ApplianceEngine::start(const ApplianceEngineConfig& config, std::function<void()> ready,
                                   std::unique_ptr<ApplianceEngine>* out) {
  GWLB_ASSERT(config.batches >= 1 && config.batches <= kBatchesMax);
  GWLB_ASSERT(config.gateway_port != 0);
  std::unique_ptr<ApplianceEngine> engine(new ApplianceEngine(config, std::move(ready)));
  io::UdpConfig udp = config.udp;
  udp.datagram_bytes_max = stride_of(config) - base::kHeadroom;
  io::OsError error;
  if (config.offline) {
    auto offline = std::make_shared<Offline>(udp.datagram_bytes_max);
    engine->offline_ = offline.get();
    error = engine->open(std::move(offline));
  } else {
    engine->losses_.begin(udp.netns, udp.ipv6);
    std::unique_ptr<io::UdpReturnPort> port;
    error = io::UdpReturnPort::open(udp, config.return_ports, &port);
    if (!error.ok()) return error;
    engine->port_number_ = port->port();
    error = engine->start_on(std::move(port));
  }
  if (error.ok()) *out = std::move(engine);
  return error;
}

io::OsError ApplianceEngine::start_on(const ApplianceEngineConfig& config,
                                      std::shared_ptr<io::Port> port, std::function<void()> ready,
                                      std::unique_ptr<ApplianceEngine>* out) {
  std::unique_ptr<ApplianceEngine> engine(new ApplianceEngine(config, std::move(ready)));
  const io::OsError error = engine->start_on(std::move(port));
  if (error.ok()) *out = std::move(engine);
  return error;
}

io::OsError ApplianceEngine::start_on(std::shared_ptr<io::Port> port) {
  const io::OsError error = open(std::move(port));
  return error.ok() ? worker_->start() : error;
}

io::OsError ApplianceEngine::open(std::shared_ptr<io::Port> port) {
  port_ = std::move(port);
  offloads_ = port_->offloads();
  return worker_->open(port_, offline_);
}

uint16_t ApplianceEngine::port() const { return port_number_; }
bool ApplianceEngine::sends_trains() const { return offloads_.uso; }
bool ApplianceEngine::receives_trains() const { return offloads_.gro; }
int ApplianceEngine::next_batch() { return worker_->next_batch(); }
PacketBatch& ApplianceEngine::batch(int number) { return *worker_->load(number).batch; }
Appliance& ApplianceEngine::appliance(int number) { return *worker_->load(number).appliance; }
ApplianceLoad& ApplianceEngine::load(int number) { return worker_->load(number); }
bool ApplianceEngine::decide(int number, uint32_t i, FlowVerdict verdict, appliance::After after) {
  return worker_->decide(number, i, verdict, after);
}
void ApplianceEngine::take_verdicts(int number) { worker_->take_verdicts(number); }
bool ApplianceEngine::release(int number) { return worker_->release(number); }
uint32_t ApplianceEngine::batches() const { return worker_->config().batches; }
bool ApplianceEngine::set_inspect(bool inspect, const appliance::Filter& filter) {
  return worker_->set_inspect(inspect, filter);
}
void ApplianceEngine::forget_flows() { worker_->forget_flows(); }
const std::shared_ptr<uint64_t[]>& ApplianceEngine::counters() const {
  return worker_->counters().words();
}
bool ApplianceEngine::failed(io::OsError* error) const { return worker_->failed(error); }

void ApplianceEngine::put(uint16_t id, std::vector<uint8_t> datagram) {
  GWLB_ASSERT(offline_ != nullptr);
  offline_->in.push_back({id, std::move(datagram)});
}

void ApplianceEngine::pump(uint32_t now_ms) {
  GWLB_ASSERT(offline_ != nullptr);
  offline_->now_ms = now_ms;
  worker_->pump();
}

std::vector<Offline::Outcome> ApplianceEngine::take_outcomes() {
  GWLB_ASSERT(offline_ != nullptr);
  return std::exchange(offline_->out, {});
}

void ApplianceEngine::count_losses() {
  if (port_ == nullptr) return;
  const io::PortCounters now = port_->counters();
  losses_.update(now.lost);
  appliance::Counters& counters = worker_->counters();
  counters.set_drops(DropReason::receive_overflow, losses_.overflow());
  counters.set_drops(DropReason::outer_bad_checksum, losses_.bad_checksum());
  counters.set_drops(DropReason::device_overflow, tun_drops_.load(std::memory_order_relaxed));
  counters.set(appliance::ApplianceCounter::packets_other_port, now.other_port);
}

void ApplianceEngine::stop() {
  const std::lock_guard<std::mutex> slow(slow_);
  stopped_ = true;
  worker_->stop();
  detach();
  if (offline_ != nullptr || port_ == nullptr) return;
  count_losses();
  port_.reset();
}

}  // namespace gwlb::engine
