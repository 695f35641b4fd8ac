// What is known of the packets of one batch, between its first half and its second.
#pragma once

#include <cstring>
#include <new>

#include "base/limits.h"
#include "flow/flow_key.h"
#include "flow/fragments.h"
#include "wire/inner.h"

namespace gwlb::gateway {

// What one packet of the batch is, between classify and decide.
// `none`: it was decided before.
enum class Role : uint8_t { ingress, from_target, none };
inline flow::FragmentTable::Pass pass_of(Role role) {
  using Pass = flow::FragmentTable::Pass;
  return role == Role::ingress ? Pass::entering : Pass::returned;
}

enum Way : uint8_t {
  kLowToHigh = 1,  // from the low end of the flow to the high one
  // A packet as in the middle of a flow, and one packet: if its flow is as usual too, it goes where
  // those before it went.
  kUsual = 2,
};

// What deciding about a packet needs to know of it.
struct Seen {
  uint32_t key_at;       // place among the batch's keys of its family
  uint32_t cookie;       // Role::from_target: as the packet has it
  uint16_t source_slot;  // Role::from_target: who sent it
  uint8_t version;       // of the key, 4 or 6
  uint8_t protocol;
  uint8_t flags;  // wire::InnerFlags of the packet itself
  uint8_t tcp_flags;
  Role role;
  uint8_t way;  // Way
  // The key is that of an ICMP error's quoted packet.
  bool quoted() const { return (flags & wire::kIcmpError) != 0; }
  bool low_to_high() const { return (way & kLowToHigh) != 0; }
};
static_assert(sizeof(Seen) == 16);

// The batch's keys of one family, dense, for bulk hashing and lookup.
template <class Key>
struct Keys {
  uint32_t count;
  Key key[base::kBatchPacketsMax];
  uint64_t hash[base::kBatchPacketsMax];
  uint32_t found[base::kBatchPacketsMax];  // record in the family's table
  uint16_t packet[base::kBatchPacketsMax];
};

// Packets that have the ports of others, or ports for others: trains.cc.
struct Fragment {
  // A packet that is going to be cut is `whole`. Of an error that quotes a later fragment:
  // `quoted`.
  enum class Part : uint8_t { first, later, quoted, whole };
  wire::InnerPacket keyed;  // itself, or what is quoted
  uint16_t packet;
  uint16_t trains;  // a super-packet that is going to be cut is many, of consecutive names
  Part part;
  bool binds() const { return part == Part::first || part == Part::whole; }
};
struct Fragments {
  uint32_t count;
  uint32_t binding;  // of them, those that have ports for others and have not been taken
  Fragment of[base::kBatchPacketsMax + 1];
  flow::FragmentKey key[base::kBatchPacketsMax];
  uint64_t hash[base::kBatchPacketsMax];
  uint32_t oldest[base::kBatchPacketsMax];
  // Places of later ones whose train those before them have not shown.
  uint16_t waiting[base::kBatchPacketsMax];

  flow::FragmentTable::Name name(uint32_t k) const { return {key[k], hash[k], oldest[k]}; }
  // Room for one that may be added.
  Fragment& next() { return of[count]; }
  // next() is packet i, of a datagram with this identification. It gets its key in take_trains(),
  // unless it has ports of its own.
  void add(uint32_t i, Fragment::Part part, uint32_t id, uint16_t scope, uint16_t trains = 1) {
    of[count].packet = static_cast<uint16_t>(i);
    of[count].trains = trains;
    of[count].part = part;
    binding += of[count].binds();
    new (key + count) flow::FragmentKey(of[count].keyed, id, scope);
    ++count;
  }
};

// Which flows a batch has given an entry: those it has not say so nearly always.
class Opened {
 public:
  void clear() {
    if (any_) std::memset(bits_, 0, sizeof bits_);
    any_ = false;
  }
  void add(uint64_t hash) {
    any_ = true;
    bits_[hash / 64 % kWords] |= uint64_t{1} << hash % 64;
  }
  bool may_have(uint64_t hash) const {
    return any_ && (bits_[hash / 64 % kWords] >> hash % 64 & 1) != 0;
  }

 private:
  static constexpr uint32_t kWords = 16;
  uint64_t bits_[kWords] = {};
  bool any_ = false;
};

// A packet that was made to fit, which is counted if it leaves.
struct Fitted {
  enum class How : uint8_t { cut, clamped };
  uint16_t packet;
  uint16_t packets;  // so many of those that it stands for
  How how;
};

struct Scratch {
  Seen seen[base::kBatchPacketsMax];
  Keys<flow::FlowKey4> keys4;
  Keys<flow::FlowKey6> keys6;
  Opened opened;  // since the lookup: what was not found may be there
  bool evicted;   // a flow has lost its entry since the lookup: `found` may be another's

  Fragments fragments;
  // Packets to be answered with an ICMP error, which may need their hash.
  uint32_t too_big_count;
  uint16_t too_big[base::kBatchPacketsMax];
  uint32_t fitted_count;
  Fitted fitted[2 * base::kBatchPacketsMax];
};

}  // namespace gwlb::gateway
