// The packet loop. Construction, control and devices are in worker_control.cc.
#include "engine/worker.h"

#include <sys/epoll.h>

#include <algorithm>
#include <cstring>

#include "base/assert.h"
#include "engine/steer.h"
#include "wire/segment.h"

namespace gwlb::engine {

using base::DropReason;
using batch::PacketBatch;
using batch::Verdict;

namespace {

// With fragments held, this often.
constexpr int kHeldTickMs = 10;
// How much of the walk over the flow tables is one round's, for the packets' sake, in positions of
// both. Ending a flow costs as much as passing by eight. Pieces are so small that even one in which
// every flow is over takes half of the 50 us there are (bench/native/sweep_bench.cc).
constexpr uint32_t kSweepCostMax = 2048;
constexpr uint32_t kSweepPiece = 256;
constexpr uint32_t kEndCost = 8;

// Of a super-packet that has just been read.
bool parse_super(const PacketBatch& batch, uint32_t i, wire::SuperPacket* super) {
  return wire::parse_super_packet(batch.packet(i), batch.length[i], batch.segment[i], super);
}

}  // namespace

void GatewayWorker::run() {
  swept_ms_ = monotonic_ms();
  while (!thread_.stopping()) {
    wait();
    thread_.run_commands();
    round(monotonic_ms());
  }
}

bool GatewayWorker::step(uint64_t now_ms) {
  if (now_ms_ == 0) swept_ms_ = now_ms;
  poll_ports(0);
  round(now_ms);
  return !idle() || asked();
}

void GatewayWorker::round(uint64_t now_ms) {
  now_ms_ = now_ms;
  sweep();
  read_devices();
  read_tunnel();
  read_rings();
  read_held();
}

// Everything others do that may wake this worker.
bool GatewayWorker::asked() const {
  if (thread_.asked()) return true;
  for (const auto& ring : rings_) {
    if (ring != nullptr && !ring->empty()) return true;
  }
  return false;
}

bool GatewayWorker::idle() const { return !tunnel_.hot && hot_.empty() && sweep_due_ == 0; }

void GatewayWorker::wait() {
  int timeout_ms = 0;
  if (idle()) {
    thread_.will_sleep();
    if (!asked())
      timeout_ms = gateway_->holding() ? kHeldTickMs : gateway_->flows() != 0 ? kTickMs : -1;
  }
  poll_ports(timeout_ms);
  thread_.is_awake();
}

void GatewayWorker::poll_ports(int timeout_ms) {
  epoll_event events[kEventsMax];
  const int n = epoll_wait(epoll_, events, kEventsMax, timeout_ms);
  for (int k = 0; k < n; ++k) {
    const uint64_t source = events[k].data.u64;
    if (source == kSourceWakeup) {
      thread_.clear_wake();
    } else if (source == kSourceTunnel) {
      tunnel_.hot = true;
    } else if (!devices_[source].source.hot) {
      devices_[source].source.hot = true;
      hot_.push_back(static_cast<uint16_t>(source));
    }
  }
}

uint32_t sweep_piece(gateway::Gateway& gateway, uint64_t now_ms, uint64_t due) {
  uint32_t done = 0, cost = 0;
  do {
    const auto positions = static_cast<uint32_t>(std::min<uint64_t>(due - done, kSweepPiece));
    cost += positions + kEndCost * gateway.sweep(now_ms, positions);
    done += positions;
  } while (done < due && cost < kSweepCostMax);
  return done;
}

// Also tells the core what time it is, before this round's packets.
void GatewayWorker::sweep() {
  const uint64_t elapsed_ms = std::min<uint64_t>(now_ms_ - swept_ms_, kTickMs);
  swept_ms_ = now_ms_;
  // An empty table needs no walk, and must not keep the worker awake.
  sweep_due_ = gateway_->flows() == 0 ? 0 : sweep_due_ + elapsed_ms * sweep_per_ms_;
  sweep_due_ -= sweep_piece(*gateway_, now_ms_, sweep_due_);
}

void GatewayWorker::read_devices() {
  size_t kept = 0;
  for (size_t k = 0; k < hot_.size(); ++k) {
    const uint16_t endpoint = hot_[k];
    Source& source = devices_[endpoint].source;
    source.hot = false;
    if (source.port == nullptr) continue;
    io::OsError error;
    if (read(source, PacketKind::ingress, endpoint, &error)) hot_[kept++] = endpoint;
    if (!error.ok()) lose_device(endpoint);
  }
  hot_.resize(kept);
}

void GatewayWorker::read_tunnel() {
  if (!tunnel_.hot) return;
  io::OsError error;
  read(tunnel_, PacketKind::datagram, base::kNoEndpoint, &error);
  if (error.ok()) return;
  stop_reading();
  thread_.fail(error);
}

// A batch of what a source has, and what came with it. Returns whether there may be more.
bool GatewayWorker::read(Source& source, PacketKind kind, uint16_t endpoint, io::OsError* error) {
  io::Rest rest;
  do {
    rest = io::Rest::none;
    if (source.reader().receive(*batch_, endpoint, &rest, error) == 0) break;
    count_input_drops();
    process(kind);
  } while (rest == io::Rest::in_batch && error->ok());
  source.hot = rest != io::Rest::none && error->ok();
  return source.hot;
}

void GatewayWorker::read_rings() {
  for (const auto& ring : rings_) {
    PacketKind kind;
    if (ring == nullptr || ring->pop(*batch_, &kind) == 0) continue;
    decide(kind);
    emit();
  }
}

void GatewayWorker::read_held() {
  if (!gateway_->holding() || gateway_->take_held(*batch_, now_ms_) == 0) return;
  gateway_->to_targets(*batch_, now_ms_);
  emit();
}

void GatewayWorker::process(PacketKind kind) {
  if (config_.workers > 1) hand_over(kind);
  decide(kind);
  emit();
}

void GatewayWorker::decide(PacketKind kind) {
  if (kind == PacketKind::ingress) {
    gateway_->to_targets(*batch_, now_ms_);
  } else {
    gateway_->from_targets(*batch_, now_ms_);
  }
}

void GatewayWorker::hand_over(PacketKind kind) {
  PacketBatch& batch = *batch_;
  const base::HashKey& key = config_.gateway.hash_key;
  uint64_t touched = 0;
  static_assert(base::kWorkersMax <= 64);
  for (uint32_t i = 0; i < batch.count; ++i) {
    if (!batch.pending(i)) continue;
    const auto owner_of = kind == PacketKind::ingress ? owner_of_packet : owner_of_datagram;
    const uint32_t owner =
        owner_of(key, batch.packet(i), batch.length[i], config_.workers, config_.index);
    if (owner == config_.index) continue;
    if (push(*workers_[owner]->rings_[config_.index], i, kind)) {
      touched |= uint64_t{1} << owner;
    }
  }
  for (; touched != 0; touched &= touched - 1) {
    GatewayWorker& owner = *workers_[static_cast<uint32_t>(__builtin_ctzll(touched))];
    owner.rings_[config_.index]->publish();
    owner.thread_.wake();
  }
}

// Puts packet i into the owner's ring, a super-packet cut into its packets: the slots of a ring
// take one packet each. False where nothing of it went.
bool GatewayWorker::push(PacketRing& ring, uint32_t i, PacketKind kind) {
  PacketBatch& batch = *batch_;
  const uint32_t packets = batch.packets[i];
  uint32_t pushed = 0;
  wire::SuperPacket super;
  if (batch.longest(i) > ring.slot_bytes()) {
    batch.drop(i, DropReason::receive_truncated);
  } else if (!batch.is_super(i)) {
    pushed = ring.push(batch, i, kind) ? 1 : 0;
  } else if (parse_super(batch, i, &super)) {
    while (pushed < packets && ring.push_segment(batch, i, super, pushed)) ++pushed;
  }
  if (batch.pending(i)) batch.drop(i, DropReason::worker_ring_full);
  if (pushed < packets) {
    gateway_->counters().drop(static_cast<DropReason>(batch.reason[i]), packets - pushed);
  }
  if (pushed != 0) batch.verdict[i] = static_cast<uint8_t>(Verdict::moved);
  return pushed != 0;
}

// True where packet i has to be sent to the endpoint's peer. One that leaves by a device waits for
// write_devices().
bool GatewayWorker::leave_by_endpoint(uint32_t i) {
  PacketBatch& batch = *batch_;
  const uint16_t endpoint = batch.endpoint[i];
  GWLB_ASSERT(endpoint < base::kEndpointsMax);
  Device& device = devices_[endpoint];
  if (device.source.port == nullptr) {
    if (gateway_->endpoint(endpoint).kind == gateway::EndpointKind::geneve) return true;
    batch.drop(i, DropReason::endpoint_has_no_device);
    return false;
  }
  leaving_next_[i] = kEnd;
  if (device.first == kEnd) {
    device.first = static_cast<uint16_t>(i);
    leaving_.push_back(endpoint);
  } else {
    leaving_next_[device.last] = static_cast<uint16_t>(i);
  }
  device.last = static_cast<uint16_t>(i);
  return false;
}

void GatewayWorker::write_devices() {
  PacketBatch& batch = *batch_;
  uint16_t packets[base::kEngineBatchPackets];
  for (const uint16_t endpoint : leaving_) {
    Device& device = devices_[endpoint];
    uint32_t n = 0;
    for (uint16_t i = device.first; i != kEnd; i = leaving_next_[i]) packets[n++] = i;
    device.first = kEnd;
    device.source.port->send(batch, packets, n);
  }
  leaving_.clear();
}

void GatewayWorker::emit() {
  PacketBatch& batch = *batch_;
  uint16_t tunnelled[base::kEngineBatchPackets];
  uint32_t n = 0;
  uint8_t decided[base::kEngineBatchPackets];
  uint16_t packets[base::kEngineBatchPackets];
  std::memcpy(decided, batch.verdict, batch.count);
  std::memcpy(packets, batch.packets, batch.count * sizeof packets[0]);
  for (uint32_t i = 0; i < batch.count; ++i) {
    bool by_tunnel = false;
    switch (static_cast<Verdict>(batch.verdict[i])) {
      case Verdict::forward:
        by_tunnel = gateway_->leaves_to_target(i) || leave_by_endpoint(i);
        break;
      case Verdict::reply:
      case Verdict::bypass:
        by_tunnel = leave_by_endpoint(i);
        break;
      default:
        break;
    }
    if (by_tunnel) tunnelled[n++] = static_cast<uint16_t>(i);
  }
  write_devices();
  if (n != 0) tunnel_.port->send(batch, tunnelled, n);
  gateway_->count_sent(batch);
  for (uint32_t i = 0; i < batch.count; ++i) {
    if (batch.verdict[i] != decided[i]) {
      gateway_->count_unsent(batch, i, static_cast<Verdict>(decided[i]), packets[i]);
    }
  }
}

// What input has put into the batch as drops.
void GatewayWorker::count_input_drops() {
  const PacketBatch& batch = *batch_;
  for (uint32_t i = 0; i < batch.count; ++i) {
    if (batch.verdict[i] != static_cast<uint8_t>(Verdict::drop)) continue;
    gateway_->counters().drop(static_cast<DropReason>(batch.reason[i]), batch.packets[i]);
  }
}

}  // namespace gwlb::engine
