// The worker thread of an ApplianceEngine.
#include "engine/appliance_worker.h"

#include <poll.h>

#include <algorithm>
#include <cstring>

#include "base/assert.h"

namespace gwlb::engine {

using appliance::Appliance;
using appliance::ApplianceCounter;
using appliance::FlowVerdicts;
using appliance::Opened;
using base::DropReason;
using batch::PacketBatch;
using batch::Verdict;

namespace {

// Places of each flow table that are looked at for idle flows beside each batch: more than a batch
// can fill.
constexpr uint32_t kSweepPlaces = 2 * base::kEngineBatchPackets;

// How many batches are received before packets go to the inspector: at four microseconds a packet
// that is a millisecond.
constexpr uint32_t kFillingBatches = 4;

}  // namespace

uint64_t ApplianceEngine::Worker::now_ms() const {
  return offline_ != nullptr ? offline_->now_ms : monotonic_ms();
}

void ApplianceEngine::Worker::run() {
  while (!thread_.stopping()) {
    thread_.run_commands();
    bool worked = take_back();
    if (settings_changed()) apply_settings();
    if (may_read()) worked |= read_once();
    if (reads_devices()) worked |= devices_->read(*port_, counters_, now_ms());
    if (!worked) sleep();
  }
  take_back();
  abandon();
}

// What was received under other settings is returned first: nothing overtakes it.
void ApplianceEngine::Worker::apply_settings() {
  if (filling_ != kNoLoad && !wanted_.inspect) {
    // Nobody takes it any more.
    loads_[filling_].released = true;
    filling_ = kNoLoad;
    finish_in_order();
  }
  if (filling_ != kNoLoad) hand_over();
  if (order_count_ > 0) return;
  if (wanted_.forgets != settings_.forgets && flows_ != nullptr) {
    flows_->clear();
    counters_.add(ApplianceCounter::flows_ended, flows_->take_ended());
  }
  settings_ = wanted_;
  changed_ = false;
}

// Room for a whole batch, whatever becomes of its packets.
bool ApplianceEngine::Worker::may_read() const {
  if (thread_.has_failed() || settings_changed()) return false;
  if (!settings_.inspect) return true;
  const uint32_t batch = direct_->capacity();
  const auto has_room = [&](uint32_t number, const std::vector<uint32_t>& others) {
    return !others.empty() || (number != kNoLoad && loads_[number].room() >= batch);
  };
  return has_room(filling_, free_) && has_room(waiting_, free_waiting_);
}

bool ApplianceEngine::Worker::read_once() {
  if (receive() == 0) return false;
  open_packets();
  if (settings_.inspect) divert();
  finish(*direct_, *opener_, nullptr);
  // A wake-up of the inspector costs as much as hundreds of packets: a load grows until it is full,
  // has waited for a few batches, or there is nothing to read.
  if (filling_ != kNoLoad &&
      (++filling_age_ >= kFillingBatches || loads_[filling_].room() < direct_->capacity())) {
    hand_over();
  }
  return true;
}

uint32_t ApplianceEngine::Worker::receive() {
  io::OsError error;
  rest_ = io::Rest::none;
  const uint32_t packets = port_->receive(*direct_, base::kNoEndpoint, &rest_, &error);
  if (!error.ok()) fail(error);
  if (packets > 0) counters_.add(ApplianceCounter::packets_received, packets);
  return packets;
}

void ApplianceEngine::Worker::open_packets() {
  PacketBatch& batch = *direct_;
  opener_->open(batch);
  uint64_t bytes = 0;
  for (uint32_t i = 0; i < batch.count; ++i) {
    const Opened& opened = opener_->opened(i);
    bytes += opened.length;
    if (!opened.is_open()) continue;
    for (const appliance::DropRule& rule : config_.drop) {
      if (!appliance::matches(rule, opened.inner)) continue;
      opener_->drop(batch, i, DropReason::appliance_verdict);
      break;
    }
  }
  counters_.add(ApplianceCounter::bytes_received, bytes);
}

// Moves what the inspector is to see into a load, and what must not overtake it into another;
// applies the verdicts on flows to the rest.
void ApplianceEngine::Worker::divert() {
  PacketBatch& batch = *direct_;
  FlowVerdicts& flows = *flows_;
  flows.look_up(batch, *opener_, now_ms());
  Sums passed;
  Sums dropped;
  uint64_t unmatched = 0;
  uint64_t untracked = 0;
  for (uint32_t i = 0; i < batch.count; ++i) {
    const Opened& opened = opener_->opened(i);
    if (!opened.is_open()) continue;
    const FlowVerdicts::Way way = flows.way_of(i);
    if (way == FlowVerdicts::Way::drop) {
      ++dropped.packets;
      dropped.bytes += opened.length;
      opener_->drop(batch, i, DropReason::appliance_verdict);
    } else if (way != FlowVerdicts::Way::inspect) {
      if (way == FlowVerdicts::Way::direct) opener_->set_direct(i);
      ++passed.packets;
      passed.bytes += opened.length;
      if (flows.under_way(i, finished_)) put(&waiting_, true, i);
    } else if (!settings_.filter.matches(opened.inner)) {
      ++unmatched;
    } else if (put(&filling_, false, i)) {
      untracked += flows.had_no_room() ? 1 : 0;
    }
  }
  flows.sweep(kSweepPlaces);
  counters_.add(ApplianceCounter::flow_packets_passed, passed.packets);
  counters_.add(ApplianceCounter::flow_bytes_passed, passed.bytes);
  counters_.add(ApplianceCounter::flow_packets_dropped, dropped.packets);
  counters_.add(ApplianceCounter::flow_bytes_dropped, dropped.bytes);
  counters_.add(ApplianceCounter::packets_unmatched, unmatched);
  counters_.add(ApplianceCounter::packets_untracked, untracked);
  counters_.add(ApplianceCounter::flows_ended, flows.take_ended());
}

// Takes a load into use, behind all others.
uint32_t ApplianceEngine::Worker::open_load(bool waits) {
  std::vector<uint32_t>& free = waits ? free_waiting_ : free_;
  GWLB_ASSERT(!free.empty());
  const uint32_t number = free.back();
  free.pop_back();
  ApplianceLoad& load = loads_[number];
  load.batch->count = 0;
  load.sequence = next_sequence_++;
  load.waits = waits;
  load.released = waits;
  load.decisions = decisions_.load(std::memory_order_acquire);
  load.counting = false;
  load.flows_passed = load.flows_dropped = load.shown_count = 0;
  order_[(order_head_ + order_count_++) % order_.size()] = number;
  return number;
}

// Moves packet i into the current load of its kind. False where it is larger than a slot: then it
// is dropped.
bool ApplianceEngine::Worker::put(uint32_t* current, bool waits, uint32_t i) {
  if (*current != kNoLoad && loads_[*current].room() == 0) {
    if (!waits) hand_over();
    *current = kNoLoad;
  }
  if (*current == kNoLoad) *current = open_load(waits);
  ApplianceLoad& load = loads_[*current];
  const uint32_t n = load.batch->count;
  if (!load.appliance->take(*load.batch, *opener_, *direct_, i)) {
    opener_->drop(*direct_, i, DropReason::receive_truncated);
    return false;
  }
  load.flow[n] = flows_->enter(i, load.sequence);
  load.counting |= flows_->is_counting();
  load.hidden[n] = false;
  if (!waits) load.describe(n, n);
  return true;
}

void ApplianceEngine::Worker::hand_over() {
  loads_[filling_].show_all();
  ready_.push(filling_);
  filling_ = kNoLoad;
  filling_age_ = 0;
  notify();
}

// Sends what is left of a batch, and counts what became of its packets.
void ApplianceEngine::Worker::finish(PacketBatch& batch, Appliance& appliance,
                                     const ApplianceLoad* load) {
  if (devices_ != nullptr) devices_->enter(batch, appliance, counters_, now_ms());
  appliance.close(batch, config_.gateway_port);
  uint16_t leaving[base::kBatchPacketsMax];
  uint32_t n = 0;
  for (uint32_t i = 0; i < batch.count; ++i) {
    if (batch.verdict[i] != static_cast<uint8_t>(Verdict::forward)) continue;
    leaving[n++] = static_cast<uint16_t>(i);
  }
  if (n > 0) port_->send(batch, leaving, n);
  if (offline_ != nullptr) tell_outcomes(batch, appliance, load);

  Sums returned;
  uint64_t rewritten = 0;
  uint64_t rejected = 0;
  for (uint32_t i = 0; i < batch.count; ++i) {
    const Opened& opened = appliance.opened(i);
    if (batch.verdict[i] == static_cast<uint8_t>(Verdict::moved)) continue;
    if (batch.verdict[i] == static_cast<uint8_t>(Verdict::drop)) {
      counters_.drop(static_cast<DropReason>(batch.reason[i]));
      continue;
    }
    ++returned.packets;
    returned.bytes += opened.length;
    rewritten += opened.rewritten ? 1 : 0;
    rejected += opened.rejected ? 1 : 0;
  }
  counters_.add(ApplianceCounter::bytes_returned, returned.bytes);
  counters_.add(ApplianceCounter::packets_rewritten, rewritten);
  counters_.add(ApplianceCounter::packets_rejected, rejected);
  counters_.add(ApplianceCounter::packets_returned, returned.packets);
}

void ApplianceEngine::Worker::finish(ApplianceLoad& load) {
  PacketBatch& batch = *load.batch;
  if (!load.waits) {
    // Those that waited have been counted when they came.
    Sums passed;
    Sums dropped;
    for (uint32_t i = 0; i < batch.count; ++i) {
      if (!load.hidden[i]) continue;
      const bool drop = batch.verdict[i] == static_cast<uint8_t>(Verdict::drop);
      Sums& sums = drop ? dropped : passed;
      ++sums.packets;
      sums.bytes += batch.length[i];
    }
    const uint64_t hidden = passed.packets + dropped.packets;
    counters_.add(ApplianceCounter::packets_inspected, batch.count - hidden);
    counters_.add(ApplianceCounter::flow_packets_passed, passed.packets);
    counters_.add(ApplianceCounter::flow_bytes_passed, passed.bytes);
    counters_.add(ApplianceCounter::flow_packets_dropped, dropped.packets);
    counters_.add(ApplianceCounter::flow_bytes_dropped, dropped.bytes);
    counters_.add(ApplianceCounter::flows_passed, load.flows_passed);
    counters_.add(ApplianceCounter::flows_dropped, load.flows_dropped);
  }
  finish(batch, *load.appliance, &load);
  finished_ = load.sequence;
  for (uint32_t i = 0; i < batch.count; ++i) flows_->settle(load.flow[i], load.sequence);
}

bool ApplianceEngine::Worker::take_back() {
  bool worked = false;
  for (int number = returned_.pop(); number >= 0; number = returned_.pop()) {
    loads_[static_cast<size_t>(number)].released = true;
    worked = true;
  }
  if (worked) finish_in_order();
  return worked;
}

void ApplianceEngine::Worker::finish_in_order() {
  while (order_count_ > 0 && loads_[order_[order_head_]].released) {
    const uint32_t number = order_[order_head_];
    order_head_ = (order_head_ + 1) % static_cast<uint32_t>(order_.size());
    --order_count_;
    ApplianceLoad& load = loads_[number];
    load.released = false;
    if (number == waiting_) waiting_ = kNoLoad;
    finish(load);
    (load.waits ? free_waiting_ : free_).push_back(number);
  }
}

void ApplianceEngine::Worker::tell_outcomes(const PacketBatch& batch, const Appliance& appliance,
                                            const ApplianceLoad* load) {
  for (uint32_t i = 0; i < batch.count; ++i) {
    if (batch.verdict[i] == static_cast<uint8_t>(Verdict::moved)) continue;
    const Opened& opened = appliance.opened(i);
    const bool drop = batch.verdict[i] == static_cast<uint8_t>(Verdict::drop);
    Offline::Outcome outcome = {};
    // A returned packet has the gateway's port by now, and the one that it came from beside it.
    outcome.id = drop ? batch.port[i] : batch.source_port[i];
    outcome.shown = load != nullptr && !load->waits && !load->hidden[i];
    outcome.rewritten = opened.rewritten;
    outcome.rejected = opened.rejected;
    if (drop) {
      outcome.reason = static_cast<DropReason>(batch.reason[i]);
    } else {
      outcome.bytes.assign(batch.packet(i), batch.packet(i) + batch.length[i]);
    }
    offline_->out.push_back(std::move(outcome));
  }
}

void ApplianceEngine::Worker::pump() {
  for (bool worked = true; worked;) {
    worked = take_back();
    if (settings_changed()) apply_settings();
    if (may_read()) worked |= read_once();
    if (!worked && filling_ != kNoLoad) hand_over();
  }
}

void ApplianceEngine::Worker::sleep() {
  if (filling_ != kNoLoad) {
    hand_over();
    return;
  }
  thread_.will_sleep();
  const bool settings = settings_changed() && order_count_ == 0;
  const bool packets = rest_ != io::Rest::none && may_read();
  if (!thread_.asked() && returned_.empty() && !settings && !packets) {
    pollfd waits[3] = {{thread_.wake_fd(), POLLIN, 0},
                       {may_read() ? port_->fd() : -1, POLLIN, 0},
                       {reads_devices() ? devices_->fd() : -1, POLLIN, 0}};
    poll(waits, 3, reads_devices() ? devices_->tick_ms() : -1);
    // A wake-up that comes too late for this poll ends the next one.
    if (waits[0].revents != 0) thread_.clear_wake();
  }
  thread_.is_awake();
}

void ApplianceEngine::Worker::set_devices(ApplianceDevices* devices) {
  between_batches([this, devices] { devices_ = devices; });
}

void ApplianceEngine::Worker::fail(const io::OsError& error) {
  port_->lose();
  thread_.fail(error);
  if (tell_) tell_();
}

// What the inspector has not given back in time, and what waits for that. Loads may be in use: of
// theirs only what the worker alone writes is read.
void ApplianceEngine::Worker::abandon() {
  for (; order_count_ > 0; --order_count_) {
    counters_.drop(DropReason::appliance_stopped, loads_[order_[order_head_]].batch->count);
    order_head_ = (order_head_ + 1) % static_cast<uint32_t>(order_.size());
  }
}

}  // namespace gwlb::engine
