// The way back of packets that leave an appliance for the kernel (a TUN device) and come out of it
// again without their GENEVE headers. Of every flow, in each direction, the newest header is kept:
// outer addresses, UDP port, the GENEVE header with all options byte for byte, and what Ethernet is
// in front of the inner packet.
//
//   flow table:  (device, 5-tuple) -> index
//   slots:       two for each index, low to high end and back; 64 B each:
//                peer 4 | port 2 | length 2 | header, up to 56 bytes (usual: 40, Ethernet 54)
//   beside them: the rest of a longer header; outer addresses, where there are several
//
// A packet that comes out of the kernel goes by the header of its flow and direction; where no
// packet of that direction has come (the answers of a two-armed NAT, what the kernel makes itself),
// by the other direction's. An ICMP error goes with the flow it quotes, a later fragment with its
// first one. What came is not looked up by its contents: a packet that the kernel sends twice goes
// twice.
//
// The table is bounded and evicts as the gateway's does: flows whose ends have not shown that they
// hear each other are on probation, a quarter of the table; a flood of first packets costs only
// those an entry. Nothing is allocated after create(); but the memory of headers beyond 56 bytes is
// the system's until such a header comes.
//
// One thread owns it; flows() is anybody's.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>

#include "appliance/appliance.h"
#include "appliance/flow_part.h"
#include "batch/packet_batch.h"
#include "flow/flow_table.h"
#include "flow/fragments.h"
#include "flow/pages.h"
#include "flow/probation.h"

namespace gwlb::appliance {

struct ReturnLimits {
  uint32_t flows_ipv4 = 65536;
  uint32_t flows_ipv6 = 16384;
  uint32_t trains = 8192;  // of fragments; of a datagram that comes back there are two
  uint32_t tcp_idle_ms = 350'000;
  uint32_t other_idle_ms = 120'000;
};

class ReturnHeaders {
 public:
  // `paths`: batches keep them (PacketBatch::keep_paths). Null where memory is refused.
  static std::unique_ptr<ReturnHeaders> create(const ReturnLimits& limits, bool paths,
                                               const base::HashKey& key);

  // packets[0..n) of the batch, open ones, are about to enter the kernel by device endpoint[i].
  // why[k] becomes none where the header of packets[k] is now the newest of its flow and direction;
  // otherwise the packet must not enter: device_flow_limit, or of ICMP errors (which make no flow)
  // icmp_no_flow or icmp_bad_quote.
  void learn(const batch::PacketBatch& batch, const Appliance& appliance, const uint16_t* packets,
             uint32_t n, uint64_t now_ms, base::DropReason* why);

  // Packets of the batch came out of the kernel by device endpoint[i]. Each that is not a drop
  // already gets its header in front, the peer's address and path, `gateway_port` and the port it
  // is to be sent from, and the verdict forward; or becomes a drop: device_unknown_flow,
  // icmp_bad_quote, no_headroom, or what parsing finds wrong.
  void give_back(batch::PacketBatch& batch, uint16_t gateway_port, uint64_t now_ms);

  // Ends flows that have been idle, a part of the table that depends on the time since the last
  // call: all of it in two seconds.
  void sweep(uint64_t now_ms);

  struct Flows {
    uint32_t ipv4, ipv6;
  };
  // Now; any thread may ask.
  Flows flows() const {
    return {families_.ipv4.size.load(std::memory_order_relaxed),
            families_.ipv6.size.load(std::memory_order_relaxed)};
  }
  // On probation, as far as they are there; walks the table. For tests.
  uint32_t unconfirmed() const;
  // Flows that gave way to newer ones since this was asked last.
  uint32_t take_evicted() {
    const uint32_t evicted = evicted_;
    evicted_ = 0;
    return evicted;
  }
  size_t memory_bytes() const;

 private:
  static constexpr uint32_t kShortBytes = 56;
  static constexpr uint32_t kLongBytes = base::kGeneveHeaderBytesMax - kShortBytes;
  static constexpr uint16_t kNoKey = 0xffff;

  struct Slot {
    uint32_t peer;
    uint16_t port;
    uint16_t length;
    uint8_t header[kShortBytes];
  };
  static_assert(sizeof(Slot) == 64);
  struct Rest {
    uint8_t header[kLongBytes];
  };

  // What is known of a packet of the batch.
  struct Keyed {
    uint16_t at;  // in its family's keys, or kNoKey
    uint8_t version;
    uint8_t tcp_flags;
    bool tcp;
    bool quoted;
    bool later;  // a later fragment
    bool low_to_high;
    bool opens() const {
      return tcp && (tcp_flags & (wire::kSyn | wire::kAck | wire::kRst)) == wire::kSyn;
    }
  };

  template <class Key>
  struct Family {
    std::unique_ptr<flow::FlowTable<Key>> table;
    std::unique_ptr<flow::Probation> probation;
    std::unique_ptr<flow::Pages> slots;  // two for each index: low to high, high to low
    std::unique_ptr<flow::Pages> rests;
    std::unique_ptr<flow::Pages> paths;  // batch::OuterPath
    uint64_t sweep_due = 0;
    std::atomic<uint32_t> size{0};
    // Of the batch that was looked up.
    uint32_t count = 0;
    Key keys[base::kBatchPacketsMax];
    uint64_t hashes[base::kBatchPacketsMax];
    uint32_t index[base::kBatchPacketsMax];

    bool create(uint32_t flows, bool with_paths);
    void look_up();
    void tell_size() { size.store(table->size(), std::memory_order_relaxed); }
    Slot& slot(uint32_t i, bool low_to_high) const {
      return static_cast<Slot*>(slots->data())[2 * size_t{i} + (low_to_high ? 0 : 1)];
    }
    Rest& rest(uint32_t i, bool low_to_high) const {
      return static_cast<Rest*>(rests->data())[2 * size_t{i} + (low_to_high ? 0 : 1)];
    }
    // Null where there is one outer address.
    batch::OuterPath* path(uint32_t i, bool low_to_high) const {
      if (paths == nullptr) return nullptr;
      return static_cast<batch::OuterPath*>(paths->data()) + 2 * size_t{i} + (low_to_high ? 0 : 1);
    }
  };
  struct Families {
    Family<flow::FlowKey4> ipv4;
    Family<flow::FlowKey6> ipv6;
  };

  explicit ReturnHeaders(const base::HashKey& key) : key_(key) {}
  bool make_key(const uint8_t* packet, const wire::InnerPacket& inner, uint16_t device,
                flow::FragmentTable::Pass pass, Keyed* keyed);
  void look_up();
  template <class Key>
  base::DropReason learn_in(Family<Key>& family, const Keyed& keyed,
                            const batch::PacketBatch& batch, const Opened& opened, uint32_t i);
  template <class Key>
  uint32_t find_or_make(Family<Key>& family, const Keyed& keyed);
  template <class Key>
  bool give_back_in(Family<Key>& family, const Keyed& keyed, const wire::InnerPacket& inner,
                    batch::PacketBatch& batch, uint32_t i);
  template <class Key>
  void evict_oldest(Family<Key>& family);
  template <class Key>
  void put_on_probation(Family<Key>& family, uint32_t index);
  template <class Key>
  void observe(Family<Key>& family, uint32_t index, const Keyed& keyed, const uint8_t* tcp);
  template <class Key>
  void track_tcp(Family<Key>& family, uint32_t index, const Keyed& keyed, const uint8_t* tcp);
  template <class Key>
  void store(Family<Key>& family, uint32_t index, bool low_to_high, const batch::PacketBatch& batch,
             const Opened& opened, uint32_t i);
  template <class Key>
  bool prepend(const Family<Key>& family, uint32_t index, bool low_to_high,
               batch::PacketBatch& batch, uint32_t i);
  template <class Key>
  void sweep_in(Family<Key>& family, uint64_t elapsed_ms);

  base::HashKey key_;
  std::unique_ptr<flow::FragmentTable> trains_;
  uint64_t now_ms_ = 0;
  uint64_t swept_ms_ = 0;
  uint32_t evicted_ = 0;
  bool evicts_ = false;  // while this batch is learnt, somebody gave way
  Families families_;
  Keyed keyed_[base::kBatchPacketsMax];
  wire::InnerPacket inner_[base::kBatchPacketsMax];
};

}  // namespace gwlb::appliance
