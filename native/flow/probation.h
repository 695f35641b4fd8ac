// Flows that nobody has confirmed yet, in the order they were opened: a bounded queue of their
// places in the flow table. A flood of first packets (SYN floods) fills this queue and not the
// table: a flow that is still in it when `capacity` newer ones have come gives way.
//
// Each flow holds the ticket it was given. A place in the queue stands for a flow only as long as
// the flow there holds that ticket: one that was confirmed or has ended leaves by forgetting it.
// Beside each place is a note, for what need only be known of a flow that is not confirmed.
#pragma once

#include <cstdint>
#include <memory>
#include <new>
#include <utility>

#include "base/assert.h"
#include "flow/pages.h"

namespace gwlb::flow {

class alignas(64) Probation {
 public:
  // Room for `capacity` flows (at least 1). Null where memory is refused.
  static std::unique_ptr<Probation> create(uint32_t capacity) {
    GWLB_ASSERT(capacity >= 1);
    Pages pages = Pages::map(size_t{capacity} * sizeof(Entry));
    if (pages.data() == nullptr) return nullptr;
    return std::unique_ptr<Probation>(new (std::nothrow) Probation(capacity, std::move(pages)));
  }

  size_t memory_bytes() const { return pages_.bytes() + sizeof *this; }
  bool full() const { return size_ == capacity_; }
  bool empty() const { return size_ == 0; }

  // The queue is not full. Returns the flow's ticket.
  uint32_t push(uint32_t index) {
    GWLB_ASSERT(!full());
    *entry(size_) = {index, 0};
    return oldest_ticket_ + size_++;
  }
  // Of a flow that is in the queue; 0 at first.
  uint32_t& note(uint32_t ticket) {
    GWLB_ASSERT(ticket - oldest_ticket_ < size_);
    return entry(ticket - oldest_ticket_)->note;
  }
  uint32_t note(uint32_t ticket) const {
    GWLB_ASSERT(ticket - oldest_ticket_ < size_);
    return entry(ticket - oldest_ticket_)->note;
  }

  // The queue is not empty. The flow at `index` has left already unless it holds `ticket`.
  struct Place {
    uint32_t index;
    uint32_t ticket;
  };
  // The index whose turn it is after `later` others, or that of the youngest.
  uint32_t ahead(uint32_t later) const {
    GWLB_ASSERT(!empty());
    return entry(later < size_ ? later : size_ - 1)->index;
  }
  Place pop() {
    GWLB_ASSERT(!empty());
    const Place place{entry(0)->index, oldest_ticket_++};
    oldest_ = oldest_ + 1 < capacity_ ? oldest_ + 1 : 0;
    --size_;
    return place;
  }

 private:
  struct Entry {
    uint32_t index;
    uint32_t note;
  };

  Probation(uint32_t capacity, Pages pages) : pages_(std::move(pages)), capacity_(capacity) {}
  // Of the flow before which `older` others stand.
  Entry* entry(uint32_t older) const {
    const uint64_t at = uint64_t{oldest_} + older;
    return static_cast<Entry*>(pages_.data()) + (at < capacity_ ? at : at - capacity_);
  }

  Pages pages_;
  uint32_t capacity_;
  uint32_t size_ = 0;
  uint32_t oldest_ = 0;         // its place
  uint32_t oldest_ticket_ = 0;  // tickets count modulo 2^32
};

}  // namespace gwlb::flow
