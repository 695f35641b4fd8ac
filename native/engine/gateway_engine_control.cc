// What the engine's workers are told and asked between batches.
#include <algorithm>
#include <cerrno>
#include <cstring>

#include "base/assert.h"
#include "engine/gateway_engine.h"
#include "engine/worker.h"

namespace gwlb::engine {

namespace {

// Recorded packets that a worker copies between two batches: a tenth of a millisecond.
constexpr uint64_t kPiecePackets = 4096;

}  // namespace

uint64_t GatewayEngine::now_ms() const { return monotonic_ms(); }

Offloads GatewayEngine::offloads() const {
  const std::lock_guard<std::mutex> lock(mutex_);
  return offloads_;
}

gateway::Counters& GatewayEngine::counters(uint32_t worker) {
  const std::lock_guard<std::mutex> lock(mutex_);
  GWLB_ASSERT(worker < workers_.size());
  return workers_[worker]->gateway().counters();
}

// Threads that are about to end take no commands.
void GatewayEngine::on_workers(const std::function<void(GatewayWorker&)>& command) {
  if (life_ == Life::stopping) return;
  for (const auto& worker : workers_) worker->post_command(command);
  for (const auto& worker : workers_) worker->wait_command();
}

// One worker after the other, so that the others go on.
void GatewayEngine::one_by_one(const std::function<void(GatewayWorker&)>& command) {
  const std::lock_guard<std::mutex> lock(mutex_);
  if (life_ == Life::stopping) return;
  for (const auto& worker : workers_) {
    worker->post_command(command);
    worker->wait_command();
  }
}

void GatewayEngine::configure(const gateway::LiveConfig& live,
                              std::shared_ptr<const select::TargetTable> table) {
  const std::lock_guard<std::mutex> lock(mutex_);
  on_workers([&](GatewayWorker& worker) {
    worker.gateway().configure(live);
    if (table != nullptr) worker.gateway().set_targets(table);
  });
}

void GatewayEngine::set_cookie_key(const base::HashKey& key, uint32_t overlap_ms) {
  const std::lock_guard<std::mutex> lock(mutex_);
  const uint64_t now = now_ms();
  on_workers([&](GatewayWorker& worker) { worker.gateway().set_cookie_key(key, now, overlap_ms); });
}

io::OsError GatewayEngine::set_recording(uint64_t bytes, uint32_t window_ms) {
  const std::lock_guard<std::mutex> slow(slow_);
  std::vector<std::unique_ptr<RecordRing>> rings(worker_count_);
  const uint64_t packets = bytes / sizeof(RecordedPacket) / worker_count_;
  for (auto& ring : rings) {
    if (bytes == 0) break;
    ring = RecordRing::create(static_cast<uint32_t>(packets), window_ms);
    if (ring == nullptr) return {ENOMEM, "malloc", "recording"};
  }
  size_t next = 0;
  one_by_one([&](GatewayWorker& worker) { worker.set_recording(std::move(rings[next++])); });
  return {};
}

// In pieces, between which packets go on: what is overwritten meanwhile is lost.
void GatewayEngine::read_recording(std::vector<RecordedPacket>* out, uint64_t* lost) {
  const std::lock_guard<std::mutex> slow(slow_);
  const uint64_t now = now_ms();
  *lost = 0;
  std::vector<uint64_t> from(worker_count_, 0);
  std::vector<uint64_t> end(worker_count_, 0);
  one_by_one([&](GatewayWorker& worker) {
    const RecordRing* ring = worker.recording();
    if (ring == nullptr) return;
    from[worker.index()] = ring->begin();
    end[worker.index()] = ring->end();
    *lost += ring->lost();
  });
  uint64_t all = 0;
  for (uint32_t k = 0; k < worker_count_; ++k) all += end[k] - from[k];
  out->reserve(all);
  for (uint32_t k = 0; k < worker_count_; ++k) {
    while (from[k] < end[k]) {
      const uint64_t next = std::min(from[k] + kPiecePackets, end[k]);
      const std::lock_guard<std::mutex> lock(mutex_);
      GatewayWorker& worker = *workers_[k];
      worker.post_command([&](GatewayWorker& it) {
        const RecordRing& ring = *it.recording();
        *lost += std::min(std::max(ring.begin(), from[k]), next) - from[k];
        ring.read(from[k], next, now,
                  [out](const RecordedPacket& packet) { out->push_back(packet); });
      });
      worker.wait_command();
      from[k] = next;
    }
  }
}

// All workers' tables have one size, so that one cursor serves them all.
void GatewayEngine::preview(const select::TargetTable& table, uint32_t positions, uint32_t* cursor,
                            std::vector<gateway::FlowMove>* out) {
  const uint32_t from = *cursor;
  *cursor = 0;
  const std::lock_guard<std::mutex> lock(mutex_);
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
  const std::lock_guard<std::mutex> lock(mutex_);
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
  if (length > kDatagramBytesMax) return false;
  const std::lock_guard<std::mutex> lock(mutex_);
  if (life_ != Life::running) return false;
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
  const std::lock_guard<std::mutex> lock(mutex_);
  return life_ == Life::running ? sender_->drain_unreachable(out, max) : 0;
}

uint32_t GatewayEngine::drain_events(gateway::FlowEvent* out, uint32_t max) {
  const std::lock_guard<std::mutex> lock(mutex_);
  uint32_t n = 0;
  for (const auto& worker : workers_) n += worker->gateway().drain_events(out + n, max - n);
  return n;
}

void GatewayEngine::discard_events() {
  const std::lock_guard<std::mutex> lock(mutex_);
  for (const auto& worker : workers_) worker->gateway().discard_events();
}

void GatewayEngine::end_flows(uint32_t positions, uint32_t* cursor,
                              std::vector<gateway::FlowEvent>* out) {
  const uint32_t from = *cursor;
  const uint64_t now = now_ms();
  *cursor = 0;
  const std::lock_guard<std::mutex> lock(mutex_);
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

bool GatewayEngine::failed(io::OsError* error) const {
  const std::lock_guard<std::mutex> lock(mutex_);
  for (const auto& worker : workers_) {
    if (worker->failed(error)) return true;
  }
  return false;
}

}  // namespace gwlb::engine
