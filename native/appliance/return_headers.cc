// Which header a packet gets. The life of flows is in return_flows.cc.
#include "appliance/return_headers.h"

#include <cstring>
#include <new>

#include "appliance/return_flows.h"
#include "base/assert.h"
#include "base/prefetch.h"

namespace gwlb::appliance {

using base::DropReason;
using batch::PacketBatch;
using batch::Verdict;
using flow::kNoFlow;
using Pass = flow::FragmentTable::Pass;

template <class Key>
bool ReturnHeaders::Family<Key>::create(uint32_t flows, bool with_paths) {
  table = flow::FlowTable<Key>::create(flows);
  probation = flow::Probation::create(flows / kReturnProbationShare);
  if (table == nullptr || probation == nullptr) return false;
  const size_t headers = 2 * size_t{table->index_end()};
  const auto map = [](flow::Pages pages) {
    return std::make_unique<flow::Pages>(std::move(pages));
  };
  slots = map(flow::Pages::map(headers * sizeof(Slot)));
  rests = map(flow::Pages::reserve(headers * sizeof(Rest)));
  if (with_paths) paths = map(flow::Pages::map(headers * sizeof(batch::OuterPath)));
  return slots->data() != nullptr && rests->data() != nullptr &&
         (!with_paths || paths->data() != nullptr);
}

template <class Key>
void ReturnHeaders::Family<Key>::look_up() {
  if (count == 0) return;
  table->lookup(keys, hashes, count, index);
  for (uint32_t k = 0; k < count; ++k) {
    if (index[k] != kNoFlow) base::prefetch_to_write(&slot(index[k], true));
    if (index[k] != kNoFlow) base::prefetch_to_write(&slot(index[k], false));
  }
}

std::unique_ptr<ReturnHeaders> ReturnHeaders::create(const ReturnLimits& limits, bool paths,
                                                     const base::HashKey& key) {
  std::unique_ptr<ReturnHeaders> out(new (std::nothrow) ReturnHeaders(key));
  if (out == nullptr || !out->families_.ipv4.create(limits.flows_ipv4, paths) ||
      !out->families_.ipv6.create(limits.flows_ipv6, paths)) {
    return nullptr;
  }
  out->trains_ = flow::FragmentTable::create(limits.trains, kTrainLifetimeMs, key);
  if (out->trains_ == nullptr) return nullptr;
  set_return_timeouts(limits, out->families_.ipv4.table.get());
  set_return_timeouts(limits, out->families_.ipv6.table.get());
  return out;
}

size_t ReturnHeaders::memory_bytes() const {
  const auto bytes = [](const auto& family) {
    return family.table->memory_bytes() + family.probation->memory_bytes() + family.slots->bytes() +
           (family.paths != nullptr ? family.paths->bytes() : 0);
  };
  return sizeof *this + bytes(families_.ipv4) + bytes(families_.ipv6) + trains_->memory_bytes();
}

// A later fragment without its ports goes by its addresses and protocol, in both directions and
// both passes alike.
bool ReturnHeaders::make_key(const uint8_t* packet, const wire::InnerPacket& inner, uint16_t device,
                             Pass pass, Keyed* keyed) {
  FlowPart part;
  if (!find_flow_part(packet, inner, device, *trains_, pass, now_ms_, &part)) return false;
  const auto add = [&](auto& family) {
    keyed->at = static_cast<uint16_t>(family.count);
    keyed->low_to_high = flow::make_key(part.packet, flow::Stickiness::five_tuple, device,
                                        &family.keys[family.count]);
    family.hashes[family.count] = flow::hash_key(key_, family.keys[family.count]);
    ++family.count;
  };
  keyed->version = part.packet.version;
  keyed->tcp = part.packet.protocol == wire::kTcp;
  keyed->tcp_flags = part.tcp_flags();
  keyed->quoted = part.quoted;
  keyed->later = part.train != FlowPart::Train::none;
  if (part.packet.version == 4) {
    add(families_.ipv4);
  } else {
    add(families_.ipv6);
  }
  // What an error quotes went the other way.
  if (part.quoted) keyed->low_to_high = !keyed->low_to_high;
  return true;
}

void ReturnHeaders::look_up() {
  families_.ipv4.look_up();
  families_.ipv6.look_up();
}

template <class Key>
void ReturnHeaders::store(Family<Key>& family, uint32_t index, bool low_to_high,
                          const PacketBatch& batch, const Opened& opened, uint32_t i) {
  Slot& slot = family.slot(index, low_to_high);
  const uint8_t* header = batch.packet(i) - opened.header_bytes;
  const uint32_t length = opened.header_bytes;
  slot.peer = batch.address[i];
  slot.port = opened.port;
  slot.length = static_cast<uint16_t>(length);
  std::memcpy(slot.header, header, length < kShortBytes ? length : kShortBytes);
  if (length > kShortBytes) {
    std::memcpy(family.rest(index, low_to_high).header, header + kShortBytes, length - kShortBytes);
  }
  if (batch::OuterPath* path = family.path(index, low_to_high)) *path = batch.paths[i];
}

template <class Key>
DropReason ReturnHeaders::learn_in(Family<Key>& family, const Keyed& keyed,
                                   const PacketBatch& batch, const Opened& opened, uint32_t i) {
  uint32_t& index = family.index[keyed.at];
  if (index != kNoFlow && evicts_ && !family.table->holds(index, family.keys[keyed.at])) {
    index = kNoFlow;
  }
  if (keyed.quoted) {
    // An error makes no flow, and is no newer than the flow's own packets of its direction.
    if (index == kNoFlow)
      index = family.table->find(family.keys[keyed.at], family.hashes[keyed.at]);
    if (index == kNoFlow) return DropReason::icmp_no_flow;
    flow::FlowState& state = family.table->at(index).state;
    if (has_header(state, keyed.low_to_high)) return DropReason::none;
    store(family, index, keyed.low_to_high, batch, opened, i);
    set_header(&state, keyed.low_to_high);
    return DropReason::none;
  }
  if (index == kNoFlow) index = find_or_make(family, keyed);
  if (index == kNoFlow) return DropReason::device_flow_limit;
  flow::FlowState& state = family.table->at(index).state;
  // Headers of a connection that has ended say nothing of the next one.
  if (keyed.opens() && has_ended(state)) clear_headers(&state);
  observe(family, index, keyed, batch.packet(i) + opened.inner.transport_offset);
  store(family, index, keyed.low_to_high, batch, opened, i);
  set_header(&state, keyed.low_to_high);
  return DropReason::none;
}

void ReturnHeaders::learn(const PacketBatch& batch, const Appliance& appliance,
                          const uint16_t* packets, uint32_t n, uint64_t now_ms, DropReason* why) {
  now_ms_ = now_ms;
  families_.ipv4.count = families_.ipv6.count = 0;
  evicts_ = false;
  for (uint32_t k = 0; k < n; ++k) {
    const uint32_t i = packets[k];
    const Opened& opened = appliance.opened(i);
    GWLB_ASSERT(opened.is_open() && opened.header_bytes <= base::kGeneveHeaderBytesMax);
    keyed_[k].at = kNoKey;
    make_key(batch.packet(i), opened.inner, batch.endpoint[i], Pass::entering, &keyed_[k]);
  }
  look_up();
  for (uint32_t k = 0; k < n; ++k) {
    const uint32_t i = packets[k];
    const Keyed& keyed = keyed_[k];
    if (keyed.at == kNoKey) {
      why[k] = DropReason::icmp_bad_quote;
    } else if (keyed.version == 4) {
      why[k] = learn_in(families_.ipv4, keyed, batch, appliance.opened(i), i);
    } else {
      why[k] = learn_in(families_.ipv6, keyed, batch, appliance.opened(i), i);
    }
  }
  families_.ipv4.tell_size();
  families_.ipv6.tell_size();
}

// Puts a flow's header in front of packet i. False where there is no room.
template <class Key>
bool ReturnHeaders::prepend(const Family<Key>& family, uint32_t index, bool low_to_high,
                            PacketBatch& batch, uint32_t i) {
  const Slot& slot = family.slot(index, low_to_high);
  const uint32_t length = slot.length;
  if (batch.headroom(i) < length) {
    const uint32_t further = length - batch.headroom(i);
    if (batch.tailroom(i) < further) return false;
    std::memmove(batch.packet(i) + further, batch.packet(i), batch.length[i]);
    batch.offset[i] += further;
    batch.inner[i] += further;
  }
  uint8_t* to = batch.packet(i) - length;
  std::memcpy(to, slot.header, length < kShortBytes ? length : kShortBytes);
  if (length > kShortBytes) {
    std::memcpy(to + kShortBytes, family.rest(index, low_to_high).header, length - kShortBytes);
  }
  batch.offset[i] -= length;
  batch.length[i] += length;
  batch.address[i] = slot.peer;
  batch.source_port[i] = slot.port;
  if (const batch::OuterPath* path = family.path(index, low_to_high)) batch.paths[i] = *path;
  return true;
}

// False where it is of no flow that is known.
template <class Key>
bool ReturnHeaders::give_back_in(Family<Key>& family, const Keyed& keyed,
                                 const wire::InnerPacket& inner, PacketBatch& batch, uint32_t i) {
  const uint32_t index = family.index[keyed.at];
  if (index == kNoFlow) return false;
  const flow::FlowState& state = family.table->at(index).state;
  bool low_to_high = keyed.low_to_high;
  if (!has_header(state, low_to_high)) {
    // Nothing of this direction comes through the tunnel, so that it is seen here alone.
    if (!keyed.quoted) observe(family, index, keyed, batch.packet(i) + inner.transport_offset);
    low_to_high = !low_to_high;
  }
  if (!has_header(state, low_to_high)) return false;
  if (!prepend(family, index, low_to_high, batch, i)) {
    batch.drop(i, DropReason::no_headroom);
    return true;
  }
  batch.verdict[i] = static_cast<uint8_t>(Verdict::forward);
  return true;
}

void ReturnHeaders::give_back(PacketBatch& batch, uint16_t gateway_port, uint64_t now_ms) {
  now_ms_ = now_ms;
  families_.ipv4.count = families_.ipv6.count = 0;
  for (uint32_t i = 0; i < batch.count; ++i) {
    keyed_[i].at = kNoKey;
    if (!batch.pending(i)) continue;
    const wire::ParseError error = wire::parse_inner(batch.packet(i), batch.length[i], &inner_[i]);
    if (!error.ok()) {
      batch.drop(i, error.reason);
    } else if (!make_key(batch.packet(i), inner_[i], batch.endpoint[i], Pass::returned,
                         &keyed_[i])) {
      batch.drop(i, DropReason::icmp_bad_quote);
    }
  }
  look_up();
  for (uint32_t i = 0; i < batch.count; ++i) {
    const Keyed& keyed = keyed_[i];
    if (keyed.at == kNoKey) continue;
    batch.port[i] = gateway_port;
    const bool known = keyed.version == 4
                           ? give_back_in(families_.ipv4, keyed, inner_[i], batch, i)
                           : give_back_in(families_.ipv6, keyed, inner_[i], batch, i);
    if (!known) batch.drop(i, DropReason::device_unknown_flow);
  }
}

void ReturnHeaders::sweep(uint64_t now_ms) {
  const uint64_t elapsed_ms = swept_ms_ == 0 ? 0 : now_ms - swept_ms_;
  swept_ms_ = now_ms;
  now_ms_ = now_ms;
  sweep_in(families_.ipv4, elapsed_ms);
  sweep_in(families_.ipv6, elapsed_ms);
}

uint32_t ReturnHeaders::unconfirmed() const {
  const auto count = [](const auto& family) {
    uint32_t found = 0;
    uint32_t cursor = 0;
    family.table->walk(&cursor, family.table->index_end(), [&](uint32_t, const auto& record) {
      found += is_on_probation(record.state) ? 1 : 0;
    });
    return found;
  };
  return count(families_.ipv4) + count(families_.ipv6);
}

}  // namespace gwlb::appliance
