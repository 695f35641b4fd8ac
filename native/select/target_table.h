// The immutable snapshot of a target group that the data plane decides by. Built off the packet
// path, swapped between batches; any number of threads may read it.
//
// Each zone has a table of rows, and each row names the eligible target of the zone with the best
// weighted rendezvous score for that row (score.h). So:
//   - removing a target moves only its own rows, adding one moves only rows to it, and raising one
//     weight only pulls rows to that target; a healthy neighbour's rows never move. (Maglev moves
//     0.25-0.85 % of them, but balances better: the fullest of 100 targets has 1.1 of its share.)
//   - a target's share of the rows is its share of the zone's weight;
//   - the rows depend on seed, identities and weights alone: not on order, machine or history,
//     and on slots only between equal identities.
//
// There are 2^16 rows, or 2^18 when some zone has more than kTargetsForLargeTable registered
// targets. The two sizes are different tables: crossing that limit moves rows of every target. So
// it is the registered targets that count, not the healthy ones, whose number goes up and down.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "base/limits.h"
#include "base/prefetch.h"
#include "base/siphash.h"
#include "select/score.h"

namespace gwlb::select {

enum TargetFlags : uint8_t {
  kRegistered = 1,   // accepts returns from it; live flows may be pinned to it
  kEligible = 2,     // takes new flows (healthy, or the fallback when none is)
  kResetFlows = 4,   // TCP flows that are pinned to it get a RST on their next packet
  kGone = 8,         // deregistered, and its delay is over; flows may still be pinned to it
  kKeepsFlows = 16,  // neither failed nor gone, though it may take no new flows
};

struct TargetSpec {
  uint16_t slot = 0;
  uint16_t zone = 0;
  uint16_t port = 6081;
  uint16_t generation = 0;  // below kGenerations; flows pinned under another one choose again
  uint32_t address = 0;     // host order
  uint16_t weight = 1;      // 1..kWeightMax, tenths; eligible targets only
  uint8_t flags = 0;
  uint64_t identity = 0;  // what the scores are computed from: stable across restarts and nodes
};
static_assert(sizeof(TargetSpec) == 24 && base::kWeightMax <= 0xffff);

class TargetTable {
 public:
  // `zones` is how many zone numbers are in use, 1..kZonesMax. With cross_zone every zone sees all
  // targets (one table for all). Null where a slot is kTargetsMax or above or named twice, a zone
  // is not below `zones`, or an eligible target's weight is out of range.
  //
  // `previous` is a table that this one may differ little from, or null. It changes the time, never
  // the result: a row whose target did not get worse is offered to the targets that are new or
  // weigh more, the rows of the others are chosen anew, and zones without a change share their
  // rows. Where it has other rows, another seed or another cross_zone, all is built anew.
  //
  // Not for a packet thread: 10 ms for 100 targets, 75 ms for 300 (four times the rows), 0.6 s for
  // 4,096, whatever the weights; a target more or less of 300 takes 1 to 4 ms
  // (bench/native/select_bench.cc, on a busy machine). Memory: two bytes a row and zone, nothing
  // else is kept for the next change.
  static std::shared_ptr<const TargetTable> build(const std::vector<TargetSpec>& targets,
                                                  uint32_t zones, bool cross_zone, uint64_t seed,
                                                  const TargetTable* previous = nullptr);

  // About how many scores build() would compute, which is what it takes long for: a nanosecond or
  // two each.
  static uint64_t scores_for(const std::vector<TargetSpec>& targets, uint32_t zones,
                             bool cross_zone, uint64_t seed, const TargetTable* previous);

  // Slot of the target for a new flow, or kNoTarget where the zone has none eligible or does not
  // exist.
  uint16_t choose(uint16_t zone, uint64_t hash) const {
    const uint16_t* rows = row_data(zone);
    return rows == nullptr ? base::kNoTarget : rows[row(hash)];
  }
  // Asks for the memory that choose() will read.
  void prefetch(uint16_t zone, uint64_t hash) const {
    const uint16_t* rows = row_data(zone);
    if (rows != nullptr) base::prefetch(rows + row(hash));
  }
  uint32_t row(uint64_t hash) const { return static_cast<uint32_t>(hash) & (rows() - 1); }
  uint32_t rows() const { return 1u << row_bits_; }

  // The rows of a zone, rows() slots; null where it has no eligible target or does not exist.
  const uint16_t* row_data(uint16_t zone) const {
    return zone < zones_ ? tables_[cross_zone_ ? 0 : zone].rows.get() : nullptr;
  }

  // How many rows each slot has, of its zone or with cross_zone of the one table; kTargetsMax
  // numbers. Reads every row.
  std::vector<uint32_t> row_counts() const;

  // Every slot number has an answer: one that is not in use has flags 0.
  const TargetSpec& target(uint16_t slot) const { return slot < slots_ ? targets_[slot] : kUnused; }

  // Slot of the registered target with this address (whatever its port, since returns may come from
  // any source port: R6), or kNoTarget; the lowest slot where several share an address. Constant
  // time.
  uint16_t slot_of(uint32_t address) const {
    for (uint32_t at = address_place(address);; at = (at + 1) & address_mask_) {
      const AddressSlot& entry = addresses_[at];
      if (entry.slot == base::kNoTarget || entry.address == address) return entry.slot;
    }
  }

  // Ranked slots of a row, best first, with their scores; for explain and preview. Empty where the
  // zone has no eligible target. Allocates.
  struct Ranked {
    uint16_t slot;
    uint64_t score;  // lower is better
  };
  std::vector<Ranked> rank(uint16_t zone, uint32_t row) const;

 private:
  struct ZoneTable {
    std::vector<uint16_t> eligible;  // slots, by (identity, slot): the order that breaks ties
    // Slot of each row; null without eligible targets. Tables of which one was built from the
    // other share the rows of zones where nothing has changed.
    std::shared_ptr<const uint16_t[]> rows;
  };
  struct AddressSlot {
    uint32_t address = 0;
    uint16_t slot = base::kNoTarget;
  };

  TargetTable() = default;
  void index_addresses();
  void fill_rows(ZoneTable* table, const ZoneTable* before, const TargetTable* previous) const;
  uint32_t address_place(uint32_t address) const {
    return static_cast<uint32_t>((address * uint64_t{0x9e3779b97f4a7c15}) >> 40) & address_mask_;
  }

  static const TargetSpec kUnused;
  static uint32_t row_bits_for(const std::vector<TargetSpec>& targets, uint32_t zones,
                               bool cross_zone);

  uint64_t seed_ = 0;
  uint32_t zones_ = 0;
  uint32_t row_bits_ = base::kRowBits;
  uint32_t address_mask_ = 0;
  bool cross_zone_ = false;
  uint32_t slots_ = 0;                  // targets_.size(), which would be a division
  std::vector<TargetSpec> targets_;     // by slot
  std::vector<ZoneTable> tables_;       // by zone; one with cross_zone
  std::vector<AddressSlot> addresses_;  // open addressing, at most half full
};

}  // namespace gwlb::select
