// A batch of packets: one block of memory that native code owns and JavaScript views.
//
//   block = descriptors (structure of arrays, each array on its own cache lines) | slots
//
// Each packet has a slot of `stride` bytes. The packet itself is `length[i]` bytes at
// `block() + offset[i]`; the bytes in front of it inside the slot are headroom, into which
// encapsulation writes, and which decapsulation gives back. No packet is ever copied.
//
// Offloads bend this in two ways, both unknown to JavaScript. With slots of kSlotStrideTrain a slot
// may hold a train: several datagrams that came in one receive, one behind the other. Then packet i
// is not in slot i, and may only use [begin[i], end[i]) of the block. And one packet may be a
// super-packet, which stands for packets[i] packets of segment[i] payload bytes each (the last may
// be shorter), all with the same `headers[i]` bytes of headers; it is cut where it leaves. So is
// what leaves in IP fragments of fragment[i] payload bytes, of a super-packet each packet that is
// longer.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>

#include "base/drop_reason.h"
#include "base/limits.h"

namespace gwlb::batch {

// `reply`: the packet was dropped and rewritten into an answer to its sender. `held`: a later
// fragment that waits for its first one; the gateway keeps a copy. `probe`: no flow's packet, a
// data-path check that came back, and is in the counters.
#define GWLB_VERDICTS(X)                                                         \
  X(pending) /* not decided yet                                             */   \
  X(forward) /* send it where target/address/port or endpoint say           */   \
  X(drop)    /* reason[i] says why                                          */   \
  X(reply)   /* send it out by endpoint[i]; reason[i] is that of the drop   */   \
  X(bypass)  /* forwarded uninspected (fail open): send it out by endpoint[i] */ \
  X(moved)   /* another worker took it over                                 */   \
  X(held)                                                                        \
  X(probe)

#define GWLB_X(name) name,
enum class Verdict : uint8_t { GWLB_VERDICTS(GWLB_X) };
#undef GWLB_X
#define GWLB_X(name) #name,
inline constexpr const char* kVerdictNames[] = {GWLB_VERDICTS(GWLB_X)};
#undef GWLB_X

// One row of the descriptor layout: field name, element type, what it means.
// Everything is in host byte order, addresses too (10.0.0.1 is 0x0a000001).
#define GWLB_BATCH_FIELDS(FIELD)                                                                  \
  FIELD(hash, uint64_t)    /* keyed hash of the flow key                                   */     \
  FIELD(offset, uint32_t)  /* first byte of the packet, from the start of the block        */     \
  FIELD(length, uint32_t)  /* bytes of the packet                                          */     \
  FIELD(address, uint32_t) /* outer IPv4 peer: source when received, destination to send   */     \
  FIELD(cookie, uint32_t)  /* cookie of the packet's flow, 0 where it has none             */     \
  FIELD(port, uint16_t)    /* outer UDP peer port: source when received, destination to send */   \
  FIELD(source_port, uint16_t) /* outer UDP source port to send from, as a flow-stable index   */ \
  FIELD(target, uint16_t)      /* slot of the target, or kNoTarget                             */ \
  FIELD(endpoint, uint16_t)    /* index of the endpoint, or kNoEndpoint                        */ \
  FIELD(verdict, uint8_t)      /* Verdict                                                      */ \
  FIELD(reason, uint8_t)       /* DropReason where the verdict is drop                         */ \
  FIELD(tos, uint8_t)          /* outer IPv4 TOS byte as received                              */ \
  FIELD(flags, uint8_t)        /* PacketFlags                                                  */

enum PacketFlags : uint8_t {
  kFlowIsNew = 1,    // this packet made the flow's entry
  kFlowIsMoved = 2,  // this packet moved its flow to another target
  kWasHeld = 4,      // this packet was held by the gateway and is counted already
};

// Between which outer addresses a datagram came: IPv6, or IPv4 mapped into it (RFC 4291 §2.5.5.2).
struct OuterPath {
  uint8_t local[16];
  uint8_t peer[16];
  uint32_t interface;  // its index, where one of them is link-local; else 0
  bool operator==(const OuterPath&) const = default;
};

class PacketBatch {
 public:
  // `capacity` 1..kBatchPacketsMax; `stride` a multiple of 64 above kHeadroom. Null where memory is
  // refused. Pages are touched here, not in the packet loop.
  static std::unique_ptr<PacketBatch> create(uint32_t capacity, uint32_t stride);
  ~PacketBatch();
  PacketBatch(const PacketBatch&) = delete;
  PacketBatch& operator=(const PacketBatch&) = delete;

  uint32_t capacity() const { return capacity_; }
  uint32_t stride() const { return stride_; }
  // Bytes of a slot behind the headroom: the largest packet that can be received into it.
  uint32_t slot_bytes() const { return stride_ - base::kHeadroom; }

  uint8_t* block() { return block_; }
  size_t block_bytes() const { return block_bytes_; }

  uint8_t* slot(uint32_t i) { return block_ + slots_offset_ + size_t{i} * stride_; }
  uint32_t slot_offset(uint32_t i) const {
    return static_cast<uint32_t>(slots_offset_ + size_t{i} * stride_);
  }
  uint8_t* packet(uint32_t i) { return block_ + offset[i]; }
  const uint8_t* packet(uint32_t i) const { return block_ + offset[i]; }
  // Free bytes in front of and behind packet i, its own to use.
  uint32_t headroom(uint32_t i) const { return offset[i] - begin[i]; }
  uint32_t tailroom(uint32_t i) const { return end[i] - offset[i] - length[i]; }

  // The inner packets that packet i stands for, and bytes of those: 1 and `length` but for
  // super-packets. Bytes are right while the packet is bare (as it entered).
  uint64_t bytes(uint32_t i) const {
    return length[i] + uint64_t{headers[i]} * (packets[i] - uint32_t{1});
  }
  // The longest of them.
  uint32_t longest(uint32_t i) const {
    return segment[i] == 0 ? length[i] : headers[i] + uint32_t{segment[i]};
  }
  bool is_super(uint32_t i) const { return segment[i] != 0; }
  bool is_fragmented(uint32_t i) const { return fragment[i] != 0; }
  bool leaves_in_pieces(uint32_t i) const { return (segment[i] | fragment[i]) != 0; }
  // Bytes of the k-th packet that packet i stands for, once inner[i] is set.
  uint32_t inner_bytes(uint32_t i, uint32_t k) const {
    const uint32_t all = length[i] - (inner[i] - offset[i]);
    if (segment[i] == 0) return all;
    const uint32_t before = headers[i] + k * uint32_t{segment[i]};
    return headers[i] + (all - before < segment[i] ? all - before : segment[i]);
  }
  // Packet i stands for `count` packets from now on; its IP header is its first byte now.
  void make_super(uint32_t i, uint16_t count, uint16_t header_bytes, uint16_t segment_bytes) {
    inner[i] = offset[i];
    packets[i] = count;
    headers[i] = header_bytes;
    segment[i] = segment_bytes;
  }
  // Packet i leaves in fragments of so many payload bytes (wire/fragment.h); its IP header is its
  // first byte now.
  void make_fragmented(uint32_t i, uint16_t payload_bytes) {
    inner[i] = offset[i];
    fragment[i] = payload_bytes;
  }
  // Packet i is one packet from now on.
  void make_ordinary(uint32_t i) {
    segment[i] = headers[i] = fragment[i] = 0;
    packets[i] = 1;
  }

  // Puts packet i at the standard place (behind the headroom) with `bytes` length, undecided.
  void reset(uint32_t i, uint32_t bytes) {
    place(i, slot_offset(i) + base::kHeadroom, bytes, slot_offset(i), slot_offset(i) + stride_);
  }

  // Puts packet i at `at` of the block, undecided, with [from, to) to use.
  void place(uint32_t i, uint32_t at, uint32_t bytes, uint32_t from, uint32_t to) {
    begin[i] = from;
    end[i] = to;
    make_ordinary(i);
    offset[i] = at;
    length[i] = bytes;
    hash[i] = 0;
    address[i] = 0;
    cookie[i] = 0;
    port[i] = 0;
    source_port[i] = 0;
    target[i] = base::kNoTarget;
    endpoint[i] = base::kNoEndpoint;
    verdict[i] = static_cast<uint8_t>(Verdict::pending);
    reason[i] = 0;
    tos[i] = 0;
    flags[i] = 0;
  }

  void drop(uint32_t i, base::DropReason why) {
    verdict[i] = static_cast<uint8_t>(Verdict::drop);
    reason[i] = static_cast<uint8_t>(why);
  }
  // From now on the receiver writes paths[i], and what sends answers by it.
  void keep_paths() { paths.reset(new OuterPath[capacity_]()); }
  bool pending(uint32_t i) const { return verdict[i] == static_cast<uint8_t>(Verdict::pending); }

  // Packets in use; slots 0..count-1.
  uint32_t count = 0;

#define GWLB_FIELD(name, type) type* name = nullptr;
  GWLB_BATCH_FIELDS(GWLB_FIELD)
#undef GWLB_FIELD

  // Bounds of the packet's memory, and what makes a super-packet; native code's alone.
  uint32_t begin[base::kBatchPacketsMax];
  uint32_t end[base::kBatchPacketsMax];
  uint32_t inner[base::kBatchPacketsMax];  // offset of the IP header of what leaves
  uint16_t packets[base::kBatchPacketsMax];
  // Of a super-packet that did not go as a whole: bytes of its packets that did not.
  uint32_t lost_bytes[base::kBatchPacketsMax];
  uint16_t segment[base::kBatchPacketsMax];
  uint16_t headers[base::kBatchPacketsMax];
  uint16_t fragment[base::kBatchPacketsMax];
  // Null where `address` says all: the socket has one IPv4 address.
  std::unique_ptr<OuterPath[]> paths;

  // Where each descriptor array starts in the block, for the JavaScript view.
  struct FieldLayout {
    const char* name;
    uint32_t element_bytes;
    uint32_t offset;
  };
  static constexpr uint32_t kFields = 0
#define GWLB_FIELD(name, type) +1
      GWLB_BATCH_FIELDS(GWLB_FIELD)
#undef GWLB_FIELD
      ;
  void layout(FieldLayout (&out)[kFields]) const;

 private:
  PacketBatch() = default;
  uint32_t capacity_ = 0;
  uint32_t stride_ = 0;
  uint8_t* block_ = nullptr;
  size_t block_bytes_ = 0;
  size_t slots_offset_ = 0;
};

}  // namespace gwlb::batch
