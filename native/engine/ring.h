// Packets on their way from one worker to another: bounded, one producer, one consumer, copied into
// fixed slots. What does not fit is the producer's to drop.
//
//   slot = record (what else the owner has to know) | the packet's bytes
//
// The producer pushes a batch and publishes once; the consumer sees all of it or nothing.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>

#include "batch/packet_batch.h"
#include "wire/segment.h"

namespace gwlb::engine {

// Which half of the gateway a packet goes through.
enum class PacketKind : uint8_t {
  ingress = 0,   // a bare packet of batch.endpoint[i]
  datagram = 1,  // a UDP payload from batch.address[i]:port[i] with tos[i]
};

class PacketRing {
 public:
  // `slots` a power of two; `slot_bytes` the largest packet. Pages are touched here. Null where
  // memory is refused.
  static std::unique_ptr<PacketRing> create(uint32_t slots, uint32_t slot_bytes);
  ~PacketRing();
  PacketRing(const PacketRing&) = delete;
  PacketRing& operator=(const PacketRing&) = delete;

  uint32_t slots() const { return mask_ + 1; }
  uint32_t slot_bytes() const { return slot_bytes_; }

  // Producer. Copies packet i of the batch; false where the ring is full or the packet larger than
  // a slot. Nothing is visible to the consumer before publish().
  bool push(const batch::PacketBatch& batch, uint32_t i, PacketKind kind);
  // Segment k of super-packet i, as a packet of its own.
  bool push_segment(const batch::PacketBatch& batch, uint32_t i, const wire::SuperPacket& super,
                    uint32_t k);
  // Sequentially consistent, because the producer then asks whether the consumer sleeps, while the
  // consumer says that it will sleep and then asks empty().
  void publish() { tail_.store(pushed_, std::memory_order_seq_cst); }

  // Consumer. Fills the batch from slot 0 with packets of one kind, in order, until the kind
  // changes, the batch is full or the ring is empty. Returns batch.count.
  uint32_t pop(batch::PacketBatch& batch, PacketKind* kind);
  bool empty() const {
    return head_.load(std::memory_order_relaxed) == tail_.load(std::memory_order_seq_cst);
  }

 private:
  struct Record {
    uint32_t length;
    uint32_t address;
    uint16_t port;
    uint16_t endpoint;
    uint8_t tos;
    PacketKind kind;
  };

  PacketRing() = default;
  uint8_t* begin_push(const batch::PacketBatch& batch, uint32_t i, uint32_t length,
                      PacketKind kind);
  uint8_t* slot(uint32_t position) const { return block_ + size_t{position & mask_} * stride_; }

  uint8_t* block_ = nullptr;
  uint32_t mask_ = 0;
  uint32_t stride_ = 0;
  uint32_t slot_bytes_ = 0;

  // The producer's: next position to write, and the last head it saw.
  alignas(64) uint32_t pushed_ = 0;
  uint32_t head_seen_ = 0;
  alignas(64) std::atomic<uint32_t> tail_{0};
  alignas(64) std::atomic<uint32_t> head_{0};
};

}  // namespace gwlb::engine
