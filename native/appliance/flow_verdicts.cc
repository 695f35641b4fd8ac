#include "appliance/flow_verdicts.h"

#include <new>

#include "appliance/flow_part.h"
#include "base/assert.h"

namespace gwlb::appliance {
namespace {

using flow::FlowState;
using flow::kNoFlow;

static_assert(kTrainLifetimeMs <= Scopes::kQuietMs);

// FlowState::tcp.
enum TcpBits : uint8_t {
  kHandshakeOver = 1,  // something else than SYN, SYN-ACK and RST was seen
  kFinUp = 2,          // from the low end
  kFinDown = 4,
  kReset = 8,
};

// FlowState::idle. A flow without a verdict is there for its packets under way: settle() ends it.
enum Idle : uint8_t { kUndecided = 0, kTcpOpen, kOther, kClosed, kAfterReset };

// FlowState::cookie is the sequence of the last load with a packet of the flow.
uint32_t& last_load(FlowState& state) { return state.cookie; }

uint8_t idle_class(const FlowState& state, bool is_tcp) {
  if (!is_tcp) return kOther;
  if ((state.tcp & kReset) != 0) return kAfterReset;
  return (state.tcp & (kFinUp | kFinDown)) == (kFinUp | kFinDown) ? kClosed : kTcpOpen;
}

}  // namespace

template <class Key>
bool FlowVerdicts::Family<Key>::create(uint32_t flows) {
  table = flow::FlowTable<Key>::create(flows);
  if (table == nullptr) return false;
  notes.reset(new (std::nothrow) Note[table->index_end()]);
  return notes != nullptr;
}

FlowVerdicts::FlowVerdicts(const FlowLimits& limits, const base::HashKey& key)
    : key_(key), scopes_({key.k1, key.k0}) {
  idle_ms_[kTcpOpen] = limits.tcp_idle_ms;
  idle_ms_[kOther] = limits.other_idle_ms;
  idle_ms_[kClosed] = kClosedIdleMs;
  idle_ms_[kAfterReset] = kResetIdleMs;
}

std::unique_ptr<FlowVerdicts> FlowVerdicts::create(const FlowLimits& limits,
                                                   const base::HashKey& key) {
  std::unique_ptr<FlowVerdicts> out(new (std::nothrow) FlowVerdicts(limits, key));
  if (out == nullptr || !out->families_.ipv4.create(limits.flows_ipv4) ||
      !out->families_.ipv6.create(limits.flows_ipv6)) {
    return nullptr;
  }
  out->fragments_ = flow::FragmentTable::create(limits.trains, kTrainLifetimeMs, key);
  if (out->fragments_ == nullptr) return nullptr;
  for (uint32_t c = kTcpOpen; c <= kAfterReset; ++c) {
    out->families_.ipv4.table->set_idle(c, out->idle_ms_[c]);
    out->families_.ipv6.table->set_idle(c, out->idle_ms_[c]);
  }
  return out;
}

template <class Key>
void FlowVerdicts::Family<Key>::add_key(const wire::InnerPacket& part, const base::HashKey& key,
                                        Keyed* keyed) {
  keyed->at = static_cast<uint16_t>(count);
  keyed->low_to_high =
      flow::make_key(part, flow::Stickiness::five_tuple, keyed->scope, &keys[count]);
  hashes[count] = flow::hash_key(key, keys[count]);
  ++count;
}

// False where the packet is of no flow that could be known.
bool FlowVerdicts::make_key(const uint8_t* packet, const Opened& opened, Keyed* keyed) {
  const uint16_t scope = scopes_.find(opened.options.endpoint_id, opened.vni, now_ms_);
  if (scope == Scopes::kNone) return false;
  FlowPart part;
  if (!find_flow_part(packet, opened.inner, scope, *fragments_, flow::FragmentTable::Pass::entering,
                      now_ms_, &part)) {
    return false;
  }
  // One of a datagram whose all has come begins another, of a flow that is not known yet.
  if (part.train != FlowPart::Train::none && part.train != FlowPart::Train::known) return false;
  keyed->scope = scope;
  keyed->quoted = part.quoted;
  keyed->version = part.packet.version;
  keyed->is_tcp = part.packet.protocol == wire::kTcp;
  keyed->tcp_flags = part.tcp_flags();
  if (part.packet.version == 4) {
    families_.ipv4.add_key(part.packet, key_, keyed);
  } else {
    families_.ipv6.add_key(part.packet, key_, keyed);
  }
  return true;
}

void FlowVerdicts::look_up(const batch::PacketBatch& batch, const Appliance& appliance,
                           uint64_t now_ms) {
  now_ms_ = now_ms;
  families_.ipv4.count = families_.ipv6.count = 0;
  for (uint32_t i = 0; i < batch.count; ++i) {
    const Opened& opened = appliance.opened(i);
    keyed_[i].at = kNoKey;
    if (opened.is_open()) make_key(batch.packet(i), opened, &keyed_[i]);
  }
  const auto find_all = [](auto& family) {
    if (family.count == 0) return;
    family.table->lookup(family.keys, family.hashes, family.count, family.index);
  };
  find_all(families_.ipv4);
  find_all(families_.ipv6);
}

void FlowVerdicts::observe(const Keyed& keyed, FlowState* state) const {
  if (keyed.quoted) return;  // an ICMP error refreshes nothing
  state->last_seen_ms = static_cast<uint32_t>(now_ms_);
  if (keyed.tcp_flags == 0) return;
  constexpr uint8_t kOpening = wire::kSyn | wire::kRst;
  if ((keyed.tcp_flags & kOpening) == 0) state->tcp |= kHandshakeOver;
  if ((keyed.tcp_flags & wire::kFin) != 0) state->tcp |= keyed.low_to_high ? kFinUp : kFinDown;
  // A forged RST must not end a verdict on a connection that goes on.
  if ((keyed.tcp_flags & wire::kRst) != 0) {
    state->tcp |= kReset;
  } else {
    state->tcp &= static_cast<uint8_t>(~kReset);
  }
}

// The verdict of the flow at this place, if it had one, does not count any more.
void FlowVerdicts::forget(Note* note) {
  const uint32_t before = note->word.load(std::memory_order_relaxed);
  if (decision_of(before) >= kPass) ++ended_;
  note->word.store((generation_of(before) + 1) << kDecisionBits, std::memory_order_release);
}

template <class Key>
void FlowVerdicts::end_in(Family<Key>& family, uint32_t index) {
  forget(&family.notes[index]);
  scopes_.leave(family.table->at(index).key.scope);
  family.table->erase(index);
}

template <class Key>
FlowVerdicts::Way FlowVerdicts::way_in(Family<Key>& family, const Keyed& keyed) {
  const uint32_t index = family.index[keyed.at];
  if (index == kNoFlow) return Way::inspect;
  Note& note = family.notes[index];
  const Decision decision = decision_of(note.word.load(std::memory_order_acquire));
  FlowState& state = family.table->at(index).state;
  if (decision < kPass) return Way::inspect;
  const uint32_t idle_ms = static_cast<uint32_t>(now_ms_) - state.last_seen_ms;
  const bool idle =
      state.idle != kUndecided && idle_ms < 1u << 31 && idle_ms >= idle_ms_[state.idle];
  constexpr uint8_t kPastHandshake = kHandshakeOver | kFinUp | kFinDown | kReset;
  const bool anew = (keyed.tcp_flags & (wire::kSyn | wire::kAck)) == wire::kSyn &&
                    (state.tcp & kPastHandshake) != 0;
  if (idle || anew) {
    // Packets of it may be under way: its entry stays for settle() to end, or for sweep().
    forget(&note);
    state.tcp = 0;
    return Way::inspect;
  }
  observe(keyed, &state);
  if (state.idle != kUndecided) state.idle = idle_class(state, keyed.is_tcp);
  return decision == kPass ? Way::pass : decision == kDrop ? Way::drop : Way::direct;
}

FlowVerdicts::Way FlowVerdicts::way_of(uint32_t i) {
  const Keyed& keyed = keyed_[i];
  if (keyed.at == kNoKey) return Way::inspect;
  return keyed.version == 4 ? way_in(families_.ipv4, keyed) : way_in(families_.ipv6, keyed);
}

bool FlowVerdicts::under_way(uint32_t i, uint32_t finished) {
  const Keyed& keyed = keyed_[i];
  FlowState& state = keyed.version == 4
                         ? families_.ipv4.table->at(families_.ipv4.index[keyed.at]).state
                         : families_.ipv6.table->at(families_.ipv6.index[keyed.at]).state;
  if (static_cast<int32_t>(last_load(state) - finished) > 0) return true;
  // Sequences wrap: what is long past must not come to lie ahead.
  last_load(state) = finished;
  return false;
}

template <class Key>
FlowRef FlowVerdicts::enter_in(Family<Key>& family, const Keyed& keyed, uint32_t sequence,
                               uint32_t bit) {
  uint32_t& index = family.index[keyed.at];
  const Key& key = family.keys[keyed.at];
  const uint64_t hash = family.hashes[keyed.at];
  // An earlier packet of the batch may have made the entry.
  if (index == kNoFlow) index = family.table->find(key, hash);
  if (index == kNoFlow) {
    if (keyed.quoted) return {};
    index = family.table->insert(key, hash);
    no_room_ = index == kNoFlow;
    if (no_room_) return {};
    scopes_.enter(key.scope);
  }
  FlowState& state = family.table->at(index).state;
  last_load(state) = sequence;
  observe(keyed, &state);
  const uint32_t word = family.notes[index].word.load(std::memory_order_acquire);
  counting_ = decision_of(word) == kCounting;
  return {index | bit, generation_of(word)};
}

FlowRef FlowVerdicts::enter(uint32_t i, uint32_t sequence) {
  const Keyed& keyed = keyed_[i];
  no_room_ = counting_ = false;
  if (keyed.at == kNoKey) return {};
  return keyed.version == 4 ? enter_in(families_.ipv4, keyed, sequence, 0)
                            : enter_in(families_.ipv6, keyed, sequence, kIpv6);
}

template <class Key>
void FlowVerdicts::settle_in(Family<Key>& family, uint32_t index, uint32_t sequence) {
  // Its place may be another flow's by now, which may have packets in the same load; or nobody's.
  if (!family.table->occupied(index)) return;
  auto& record = family.table->at(index);
  if (last_load(record.state) != sequence) return;
  if (decision_of(family.notes[index].word.load(std::memory_order_acquire)) == kNone) {
    end_in(family, index);
  } else {
    record.state.idle = idle_class(record.state, record.key.protocol == wire::kTcp);
  }
}

void FlowVerdicts::settle(FlowRef ref, uint32_t sequence) {
  if (!ref.known()) return;
  if ((ref.place & kIpv6) != 0) {
    settle_in(families_.ipv6, ref.place & ~kIpv6, sequence);
  } else {
    settle_in(families_.ipv4, ref.place, sequence);
  }
}

template <class Key>
void FlowVerdicts::sweep_in(Family<Key>& family, uint32_t positions) {
  family.table->sweep(static_cast<uint32_t>(now_ms_), positions, [&](uint32_t index, auto& record) {
    forget(&family.notes[index]);
    scopes_.leave(record.key.scope);
  });
}

void FlowVerdicts::sweep(uint32_t positions) {
  sweep_in(families_.ipv4, positions);
  sweep_in(families_.ipv6, positions);
}

template <class Key>
void FlowVerdicts::clear_in(Family<Key>& family) {
  uint32_t cursor = 0;
  family.table->walk(&cursor, family.table->index_end(), [&](uint32_t index, const auto& record) {
    forget(&family.notes[index]);
    scopes_.leave(record.key.scope);
  });
  family.table->clear();
}

void FlowVerdicts::clear() {
  clear_in(families_.ipv4);
  clear_in(families_.ipv6);
}

bool FlowVerdicts::decide(FlowRef ref, FlowVerdict verdict, After after) {
  if (!ref.known()) return false;
  Note& note = note_of(ref);
  uint32_t before = note.word.load(std::memory_order_relaxed);
  if (generation_of(before) != ref.generation) return false;
  note.verdict = static_cast<uint32_t>(verdict);
  note.after = after;
  const uint32_t state = after.reached() ? note.verdict : uint32_t{kCounting};
  do {
    if (generation_of(before) != ref.generation) return false;
  } while (!note.word.compare_exchange_weak(before, ref.generation << kDecisionBits | state,
                                            std::memory_order_release, std::memory_order_relaxed));
  return true;
}

FlowVerdicts::Sight FlowVerdicts::standing(FlowRef ref) const {
  if (!ref.known()) return Sight::show;
  const uint32_t word = note_of(ref).word.load(std::memory_order_relaxed);
  if (generation_of(word) != ref.generation) return Sight::show;
  switch (decision_of(word)) {
    case kPass:
      return Sight::pass;
    case kDrop:
      return Sight::drop;
    case kDirect:
      return Sight::direct;
    default:
      return Sight::show;
  }
}

FlowVerdicts::Sight FlowVerdicts::sight_of(FlowRef ref, uint64_t bytes, bool* effective) {
  *effective = false;
  if (!ref.known()) return Sight::show;
  Note& note = note_of(ref);
  const uint32_t word = note.word.load(std::memory_order_relaxed);
  if (generation_of(word) != ref.generation) return Sight::show;
  if (decision_of(word) != kCounting) return standing(ref);
  After& after = note.after;
  if (after.packets != UINT64_MAX) --after.packets;
  if (after.bytes != UINT64_MAX) after.bytes -= bytes < after.bytes ? bytes : after.bytes;
  if (after.reached()) *effective = decide(ref, static_cast<FlowVerdict>(note.verdict), kAtOnce);
  return Sight::show;
}

}  // namespace gwlb::appliance
