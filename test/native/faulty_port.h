// What a network does to packets, as a wrapper of any port: loses, doubles, reorders and corrupts,
// the same way for the same seed and the same calls. Both ways; it also counts what the worker read
// and what it could send, before a fault after which nobody knows.
#pragma once

#include <atomic>
#include <cstring>
#include <deque>
#include <memory>
#include <utility>
#include <vector>

#include "io/port.h"
#include "test/native/packets.h"

namespace gwlb::test {

// Of a thousand packets.
struct Faults {
  uint32_t lost = 0;
  uint32_t doubled = 0;
  uint32_t late = 0;
  uint32_t corrupt = 0;
};

class FaultyPort final : public io::Port {
 public:
  FaultyPort(std::shared_ptr<io::Port> of, const Faults& faults, uint64_t seed)
      : of_(std::move(of)), faults_(faults), random_(seed * 2 + 1) {}

  // Any thread. Packets, each of a super-packet.
  uint64_t received() const { return received_.load(); }
  uint64_t sent() const { return sent_.load(); }

  int fd() const override { return of_->fd(); }
  uint32_t receive(batch::PacketBatch& batch, uint16_t endpoint, io::Rest* rest,
                   io::OsError* error) override;
  void send(batch::PacketBatch& batch, const uint16_t* packets, uint32_t n) override;
  io::PortOffloads offloads() const override { return of_->offloads(); }
  io::PortCounters counters() override { return of_->counters(); }
  io::LinkState state() const override { return of_->state(); }
  void lose() override { of_->lose(); }

 private:
  // A packet that comes again, or later.
  struct Kept {
    Bytes bytes;
    uint32_t address;
    uint16_t port;
    uint8_t tos;
    uint16_t packets, headers, segment;
    batch::OuterPath path;
  };

  uint32_t random() {
    random_ = random_ * 6364136223846793005 + 1442695040888963407;
    return static_cast<uint32_t>(random_ >> 33);
  }
  bool happens(uint32_t of_thousand) { return random() % 1000 < of_thousand; }
  void keep(const batch::PacketBatch& batch, uint32_t i);
  void corrupt(batch::PacketBatch& batch, uint32_t i);
  uint32_t suffer(batch::PacketBatch& batch);
  uint32_t give_kept(batch::PacketBatch& batch, uint16_t endpoint);

  const std::shared_ptr<io::Port> of_;
  const Faults faults_;
  uint64_t random_;
  std::deque<Kept> kept_;
  bool in_batch_ = false;  // what of_ has left there
  std::atomic<uint64_t> received_{0};
  std::atomic<uint64_t> sent_{0};
};

// Packet `from` is packet `to` from now on.
inline void move_packet(batch::PacketBatch& batch, uint32_t to, uint32_t from) {
#define GWLB_FIELD(name, type) batch.name[to] = batch.name[from];
  GWLB_BATCH_FIELDS(GWLB_FIELD)
#undef GWLB_FIELD
  batch.begin[to] = batch.begin[from];
  batch.end[to] = batch.end[from];
  batch.inner[to] = batch.inner[from];
  batch.packets[to] = batch.packets[from];
  batch.lost_bytes[to] = batch.lost_bytes[from];
  batch.segment[to] = batch.segment[from];
  batch.headers[to] = batch.headers[from];
  batch.fragment[to] = batch.fragment[from];
  if (batch.paths != nullptr) batch.paths[to] = batch.paths[from];
}

inline void FaultyPort::keep(const batch::PacketBatch& batch, uint32_t i) {
  Kept kept;
  kept.bytes.assign(batch.packet(i), batch.packet(i) + batch.length[i]);
  kept.address = batch.address[i];
  kept.port = batch.port[i];
  kept.tos = batch.tos[i];
  kept.packets = batch.packets[i];
  kept.headers = batch.headers[i];
  kept.segment = batch.segment[i];
  if (batch.paths != nullptr) kept.path = batch.paths[i];
  kept_.push_back(std::move(kept));
}

// Some bits of it, or its end. Super-packets are the kernel's own, which it has checked.
inline void FaultyPort::corrupt(batch::PacketBatch& batch, uint32_t i) {
  if (batch.is_super(i) || batch.length[i] == 0) return;
  if (random() % 4 == 0) {
    batch.length[i] = random() % batch.length[i];
    return;
  }
  for (uint32_t n = 1 + random() % 3; n > 0; --n) {
    // Headers matter most.
    const uint32_t span = random() % 2 == 0 ? std::min(batch.length[i], 80u) : batch.length[i];
    batch.packet(i)[random() % span] ^= static_cast<uint8_t>(1u << random() % 8);
  }
}

// Returns how many of the batch are left.
inline uint32_t FaultyPort::suffer(batch::PacketBatch& batch) {
  uint32_t left = 0;
  for (uint32_t i = 0; i < batch.count; ++i) {
    if (batch.pending(i)) {
      if (happens(faults_.lost)) continue;
      if (happens(faults_.doubled)) keep(batch, i);
      if (happens(faults_.late)) {
        keep(batch, i);
        continue;
      }
      if (happens(faults_.corrupt)) corrupt(batch, i);
    }
    if (left != i) move_packet(batch, left, i);
    ++left;
  }
  batch.count = left;
  return left;
}

inline uint32_t FaultyPort::give_kept(batch::PacketBatch& batch, uint16_t endpoint) {
  batch.count = 0;
  for (; !kept_.empty() && batch.count < batch.capacity(); kept_.pop_front()) {
    const Kept& kept = kept_.front();
    const uint32_t i = batch.count++;
    batch.reset(i, static_cast<uint32_t>(kept.bytes.size()));
    if (!kept.bytes.empty()) std::memcpy(batch.packet(i), kept.bytes.data(), kept.bytes.size());
    batch.endpoint[i] = endpoint;
    batch.address[i] = kept.address;
    batch.port[i] = kept.port;
    batch.tos[i] = kept.tos;
    if (kept.segment != 0) batch.make_super(i, kept.packets, kept.headers, kept.segment);
    if (batch.paths != nullptr) batch.paths[i] = kept.path;
  }
  return batch.count;
}

inline uint32_t FaultyPort::receive(batch::PacketBatch& batch, uint16_t endpoint, io::Rest* rest,
                                    io::OsError* error) {
  uint32_t left = 0;
  if (!in_batch_ && !kept_.empty() && random() % 2 == 0) {
    left = give_kept(batch, endpoint);
    *rest = io::Rest::some;
  } else {
    do {
      const uint32_t got = of_->receive(batch, endpoint, rest, error);
      left = got == 0 ? 0 : suffer(batch);
      in_batch_ = *rest == io::Rest::in_batch;
    } while (left == 0 && *rest != io::Rest::none && error->ok());
    if (left == 0 && error->ok()) left = give_kept(batch, endpoint);
    if (*rest == io::Rest::none && !kept_.empty()) *rest = io::Rest::some;
  }
  uint64_t packets = 0;
  for (uint32_t i = 0; i < left; ++i) packets += batch.packets[i];
  received_ += packets;
  return left;
}

inline void FaultyPort::send(batch::PacketBatch& batch, const uint16_t* packets, uint32_t n) {
  std::vector<uint16_t> go, again;
  std::vector<uint32_t> lengths(batch.length, batch.length + batch.count);
  uint64_t all = 0;
  for (uint32_t k = 0; k < n; ++k) {
    const uint16_t i = packets[k];
    all += batch.packets[i];
    if (happens(faults_.lost)) continue;
    if (happens(faults_.corrupt)) corrupt(batch, i);
    if (happens(faults_.doubled) && !batch.is_super(i)) again.push_back(i);
    go.push_back(i);
    if (go.size() > 1 && happens(faults_.late)) std::swap(go.back(), go[go.size() - 2]);
  }
  if (!go.empty()) of_->send(batch, go.data(), static_cast<uint32_t>(go.size()));
  for (const uint16_t i : go) {
    const bool refused = batch.verdict[i] == static_cast<uint8_t>(batch::Verdict::drop);
    all -= refused ? batch.packets[i] : 0;
  }
  sent_ += all;
  for (const uint16_t i : again) {
    // The first one has gone or not; the second is nobody's.
    const uint8_t verdict = batch.verdict[i], reason = batch.reason[i];
    of_->send(batch, &i, 1);
    batch.verdict[i] = verdict;
    batch.reason[i] = reason;
  }
  // What the worker sent was whole.
  for (const uint16_t i : go) batch.length[i] = lengths[i];
}

}  // namespace gwlb::test
