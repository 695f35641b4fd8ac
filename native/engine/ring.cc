#include "engine/ring.h"

#include <cstdlib>
#include <cstring>

#include "base/assert.h"

namespace gwlb::engine {

std::unique_ptr<PacketRing> PacketRing::create(uint32_t slots, uint32_t slot_bytes) {
  GWLB_ASSERT(slots >= 1 && (slots & (slots - 1)) == 0);
  std::unique_ptr<PacketRing> ring(new PacketRing());
  ring->mask_ = slots - 1;
  ring->slot_bytes_ = slot_bytes;
  ring->stride_ = static_cast<uint32_t>((sizeof(Record) + slot_bytes + 63) / 64 * 64);
  const size_t bytes = size_t{slots} * ring->stride_;
  ring->block_ = static_cast<uint8_t*>(std::aligned_alloc(64, bytes));
  if (ring->block_ == nullptr) return nullptr;
  std::memset(ring->block_, 0, bytes);
  return ring;
}

PacketRing::~PacketRing() { std::free(block_); }

// Where `length` bytes of packet i go, or null.
uint8_t* PacketRing::begin_push(const batch::PacketBatch& batch, uint32_t i, uint32_t length,
                                PacketKind kind) {
  if (length > slot_bytes_) return nullptr;
  if (pushed_ - head_seen_ > mask_) {
    head_seen_ = head_.load(std::memory_order_acquire);
    if (pushed_ - head_seen_ > mask_) return nullptr;
  }
  const Record record{length, batch.address[i], batch.port[i], batch.endpoint[i], batch.tos[i],
                      kind};
  uint8_t* to = slot(pushed_);
  std::memcpy(to, &record, sizeof record);
  return to + sizeof record;
}

bool PacketRing::push(const batch::PacketBatch& batch, uint32_t i, PacketKind kind) {
  uint8_t* to = begin_push(batch, i, batch.length[i], kind);
  if (to == nullptr) return false;
  std::memcpy(to, batch.packet(i), batch.length[i]);
  ++pushed_;
  return true;
}

bool PacketRing::push_segment(const batch::PacketBatch& batch, uint32_t i,
                              const wire::SuperPacket& super, uint32_t k) {
  const uint32_t length = super.headers + wire::segment_payload(super, k);
  uint8_t* to = begin_push(batch, i, length, PacketKind::ingress);
  if (to == nullptr) return false;
  wire::write_segment(super, k, to);
  ++pushed_;
  return true;
}

uint32_t PacketRing::pop(batch::PacketBatch& batch, PacketKind* kind) {
  GWLB_ASSERT(batch.slot_bytes() >= slot_bytes_);
  const uint32_t tail = tail_.load(std::memory_order_acquire);
  uint32_t head = head_.load(std::memory_order_relaxed);
  batch.count = 0;
  while (head != tail && batch.count < batch.capacity()) {
    const uint8_t* from = slot(head);
    Record record;
    std::memcpy(&record, from, sizeof record);
    if (batch.count == 0) *kind = record.kind;
    if (record.kind != *kind) break;
    const uint32_t i = batch.count++;
    batch.reset(i, record.length);
    batch.address[i] = record.address;
    batch.port[i] = record.port;
    batch.endpoint[i] = record.endpoint;
    batch.tos[i] = record.tos;
    std::memcpy(batch.packet(i), from + sizeof record, record.length);
    ++head;
  }
  head_.store(head, std::memory_order_release);
  return batch.count;
}

}  // namespace gwlb::engine
