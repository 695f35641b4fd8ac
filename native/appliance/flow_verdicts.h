// Verdicts on whole flows. An inspector that has seen enough of a flow says so, and later packets
// of it, in both directions, are passed or dropped by native code.
//
// Two threads: the worker, which looks flows up and keeps the tables, and the inspector's, which
// gives verdicts on packets that it holds. They share one word for each place of a table:
//
//   generation of the place, 29 bits | none, counting, pass, drop or direct
//
// Packets that wait for the inspector carry place and generation. A verdict is a compare-and-swap
// of that word, so one that comes too late (the flow has ended, its place may be another's) does
// nothing.
//
// A flow is in a table while it has a verdict, and while packets of it are under way to the
// inspector and back: `sequence` of its entry is the number of the last load that has one. So a
// table holds the flows that verdicts were given on, and a bounded number of others. Nothing is
// allocated after create().
//
// A flow is the scope (endpoint id and VNI) with the inner 5-tuple, or the 3-tuple of protocols
// without ports; both directions are one. Later fragments have the ports of their first one, as far
// as that has been seen, and ICMP errors the flow that they quote, without making one.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>

#include "appliance/appliance.h"
#include "appliance/scopes.h"
#include "batch/packet_batch.h"
#include "flow/flow_table.h"
#include "flow/fragments.h"

namespace gwlb::appliance {

// `direct` passes, past the kernel where there is a device.
enum class FlowVerdict : uint8_t { pass = 2, drop = 3, direct = 4 };

// How much of the flow the inspector wants to see before its verdict takes effect; whichever is
// reached first.
struct After {
  uint64_t packets = UINT64_MAX;
  uint64_t bytes = UINT64_MAX;
  bool reached() const { return packets == 0 || bytes == 0; }
};
inline constexpr After kAtOnce = {0, 0};

// The flow of a packet that is under way to the inspector.
struct FlowRef {
  uint32_t place = flow::kNoFlow;
  uint32_t generation = 0;
  bool known() const { return place != flow::kNoFlow; }
  bool operator==(const FlowRef&) const = default;
};

struct FlowLimits {
  uint32_t flows_ipv4 = 65536;
  uint32_t flows_ipv6 = 16384;
  uint32_t trains = 4096;  // of fragments
  uint32_t tcp_idle_ms = 350'000;
  uint32_t other_idle_ms = 120'000;
};

class FlowVerdicts {
 public:
  static constexpr uint32_t kClosedIdleMs = 15'000;  // after FIN both ways
  static constexpr uint32_t kResetIdleMs = 10'000;   // after RST, unless traffic goes on

  // Null where memory is refused.
  static std::unique_ptr<FlowVerdicts> create(const FlowLimits& limits, const base::HashKey& key);

  // --- The worker's thread.

  // Finds the flows of all open packets of a batch (which has to stay as it is), for the calls
  // below.
  void look_up(const batch::PacketBatch& batch, const Appliance& appliance, uint64_t now_ms);

  // What becomes of packet i, an open one; to be asked in the order of the packets. A TCP SYN on a
  // flow that was past its handshake is a new connection, on which there is no verdict.
  enum class Way : uint8_t { inspect, pass, drop, direct };
  Way way_of(uint32_t i);

  // Whether packets of packet i's flow may still be on their way in a load that is not finished;
  // `finished` is the last one that is. To be asked where way_of() said pass or direct.
  bool under_way(uint32_t i, uint32_t finished);

  // Packet i goes into the load of this sequence. An unknown ref where its flow has no room, or it
  // is an ICMP error about an unknown flow, or a later fragment of an unknown train.
  FlowRef enter(uint32_t i, uint32_t sequence);
  // Whether an unknown ref of enter() was for want of room.
  bool had_no_room() const { return no_room_; }
  // Whether enter() was for a flow that a verdict counts down for.
  bool is_counting() const { return counting_; }

  // The load of this sequence is finished; for every packet that entered it.
  void settle(FlowRef ref, uint32_t sequence);

  // Ends flows that have been idle, among the next `positions` places.
  void sweep(uint32_t positions);
  // Ends all flows.
  void clear();
  // Flows that have ended since this was asked last.
  uint32_t take_ended() {
    const uint32_t ended = ended_;
    ended_ = 0;
    return ended;
  }
  uint32_t flows() const { return families_.ipv4.table->size() + families_.ipv6.table->size(); }

  // --- The inspector's thread, about packets that it holds.

  // False where the ref is unknown or the flow has ended.
  bool decide(FlowRef ref, FlowVerdict verdict, After after);

  // What a packet of the flow, of so many bytes, meets now: it is to be shown, or the flow has its
  // verdict. Counts it. `*effective`: with it the verdict took effect for the packets that follow.
  enum class Sight : uint8_t { show, pass, drop, direct };
  Sight sight_of(FlowRef ref, uint64_t bytes, bool* effective);
  // The same without counting.
  Sight standing(FlowRef ref) const;

 private:
  // State of a place's word.
  enum Decision : uint32_t { kNone = 0, kCounting = 1, kPass = 2, kDrop = 3, kDirect = 4 };
  static constexpr uint32_t kDecisionBits = 3;
  static Decision decision_of(uint32_t word) {
    return static_cast<Decision>(word & ((1u << kDecisionBits) - 1));
  }
  static uint32_t generation_of(uint32_t word) { return word >> kDecisionBits; }
  static constexpr uint32_t kIpv6 = 1u << 31;  // in FlowRef::place

  struct Note {
    std::atomic<uint32_t> word{0};
    // The inspector's thread alone.
    uint32_t verdict = 0;
    After after;
  };

  // What is known of a packet of the batch.
  struct Keyed {
    uint16_t at;  // in its family's keys, or kNoKey
    uint16_t scope;
    uint8_t version;
    uint8_t tcp_flags;
    bool is_tcp;
    bool quoted;
    bool low_to_high;
  };

  template <class Key>
  struct Family {
    std::unique_ptr<flow::FlowTable<Key>> table;
    std::unique_ptr<Note[]> notes;
    // Of the batch that was looked up.
    uint32_t count = 0;
    Key keys[base::kBatchPacketsMax];
    uint64_t hashes[base::kBatchPacketsMax];
    uint32_t index[base::kBatchPacketsMax];

    bool create(uint32_t flows);
    void add_key(const wire::InnerPacket& part, const base::HashKey& key, Keyed* keyed);
  };
  struct Families {
    Family<flow::FlowKey4> ipv4;
    Family<flow::FlowKey6> ipv6;
  };
  static constexpr uint16_t kNoKey = 0xffff;

  FlowVerdicts(const FlowLimits& limits, const base::HashKey& key);
  bool make_key(const uint8_t* packet, const Opened& opened, Keyed* keyed);
  void observe(const Keyed& keyed, flow::FlowState* state) const;
  void forget(Note* note);
  template <class Key>
  Way way_in(Family<Key>& family, const Keyed& keyed);
  template <class Key>
  FlowRef enter_in(Family<Key>& family, const Keyed& keyed, uint32_t sequence, uint32_t bit);
  template <class Key>
  void settle_in(Family<Key>& family, uint32_t index, uint32_t sequence);
  template <class Key>
  void end_in(Family<Key>& family, uint32_t index);
  template <class Key>
  void sweep_in(Family<Key>& family, uint32_t positions);
  template <class Key>
  void clear_in(Family<Key>& family);
  Note& note_of(FlowRef ref) const {
    const uint32_t index = ref.place & ~kIpv6;
    return (ref.place & kIpv6) != 0 ? families_.ipv6.notes[index] : families_.ipv4.notes[index];
  }

  uint32_t idle_ms_[flow::kIdleClasses] = {};
  base::HashKey key_;
  Scopes scopes_;
  std::unique_ptr<flow::FragmentTable> fragments_;
  uint64_t now_ms_ = 0;
  uint32_t ended_ = 0;
  bool no_room_ = false;
  bool counting_ = false;
  Families families_;
  Keyed keyed_[base::kBatchPacketsMax];
};

}  // namespace gwlb::appliance
