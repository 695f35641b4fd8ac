// The gateway's inside, shared by the files of this folder and by nobody else.
#pragma once

#include <algorithm>
#include <cstring>
#include <memory>

#include "flow/flow_table.h"
#include "flow/fragments.h"
#include "flow/probation.h"
#include "gateway/cookie.h"
#include "gateway/endpoints.h"
#include "gateway/event_ring.h"
#include "gateway/gateway.h"
#include "gateway/hold.h"
#include "wire/gwlb_options.h"
#include "wire/inner.h"

// What every packet passes becomes part of the batch's loop.
#define GWLB_HOT inline __attribute__((always_inline))
#define GWLB_HOT_LAMBDA __attribute__((always_inline))
// What is large and not for every packet is kept in one place, and
#define GWLB_APART __attribute__((noinline))
// what most packets never come to out of the way.
#define GWLB_SELDOM __attribute__((noinline, cold))

namespace gwlb::gateway {

// Idle classes of the flow tables.
enum IdleClass : uint8_t {
  kIdleTcp = 0,       // tcp_idle_ms
  kIdleOther = 1,     // other_idle_ms
  kIdleClosing = 2,   // FIN both ways
  kIdleReset = 3,     // RST seen; falls back to what was before if the connection lives on
  kIdleSyn = 4,       // a SYN seen
  kIdleSynAcked = 5,  // and the SYN-ACK that answers it
};

// Returns of a flow's former target stay welcome for this long after it moved (spec 10, row 6).
inline constexpr uint32_t kMovedGraceMs = 30'000;

// Of a datagram that is returned there are two.
inline constexpr uint32_t kFragmentTrains = 8192;
inline constexpr uint32_t kFragmentLifetimeMs = 30'000;

// This part of a flow table's capacity is for flows in probation.
inline constexpr uint32_t kProbationShare = 4;
// Places of the probation queue that are looked at to make room for one flow in a full table.
inline constexpr uint32_t kEvictionTries = 64;

// ICMP errors of the gateway's own: so many at once, and one more each millisecond.
inline constexpr uint32_t kErrorBurst = 100;

// FlowState.tcp
enum TcpBits : uint8_t {
  kFinFromLow = 1,
  kFinFromHigh = 2,
  kHandshakeOver = 4,  // something other than SYN or SYN-ACK was seen
  // Who sent a SYN: that of its handshake, or a later one that may be a stray.
  kSynFromLow = 8,
  kSynFromHigh = 16,
  kHandshake = 32,  // began with a SYN, and is not established
  kSynAcked = 64,   // with it: the SYN-ACK was seen, Probation::note is its number
};

// FlowState.flags
enum FlowFlags : uint8_t {
  kProbation = 1,  // nobody has confirmed it; FlowState.spare is its ticket
  kMoved = 2,      // FlowState.spare, in probation Probation::note, is from where and when
  kRefused = 4,    // its TCP packets are answered with a RST
  // In probation, who spoke first, whether the other end spoke then, and how often the first one
  // did without an answer: life.cc.
  kAskedByLow = 8,
  kAskedByHigh = 16,
  kAnswered = 32,
  kAskedAgain = 64,  // counts, with the bit above it
};

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
  void add(uint32_t i, Fragment::Part part, uint32_t id, uint16_t scope) {
    of[count].packet = static_cast<uint16_t>(i);
    of[count].part = part;
    binding += of[count].binds();
    key[count] = flow::FragmentKey(of[count].keyed, id, scope);
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
  // Packets that entered and are to leave in fragments.
  uint32_t cut_count;
  uint16_t cut[base::kBatchPacketsMax];
};

// What consecutive packets of one endpoint have in common, and their counts, which are added to the
// counters once and not for each packet.
struct EndpointRun {
  uint16_t endpoint = base::kNoEndpoint;  // one that exists, or none
  uint16_t scope = 0;                     // of its keys
  bool wraps = false;                     // its packets leave in GENEVE of their own
  bool cuts = false;                      // and those that are too long in fragments
  uint32_t mtu = 0;
  uint64_t id = 0;
  uint64_t key_tail = 0;  // of packets with ports
  wire::GatewayHeaderTemplate header;
  CookieSigner signer;
  uint64_t packets_in = 0, bytes_in = 0;
};

// What one address family has.
template <class Key>
struct Flows {
  std::unique_ptr<flow::FlowTable<Key>> table;
  std::unique_ptr<flow::Probation> probation;
  std::unique_ptr<flow::Pages> counted;  // FlowCounters by index, with flow_counters
  uint32_t report_cursor = 0;
  uint64_t report_credit = 0;

  bool create(uint32_t capacity, bool count) {
    table = flow::FlowTable<Key>::create(capacity);
    probation = flow::Probation::create(capacity / kProbationShare);
    if (!table || !probation) return false;
    if (!count) return true;
    counted = std::make_unique<flow::Pages>(
        flow::Pages::map(size_t{table->index_end()} * sizeof(FlowCounters)));
    return counted->data() != nullptr;
  }
  size_t memory_bytes() const {
    return table->memory_bytes() + probation->memory_bytes() + (counted ? counted->bytes() : 0);
  }
  // Null where flows are not counted.
  FlowCounters* counters(uint32_t index) const {
    return counted ? static_cast<FlowCounters*>(counted->data()) + index : nullptr;
  }
};

struct Gateway::State {
  explicit State(const GatewayConfig& c)
      : config(c),
        key_rule(c.stickiness),
        bare_geneve(c.inner == InnerMode::ip && !c.outer_headers),
        usual_way(takes_usual_way()),
        unusual_flags(c.promotion == Promotion::ingress ? kRefused | kProbation : kRefused),
        events(c.events) {}

  GatewayConfig config;
  flow::KeyRule key_rule;
  bool bare_geneve;       // nothing but GENEVE goes in front of a packet to a target
  bool usual_way;         // no packet needs more than decide.cc's short way does
  uint8_t unusual_flags;  // of flows whose packets to their target do
  std::shared_ptr<const select::TargetTable> table;
  Endpoints endpoints;
  Flows<flow::FlowKey4> flows4;
  Flows<flow::FlowKey6> flows6;
  std::unique_ptr<flow::FragmentTable> fragments;
  std::unique_ptr<FragmentHold> hold;
  Counters counters;
  EventRing events;

  bool started = false;  // packets have come
  uint64_t started_ms = 0;
  bool untracked = false;  // some flow has no entry although it was forwarded, last at untracked_ms
  uint64_t untracked_ms = 0;
  uint64_t now_ms = 0;

  base::HashKey previous_cookie_key;
  uint64_t previous_cookie_key_until_ms = 0;  // 0: there is none

  uint32_t path_mtu = 0;  // 0: not known

  uint32_t error_tokens = kErrorBurst;
  uint64_t error_tokens_ms = 0;

  uint32_t report_interval_ms = 0;
  uint64_t reported_ms = 0;

  EndpointRun run;
  uint64_t packets_from_targets = 0;  // of the batch
  Scratch scratch;

  bool takes_usual_way() const {
    return !config.flow_counters && config.stickiness == flow::Stickiness::five_tuple;
  }

  // A run of packets of this endpoint. False: there is no such endpoint.
  GWLB_APART bool begin_run(uint16_t endpoint) {
    close_run();
    if (!endpoints.exists(endpoint)) return false;
    const EndpointSpec& spec = endpoints.at(endpoint);
    run.endpoint = endpoint;
    run.scope = scope_of(endpoint);
    run.wraps = spec.kind == EndpointKind::geneve;
    run.cuts = spec.cuts;
    run.mtu = mtu_of(endpoint);
    run.id = spec.id;
    run.key_tail = flow::key_tail(key_rule.kind, run.scope);
    run.signer = signer(config.cookie_key, endpoint);
    run.header = wire::GatewayHeaderTemplate(config.option_class, spec.id, config.attachment_id);
    return true;
  }
  // A packet may name no endpoint, as the run that has not begun does.
  GWLB_HOT bool run_of(uint16_t endpoint) {
    return (run.endpoint == endpoint && endpoint != base::kNoEndpoint) || begin_run(endpoint);
  }
  void close_run() {
    if (run.packets_in != 0) {
      counters.add(GatewayCounter::packets_in, run.packets_in);
      counters.add(GatewayCounter::bytes_in, run.bytes_in);
      counters.add(run.endpoint, EndpointCounter::packets_in, run.packets_in);
      counters.add(run.endpoint, EndpointCounter::bytes_in, run.bytes_in);
    }
    run.packets_in = run.bytes_in = 0;
    run.endpoint = base::kNoEndpoint;
  }
  // Endpoints may change before the next batch.
  void end_batch() {
    close_run();
    counters.add(GatewayCounter::packets_from_targets, packets_from_targets);
    packets_from_targets = 0;
    counters.set(GatewayCounter::packets_waiting, hold->size());
  }
  // The learning window begins with the first packets, not with the clock.
  void begin_packets() {
    if (started) return;
    started = true;
    started_ms = now_ms;
  }
  uint16_t scope_of(uint16_t endpoint) const {
    return config.scope_gateway ? flow::kScopeGateway : endpoint;
  }
  uint32_t mtu_of(uint16_t endpoint) const {
    const uint32_t own = endpoints.at(endpoint).mtu;
    return own != 0 && own < config.mtu ? own : config.mtu;
  }
  // The most that the ends of a connection through this endpoint may tell each other. (IP and TCP
  // headers without options, RFC 6691; a path for less than what every host takes is none.)
  uint16_t mss_of(uint16_t endpoint, uint8_t version) const {
    if (config.clamp_mss != kClampMssAuto) return config.clamp_mss;
    uint32_t mtu = mtu_of(endpoint);
    if (path_mtu != 0) mtu = std::min(mtu, std::max(path_mtu, base::kInnerBytesMin));
    return static_cast<uint16_t>(mtu - (version == 4 ? 40 : 60));
  }
  // With one scope for all endpoints both directions may enter by different ones, and the cookie
  // has to be the same.
  CookieSigner signer(const base::HashKey& key, uint16_t endpoint) const {
    return {key, config.scope_gateway ? 0 : endpoints.at(endpoint).id, config.attachment_id};
  }
  // For a flow of packets of this endpoint.
  uint32_t cookie_for(uint16_t endpoint, uint64_t hash, uint16_t slot, uint8_t incarnation) {
    run_of(endpoint);
    return run.signer.sign(hash, slot, incarnation);
  }
  // Whether this gateway may have made this cookie for this flow.
  bool is_signed(uint16_t endpoint, uint64_t hash, uint32_t cookie) const {
    return is_signed_at(endpoint, hash, cookie, now_ms);
  }
  bool is_signed_at(uint16_t endpoint, uint64_t hash, uint32_t cookie, uint64_t at_ms) const {
    const uint16_t slot = cookie_slot(cookie);
    const uint8_t incarnation = cookie_incarnation(cookie);
    const auto signs = [&](const base::HashKey& key) {
      return cookie == signer(key, endpoint).sign(hash, slot, incarnation);
    };
    return signs(config.cookie_key) ||
           (at_ms < previous_cookie_key_until_ms && signs(previous_cookie_key));
  }
  bool learning_at(uint64_t at_ms) const {
    return config.mid_stream == MidStream::pickup ||
           (config.mid_stream == MidStream::automatic &&
            (!started || at_ms - started_ms < config.learning_ms));
  }
  // Whether packets of flows without an entry may be in order: while learning, and as long as flows
  // that did not fit the table, or were forwarded uninspected, may be alive. TCP then need not
  // begin with a SYN, and a returned packet is judged by its tag alone.
  bool accepts_unknown_at(uint64_t at_ms) const {
    return learning_at(at_ms) || (untracked && at_ms - untracked_ms < config.tcp_idle_ms);
  }
  bool accepts_unknown() const { return accepts_unknown_at(now_ms); }
  void note_untracked() {
    untracked = true;
    untracked_ms = now_ms;
  }
  // No target at all for this packet's flow, and the user wants it forwarded then.
  bool fails_open(uint16_t endpoint, uint64_t hash) const {
    return config.fail_open && table->choose(endpoints.at(endpoint).zone, hash) == base::kNoTarget;
  }
};

// The table and the batch's keys of one address family.
template <class Key>
struct Family;
template <>
struct Family<flow::FlowKey4> {
  static Flows<flow::FlowKey4>& of(Gateway::State& state) { return state.flows4; }
  static const Flows<flow::FlowKey4>& of(const Gateway::State& state) { return state.flows4; }
  static flow::FlowTable<flow::FlowKey4>& flows(const Gateway::State& state) {
    return *state.flows4.table;
  }
  static Keys<flow::FlowKey4>& keys(Gateway::State& state) { return state.scratch.keys4; }
  static constexpr uint8_t kVersion = 4;
  static constexpr uint16_t kEtherType = wire::kEtherTypeIpv4;
};
template <>
struct Family<flow::FlowKey6> {
  static Flows<flow::FlowKey6>& of(Gateway::State& state) { return state.flows6; }
  static const Flows<flow::FlowKey6>& of(const Gateway::State& state) { return state.flows6; }
  static flow::FlowTable<flow::FlowKey6>& flows(const Gateway::State& state) {
    return *state.flows6.table;
  }
  static Keys<flow::FlowKey6>& keys(Gateway::State& state) { return state.scratch.keys6; }
  static constexpr uint8_t kVersion = 6;
  static constexpr uint16_t kEtherType = wire::kEtherTypeIpv6;
};

// Packets are wire::InnerPacket or Seen.

// A packet that opens a TCP connection: SYN and nothing that answers or ends one.
template <class Packet>
bool opens_tcp(const Packet& packet) {
  constexpr uint8_t kMask = wire::kSyn | wire::kAck | wire::kRst | wire::kFin;
  return packet.protocol == wire::kTcp && (packet.tcp_flags & kMask) == wire::kSyn;
}
// A packet that has to fit a TCP connection that is there, or open one. A later fragment does not
// show its header, but belongs to the connection whose ports its train has.
template <class Packet, class Key>
bool is_of_connection(const Packet& packet, const Key& key) {
  return packet.protocol == wire::kTcp &&
         ((packet.flags & wire::kLaterFragment) == 0 ||
          key.kind == static_cast<uint8_t>(flow::Stickiness::five_tuple));
}
template <class Packet>
bool has_tcp_header(const Packet& packet) {
  return packet.protocol == wire::kTcp && (packet.flags & wire::kLaterFragment) == 0;
}

// Whether a flow has to choose again: its target left, or its slot has another generation than when
// the flow was pinned. (The control plane takes a generation back while it may.)
inline bool pin_is_void(const flow::FlowState& flow, const select::TargetSpec& target) {
  return (target.flags & select::kRegistered) == 0 || flow.generation != target.generation;
}

// Whether TCP packets of this flow are answered with a RST. (A SYN chooses again before that.)
template <class Key>
bool is_refused(const Key& key, const flow::FlowState& flow, const select::TargetSpec& target) {
  if (key.kind != static_cast<uint8_t>(flow::Stickiness::five_tuple) ||
      key.protocol != wire::kTcp) {
    return false;
  }
  return (flow.flags & kRefused) != 0 || (target.flags & select::kResetFlows) != 0;
}
// A packet that a RST may answer.
template <class Packet>
bool takes_reset(const Packet& packet) {
  return has_tcp_header(packet) && (packet.tcp_flags & wire::kRst) == 0;
}

// FlowState.spare of a flow that moved: the slot it left, and when, in units of 64 ms.
inline uint32_t moved_from(uint16_t slot, uint64_t now_ms) {
  return uint32_t{slot} << 20 | (static_cast<uint32_t>(now_ms >> 6) & 0xfffff);
}
inline uint32_t moved_ago_ms(uint32_t moved, uint64_t now_ms) {
  return ((static_cast<uint32_t>(now_ms >> 6) - moved) & 0xfffff) << 6;
}
inline bool moved_just_now(uint32_t moved, uint64_t now_ms) {
  return moved_ago_ms(moved, now_ms) < (kMovedGraceMs & ~63u);
}

// Whether a SYN on an existing entry is a new connection that must choose a target of its own: the
// entry's is over, or was never answered, or its target is lost. A target that takes no new flows
// but is well keeps those it has.
inline bool syn_chooses_again(const flow::FlowState& flow, const select::TargetSpec& target) {
  if ((flow.flags & kRefused) != 0 || flow.idle == kIdleClosing || flow.idle == kIdleReset) {
    return true;
  }
  if ((target.flags & select::kEligible) != 0) return false;
  constexpr uint8_t kProgress = kHandshake | kSynAcked | kHandshakeOver;
  return (target.flags & select::kKeepsFlows) == 0 || (flow.tcp & kProgress) == kHandshake;
}

inline void drop(Gateway::State& state, batch::PacketBatch& batch, uint32_t i,
                 base::DropReason reason) {
  batch.drop(i, reason);
  state.counters.drop(reason, batch.packets[i]);
}

// A packet that has been classified, once more as a whole: for what is seldom needed.
inline wire::InnerPacket inner_of(const batch::PacketBatch& batch, uint32_t i) {
  wire::InnerPacket inner;
  const bool parsed = wire::parse_inner(batch.packet(i), batch.length[i], &inner).ok();
  GWLB_ASSERT(parsed);
  return inner;
}

// For functions that return whether the packet goes on.
inline bool dropped(Gateway::State& state, batch::PacketBatch& batch, uint32_t i,
                    base::DropReason reason) {
  drop(state, batch, i, reason);
  return false;
}

// --- classify.cc: role, inner packet, key and hash of every pending packet ---
void classify_packets(Gateway::State& state, batch::PacketBatch& batch);
void classify_datagrams(Gateway::State& state, batch::PacketBatch& batch);

// --- trains.cc ---

// Fragments of a batch all of whose packets have been read.
void take_trains(Gateway::State& state, batch::PacketBatch& batch);

// --- decide.cc: what becomes of those that are still pending ---
void decide(Gateway::State& state, batch::PacketBatch& batch);

// --- events.cc ---

// `counted`: what the flow has carried, or null.
template <class Key>
void emit(Gateway::State& state, FlowEventType type, FlowCause cause, const Key& key,
          uint16_t endpoint, uint32_t cookie, uint16_t previous,
          const FlowCounters* counted = nullptr);
// Says that a flow has ended, and counts it; the entry is the caller's.
template <class Key>
void end_flow(Gateway::State& state, const Key& key, uint32_t index, const flow::FlowState& flow,
              FlowCause cause);
// How many flows are in the tables.
void count_active(Gateway::State& state);

// --- encapsulate.cc ---

// Wraps packet i, a bare inner packet, for the peer of its `geneve` endpoint; of another endpoint
// nothing is done. False: dropped.
bool wrap_for_peer(Gateway::State& state, batch::PacketBatch& batch, uint32_t i);

// --- answer.cc: packet i is dropped for `reason`; its sender is told where that is possible ---

// With a RST; of a packet that takes_reset().
void answer_with_reset(Gateway::State& state, batch::PacketBatch& batch, uint32_t i,
                       base::DropReason reason);
// With an ICMP error that says the MTU.
void answer_too_big(Gateway::State& state, batch::PacketBatch& batch, uint32_t i);

// --- fit.cc: packets that are too long for their endpoint and may leave in fragments, and how long
// those of a connection may become ---

// Packet i, a bare inner packet longer than the run's MTU, is to leave in fragments. False: it must
// not, and nothing is done.
bool cut_to_mtu(Gateway::State& state, batch::PacketBatch& batch, uint32_t i);
// The same of one that enters, whose fragments may come back in any order.
bool cut_entering(Gateway::State& state, batch::PacketBatch& batch, uint32_t i);
// Counts those of cut_entering() that go on.
void count_cut(Gateway::State& state, const batch::PacketBatch& batch);
// Lowers the maximum segment size in packet i, a bare SYN or SYN-ACK, with
// GatewayConfig::clamp_mss.
void clamp_syn(Gateway::State& state, batch::PacketBatch& batch, uint32_t i);

}  // namespace gwlb::gateway
