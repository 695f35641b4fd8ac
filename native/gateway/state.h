// The gateway's inside, shared by the files of this folder and by nobody else.
#pragma once

#include <algorithm>
#include <memory>

#include "flow/flow_table.h"
#include "flow/fragments.h"
#include "flow/probation.h"
#include "gateway/cookie.h"
#include "gateway/endpoints.h"
#include "gateway/event_ring.h"
#include "gateway/gateway.h"
#include "gateway/hold.h"
#include "gateway/scratch.h"
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

  uint32_t error_tokens = kErrorBurst;
  uint64_t error_tokens_ms = 0;

  uint64_t reported_ms = 0;

  EndpointRun run;
  uint64_t packets_from_targets = 0;  // of the batch
  Scratch scratch;

  void set_idle_timeouts() {
    const auto set = [this](auto& flows) {
      flows.set_idle(kIdleTcp, config.tcp_idle_ms);
      flows.set_idle(kIdleOther, config.other_idle_ms);
      flows.set_idle(kIdleClosing, base::kFinBothWaysMs);
      flows.set_idle(kIdleReset, base::kResetMs);
      flows.set_idle(kIdleSyn, std::min(config.tcp_idle_ms, base::kSynSeenMs));
      flows.set_idle(kIdleSynAcked, std::min(config.tcp_idle_ms, base::kSynAckSeenMs));
    };
    set(*flows4.table);
    set(*flows6.table);
  }
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
    if (config.path_mtu != 0) {
      mtu = std::min(mtu, std::max(config.path_mtu, base::kInnerBytesMin));
    }
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
bool cut_leaving(Gateway::State& state, batch::PacketBatch& batch, uint32_t i);
// The same of one that enters, whose fragments may come back in any order.
bool cut_entering(Gateway::State& state, batch::PacketBatch& batch, uint32_t i);
// Lowers the maximum segment size in packet i, a bare SYN or SYN-ACK, with
// LiveConfig::clamp_mss.
void clamp_syn(Gateway::State& state, batch::PacketBatch& batch, uint32_t i);
// Counts the packets of the batch that were cut or clamped and have left.
void count_fitted(Gateway::State& state, const batch::PacketBatch& batch);

}  // namespace gwlb::gateway
