// Flows that nobody has confirmed yet, in the order they were opened: a bounded queue of their
// places in the flow table. A flood of first packets (SYN floods) fills this queue and not the
// table: a flow that is still in it when `capacity` newer ones have come gives way.
//
// Each flow holds the ticket it was given. A place in the queue stands for a flow only as long as
// the flow there holds that ticket: one that was confirmed or has ended leaves by forgetting it.
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
    Pages pages = Pages::map(capacity * sizeof(uint32_t));
    if (pages.data() == nullptr) return nullptr;
    return std::unique_ptr<Probation>(new (std::nothrow) Probation(capacity, std::move(pages)));
  }

  size_t memory_bytes() const { return pages_.bytes() + sizeof *this; }
  bool full() const { return size_ == capacity_; }
  bool empty() const { return size_ == 0; }

  // The queue is not full. Returns the flow's ticket.
  uint32_t push(uint32_t index) {
    GWLB_ASSERT(!full());
    const uint64_t at = uint64_t{oldest_} + size_;
    places()[at < capacity_ ? at : at - capacity_] = index;
    return oldest_ticket_ + size_++;
  }

  // The queue is not empty. The flow at `index` has left already unless it holds `ticket`.
  struct Place {
    uint32_t index;
    uint32_t ticket;
  };
  // The index whose turn it is after `later` others, or that of the youngest.
  uint32_t ahead(uint32_t later) const {
    GWLB_ASSERT(!empty());
    const uint64_t at = uint64_t{oldest_} + (later < size_ ? later : size_ - 1);
    return places()[at < capacity_ ? at : at - capacity_];
  }
  Place pop() {
    GWLB_ASSERT(!empty());
    const Place place{places()[oldest_], oldest_ticket_++};
    oldest_ = oldest_ + 1 < capacity_ ? oldest_ + 1 : 0;
    --size_;
    return place;
  }

 private:
  Probation(uint32_t capacity, Pages pages) : pages_(std::move(pages)), capacity_(capacity) {}
  uint32_t* places() const { return static_cast<uint32_t*>(pages_.data()); }

  Pages pages_;
  uint32_t capacity_;
  uint32_t size_ = 0;
  uint32_t oldest_ = 0;         // its place
  uint32_t oldest_ticket_ = 0;  // tickets count modulo 2^32
};

}  // namespace gwlb::flow
