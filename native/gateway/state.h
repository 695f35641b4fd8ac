// The gateway's inside, shared by the files of this folder and by nobody else.
#pragma once

#include <memory>

#include "flow/flow_table.h"
#include "flow/fragments.h"
#include "gateway/cookie.h"
#include "gateway/endpoints.h"
#include "gateway/event_ring.h"
#include "gateway/gateway.h"
#include "wire/gwlb_options.h"
#include "wire/inner.h"

namespace gwlb::gateway {

// Idle classes of the flow tables.
enum IdleClass : uint8_t {
  kIdleTcp = 0,      // tcp_idle_ms
  kIdleOther = 1,    // other_idle_ms
  kIdleClosing = 2,  // FIN both ways
  kIdleReset = 3,    // RST seen; falls back to kIdleTcp if the connection lives on
};
inline constexpr uint32_t kClosingMs = 15'000;
inline constexpr uint32_t kResetMs = 10'000;

// Returns of a flow's former target stay welcome for this long after it moved (spec 10, row 6).
inline constexpr uint32_t kMovedGraceMs = 30'000;

inline constexpr uint32_t kFragmentTrains = 4096;
inline constexpr uint32_t kFragmentLifetimeMs = 30'000;

// FlowState.tcp
enum TcpBits : uint8_t {
  kFinFromLow = 1,
  kFinFromHigh = 2,
  kHandshakeOver = 4,  // something other than SYN or SYN-ACK was seen
};

// FlowState.flags
enum FlowFlags : uint8_t {
  kPromoted = 1,  // its target has returned a packet
  kMoved = 2,     // FlowState.spare is from where and when
  kVersion6 = 4,
};

// What one packet of the batch is, between classify and decide.
enum class Role : uint8_t { ingress, from_target };

struct Scratch {
  wire::InnerPacket inner[base::kBatchPacketsMax];
  wire::GatewayOptions options[base::kBatchPacketsMax];  // Role::from_target
  Role role[base::kBatchPacketsMax];
  bool low_to_high[base::kBatchPacketsMax];
  bool quoted[base::kBatchPacketsMax];  // the key is that of an ICMP error's quoted packet
  uint16_t source_slot[base::kBatchPacketsMax];
  uint32_t key_at[base::kBatchPacketsMax];  // place in keys4 / keys6
  uint32_t found[base::kBatchPacketsMax];   // record in the packet's family's table

  // The batch's keys by family, dense, for bulk lookup.
  uint32_t n4, n6;
  flow::FlowKey4 keys4[base::kBatchPacketsMax];
  flow::FlowKey6 keys6[base::kBatchPacketsMax];
  uint64_t hashes4[base::kBatchPacketsMax];
  uint64_t hashes6[base::kBatchPacketsMax];
  uint32_t packet4[base::kBatchPacketsMax];
  uint32_t packet6[base::kBatchPacketsMax];
  uint32_t found4[base::kBatchPacketsMax];
  uint32_t found6[base::kBatchPacketsMax];
};

struct Gateway::State {
  explicit State(const GatewayConfig& c) : config(c), events(c.events) {}

  GatewayConfig config;
  std::shared_ptr<const select::TargetTable> table;
  Endpoints endpoints;
  std::unique_ptr<flow::FlowTable<flow::FlowKey4>> flows4;
  std::unique_ptr<flow::FlowTable<flow::FlowKey6>> flows6;
  std::unique_ptr<flow::FragmentTable> fragments;
  Counters counters;
  EventRing events;

  bool started = false;
  uint64_t started_ms = 0;
  bool untracked = false;  // some flow has no entry although it was forwarded, last at untracked_ms
  uint64_t untracked_ms = 0;
  uint64_t now_ms = 0;

  Scratch scratch;

  // The learning window begins with the first packets.
  void advance(uint64_t to_ms) {
    now_ms = to_ms;
    if (started) return;
    started = true;
    started_ms = to_ms;
  }
  uint16_t scope_of(uint16_t endpoint) const {
    return config.scope_gateway ? flow::kScopeGateway : endpoint;
  }
  uint32_t mtu_of(uint16_t endpoint) const {
    const uint32_t own = endpoints.at(endpoint).mtu;
    return own != 0 && own < config.mtu ? own : config.mtu;
  }
  // With one scope for all endpoints both directions may enter by different ones, and the cookie
  // has to be the same.
  uint32_t cookie_for(uint16_t endpoint, uint64_t hash, uint16_t slot, uint8_t incarnation) const {
    const uint64_t id = config.scope_gateway ? 0 : endpoints.at(endpoint).id;
    return make_cookie(config.cookie_key, id, config.attachment_id, hash, slot, incarnation);
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
  static flow::FlowTable<flow::FlowKey4>& flows(const Gateway::State& state) {
    return *state.flows4;
  }
  static const flow::FlowKey4& key(const Gateway::State& state, uint32_t i) {
    return state.scratch.keys4[state.scratch.key_at[i]];
  }
  static constexpr uint8_t kVersion = 4;
};
template <>
struct Family<flow::FlowKey6> {
  static flow::FlowTable<flow::FlowKey6>& flows(const Gateway::State& state) {
    return *state.flows6;
  }
  static const flow::FlowKey6& key(const Gateway::State& state, uint32_t i) {
    return state.scratch.keys6[state.scratch.key_at[i]];
  }
  static constexpr uint8_t kVersion = 6;
};

// A packet that opens a TCP connection: SYN and nothing that answers or ends one.
inline bool opens_tcp(const wire::InnerPacket& packet) {
  constexpr uint8_t kMask = wire::kSyn | wire::kAck | wire::kRst | wire::kFin;
  return packet.protocol == wire::kTcp && (packet.tcp_flags & kMask) == wire::kSyn;
}
// A packet that has to fit a TCP connection that is there, or open one. A later fragment does not
// show its header, but belongs to the connection whose ports its train has.
template <class Key>
bool is_of_connection(const wire::InnerPacket& packet, const Key& key) {
  return packet.protocol == wire::kTcp &&
         ((packet.flags & wire::kLaterFragment) == 0 ||
          key.kind == static_cast<uint8_t>(flow::Stickiness::five_tuple));
}
inline bool has_tcp_header(const wire::InnerPacket& packet) {
  return packet.protocol == wire::kTcp && (packet.flags & wire::kLaterFragment) == 0;
}

// Whether a flow has to choose again: its target left, or its slot's generation was bumped while
// the target takes no new flows. (One that takes new flows again before the flow's next packet
// keeps it.)
inline bool pin_is_void(const flow::FlowState& flow, const select::TargetSpec& target) {
  if ((target.flags & select::kRegistered) == 0) return true;
  return flow.generation != target.generation && (target.flags & select::kEligible) == 0;
}

// FlowState.spare of a flow that moved: the slot it left, and when, in units of 64 ms.
inline uint32_t moved_from(uint16_t slot, uint64_t now_ms) {
  return uint32_t{slot} << 20 | (static_cast<uint32_t>(now_ms >> 6) & 0xfffff);
}
inline bool moved_just_now(const flow::FlowState& flow, uint16_t from, uint64_t now_ms) {
  if ((flow.flags & kMoved) == 0 || flow.spare >> 20 != from) return false;
  const uint32_t ago = (static_cast<uint32_t>(now_ms >> 6) - flow.spare) & 0xfffff;
  return ago < kMovedGraceMs >> 6;
}

// Whether a SYN on an existing entry is a new connection that must choose a target of its own.
inline bool syn_chooses_again(const flow::FlowState& flow, const select::TargetSpec& target) {
  return flow.idle == kIdleClosing || flow.idle == kIdleReset ||
         (target.flags & select::kEligible) == 0;
}

inline void drop(Gateway::State& state, batch::PacketBatch& batch, uint32_t i,
                 base::DropReason reason) {
  batch.drop(i, reason);
  state.counters.drop(reason);
}

// --- classify.cc: role, inner packet, key and hash of every pending packet ---
void classify_packets(Gateway::State& state, batch::PacketBatch& batch);
void classify_datagrams(Gateway::State& state, batch::PacketBatch& batch);

// --- decide.cc: what becomes of those that are still pending ---
void decide(Gateway::State& state, batch::PacketBatch& batch);

// --- encapsulate.cc ---

// Puts the gateway header (and inner Ethernet, and outer IPv4 + UDP where configured) in front of
// packet i and says where it goes. False: no headroom (dropped).
bool encapsulate(Gateway::State& state, batch::PacketBatch& batch, uint32_t i,
                 const select::TargetSpec& target, uint32_t cookie);
// Packet i is a bare inner packet that leaves by its endpoint: checks the MTU, and wraps it for the
// peer of a `geneve` endpoint. False: dropped.
bool leave_by_endpoint(Gateway::State& state, batch::PacketBatch& batch, uint32_t i);

}  // namespace gwlb::gateway
