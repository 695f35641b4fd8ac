// The gateway's decision core: (state, batch, now) -> verdicts, events. No clock, no randomness, no
// system call and no allocation per packet; the same code serves sockets, embedders, replay and
// fuzzers.
//
//   to_targets:    classify (parse, key, hash) -> lookup or choose -> pin -> cookie -> encapsulate
//   from_targets:  classify (GENEVE, options, inner, key, hash) -> verify source, flow, cookie
//                  -> decapsulate -> the endpoint it entered by
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "base/siphash.h"
#include "batch/packet_batch.h"
#include "flow/flow_key.h"
#include "gateway/counters.h"
#include "gateway/names.h"
#include "select/target_table.h"

namespace gwlb::gateway {

enum class InnerMode : uint8_t { ip, ethernet };
enum class CookieCheck : uint8_t { lenient, strict };
// What takes a flow out of probation: a packet returned by its target, or its second packet.
enum class Promotion : uint8_t { returned, ingress };

// What may change while a gateway runs. All of it is one value: it is taken over as a whole.
struct LiveConfig {
  // Changed, flows are told apart by other fields from then on. Entries of before are found no more
  // and end when they are idle; their packets are those of flows without an entry, as long as such
  // may be alive.
  flow::Stickiness stickiness = flow::Stickiness::five_tuple;
  bool fail_open = false;      // with no target registered at all: forward uninspected
  bool reset_on_idle = false;  // answer TCP packets of no flow with a RST
  // Of TCP connections that are opened through here: no more than this; 0: as they say.
  uint16_t clamp_mss = 0;
  // The longest inner packet that fits every path to targets and peers, for kClampMssAuto; 0: not
  // known.
  uint32_t path_mtu = 0;
  // Also of flows that are there.
  uint32_t tcp_idle_ms = 350'000;
  uint32_t other_idle_ms = 120'000;
  // Every flow is reported once in about this time (`lives`); 0: never.
  uint32_t report_interval_ms = 0;
};

struct GatewayConfig : LiveConfig {
  base::HashKey hash_key;
  base::HashKey cookie_key;
  bool scope_gateway = false;  // flows of all endpoints are one space
  CookieCheck cookie_check = CookieCheck::lenient;
  MidStream mid_stream = MidStream::automatic;
  // `automatic`: TCP flows are picked up in mid-stream until this long after the first packet.
  uint32_t learning_ms = 350'000;
  uint32_t flows_ipv4 = 1u << 20;
  uint32_t flows_ipv6 = 1u << 18;
  uint32_t mtu = base::kInnerBytesDefault;  // largest inner packet
  uint16_t option_class = 0x0108;
  uint64_t attachment_id = 0;
  InnerMode inner = InnerMode::ip;
  uint8_t source_mac[6] = {};
  uint8_t destination_mac[6] = {};
  Promotion promotion = Promotion::returned;
  bool path_mtu_discovery = true;  // answer what is too long with an ICMP error
  bool flow_counters = false;      // 32 more bytes a flow
  // For embedders that put whole IP packets on the wire: also write (and expect) IPv4 and UDP.
  bool outer_headers = false;
  // What leaves is counted by count_sent(), once its sender knows what went; otherwise it is
  // counted as sent when it is decided.
  bool counted_by_sender = false;
  uint32_t address = 0;  // own address, host order; outer source with outer_headers
  uint16_t port = 6081;
  uint16_t source_port_base = 32768;
  uint16_t source_port_count = 256;
  uint32_t events = 4096;  // flow events kept until they are drained; 0: none
};

// LiveConfig::clamp_mss: what the endpoint's MTU and the path to targets and peers have room
// for.
inline constexpr uint16_t kClampMssAuto = 0xffff;

// A data-path check of a target: a packet as of a flow, of an endpoint that no gateway has, with
// the cookie slot << 20 | nonce. The target returns it like any other.
inline constexpr uint64_t kProbeEndpointId = ~uint64_t{0};
inline constexpr uint32_t kProbeNonceMask = (1u << 20) - 1;

enum class EndpointKind : uint8_t { none, tun, geneve, batch };

struct EndpointSpec {
  EndpointKind kind = EndpointKind::none;
  uint64_t id = 0;  // as carried in the endpoint id option
  uint16_t zone = 0;
  uint32_t mtu = 0;  // 0: the gateway's
  // Whoever sends its packets cuts those that is_fragmented() says.
  bool cuts = false;
  // kind geneve: the peer that is this endpoint.
  uint32_t peer = 0;
  uint16_t peer_port = 6081;
  uint32_t vni = 0;
  InnerMode inner = InnerMode::ip;
  uint8_t source_mac[6] = {};
  uint8_t destination_mac[6] = {};
};

// What a flow has carried; kept where GatewayConfig::flow_counters says so.
struct FlowCounters {
  static constexpr uint64_t kClock = (uint64_t{1} << 40) - 1;  // 34.8 years
  uint64_t bytes_to : 60 = 0, opened_0 : 4 = 0;
  uint64_t bytes_from : 60 = 0, opened_4 : 4 = 0;
  uint64_t packets_to : 48 = 0, opened_8 : 16 = 0;
  uint64_t packets_from : 48 = 0, opened_24 : 16 = 0;
  // Milliseconds modulo kClock + 1.
  uint64_t opened_ms() const {
    return uint64_t{opened_24} << 24 | uint64_t{opened_8} << 8 | uint64_t{opened_4} << 4 | opened_0;
  }
  void open(uint64_t now_ms) {
    *this = {};
    opened_0 = now_ms & 15;
    opened_4 = now_ms >> 4 & 15;
    opened_8 = now_ms >> 8 & 0xffff;
    opened_24 = now_ms >> 24 & 0xffff;
  }
};
static_assert(sizeof(FlowCounters) == 32);

struct FlowEvent {
  uint64_t now_ms;
  uint8_t type;     // FlowEventType
  uint8_t cause;    // FlowCause
  uint8_t version;  // 4 or 6
  uint8_t protocol;
  uint16_t endpoint;
  uint16_t target;
  uint16_t previous;  // target before a `moved`
  uint16_t low_port;
  uint16_t high_port;
  uint32_t cookie;
  uint8_t low[16];  // canonical ends, network order; IPv4 in the first 4 bytes
  uint8_t high[16];
  // Of `ended` and `lives`, with flow_counters.
  uint64_t opened_ms;
  uint64_t packets_to, bytes_to, packets_from, bytes_from;
};
static_assert(sizeof(FlowEvent) == 104);

// Live flows whose next packet would do the same under another target table.
struct FlowMove {
  uint16_t from = base::kNoTarget;
  uint16_t to = base::kNoTarget;
  Fate fate = Fate::stays;
  uint32_t count = 0;
};

// Why the decision for a tuple would be what it is.
struct Explanation {
  base::DropReason error = base::DropReason::none;  // the packet itself would be dropped
  uint64_t hash = 0;
  uint32_t row = 0;
  uint32_t rows = 0;                  // of the target table
  uint16_t target = base::kNoTarget;  // where its next packet goes
  uint16_t chosen = base::kNoTarget;  // what the row says now
  uint16_t zone = 0;
  bool pinned = false;
  bool stray = false;          // a SYN on a connection that may be alive: it changes nothing
  bool quoted = false;         // an ICMP error: the flow is that of the packet it quotes
  bool forward = false;        // the tuple's source is the canonical low end
  uint32_t cookie = 0;         // of the pinned flow
  bool cookie_signed = false;  // its tag is good now
  bool fin_from_low = false, fin_from_high = false;  // TCP
  bool opening = false;  // TCP that began with a SYN, and is not established
  Rule rule = Rule::none;
  bool probation = false;
  IdleClass idle = kIdleTcp;
  uint32_t idle_timeout_ms = 0;
  uint32_t idle_left_ms = 0;
  uint16_t moved_from = base::kNoTarget;  // within the last 30 s
  uint32_t moved_ago_ms = 0;
  uint8_t kind = 0;  // key's stickiness: 5, 3, 2
  uint8_t low[16] = {}, high[16] = {};
  uint16_t low_port = 0, high_port = 0;
  uint8_t version = 0, protocol = 0;
};

class Gateway {
 public:
  // Null where memory is refused.
  static std::unique_ptr<Gateway> create(const GatewayConfig& config);
  ~Gateway();

  const GatewayConfig& config() const;
  Counters& counters();

  // --- control; between batches, on the thread that runs the batches ---
  void set_targets(std::shared_ptr<const select::TargetTable> table);
  const select::TargetTable& targets() const;
  void set_endpoint(uint16_t index, const EndpointSpec& endpoint);
  void remove_endpoint(uint16_t index);
  const EndpointSpec& endpoint(uint16_t index) const;
  void configure(const LiveConfig& live);
  // Tags with the key before stay good until now_ms + overlap_ms.
  void set_cookie_key(const base::HashKey& key, uint64_t now_ms, uint32_t overlap_ms);

  // --- packets ---
  // Inner packets of batch.endpoint[i] -> encapsulated in place, with address, port, source_port
  // and target set. Packets whose verdict is not `pending` are left alone.
  void to_targets(batch::PacketBatch& batch, uint64_t now_ms);

  // UDP payloads received on the GENEVE port (with outer_headers: whole IPv4 packets) from
  // batch.address[i]. A target's packet is verified and decapsulated in place, with endpoint set
  // (for a `geneve` endpoint it is encapsulated again, with address and port set). A datagram of a
  // `geneve` endpoint's peer is decapsulated and treated as to_targets would; it then
  // leaves_to_target().
  void from_targets(batch::PacketBatch& batch, uint64_t now_ms);
  // The endpoint whose peer sent this datagram, and where its IP packet begins (the Ethernet header
  // skipped); kNoEndpoint where none did, or it cannot be read that far. Decides nothing.
  uint16_t endpoint_of_peer(const uint8_t* datagram, uint32_t length, uint32_t address,
                            uint32_t* inner) const;
  // Whether it is the address of a `geneve` endpoint's peer.
  bool is_peer(uint32_t address) const;
  // Of a packet of the last batch whose verdict is `forward`: to a target, or by its endpoint?
  bool leaves_to_target(uint32_t i) const;

  // With counted_by_sender, after the packets of the last batch were sent, before the next one: all
  // whose verdict is still `forward` or `bypass` count as sent. One that was to leave and is a drop
  // now counts as that (`decided`, `all`: its verdict and packets[i] before): of a super-packet
  // packets[i] are those that did not go, and lost_bytes[i] their bytes where some did. An answer
  // that could not be sent is in replies_unsent; what it answers is counted already.
  void count_sent(const batch::PacketBatch& batch);
  void count_unsent(const batch::PacketBatch& batch, uint32_t i, batch::Verdict decided,
                    uint32_t all);

  // Fills `batch` with held packets that may go now, for to_targets; returns how many. Nothing is
  // held longer than kHoldMs, if it is called then: in holding() milliseconds at the latest.
  uint32_t take_held(batch::PacketBatch& batch, uint64_t now_ms);
  bool holding() const;

  // Ends idle flows; examines up to `positions` table positions. Call often with a small budget.
  uint32_t sweep(uint64_t now_ms, uint32_t positions);

  // Copies out up to `max` events; may be called from another thread than the packets'.
  uint32_t drain_events(FlowEvent* out, uint32_t max);
  // Forgets those that wait; by the thread that drains.
  void discard_events();
  // Adds to `out` an `ended` (stopped) for each flow in `positions` places from `*cursor` on (0 at
  // first); the flows stay. *cursor is 0 when it has come round.
  void end_flows(uint64_t now_ms, uint32_t positions, uint32_t* cursor,
                 std::vector<FlowEvent>* out) const;

  // What would happen to this packet (an IP header and transport header are enough), and why.
  // Changes nothing.
  Explanation explain(const uint8_t* packet, uint32_t length, uint16_t endpoint,
                      uint64_t now_ms) const;

  // Key and endpoint of this packet's flow as in an event; `kind` is the key's. False where it has
  // none.
  bool describe(const uint8_t* packet, uint32_t length, uint16_t endpoint, uint64_t now_ms,
                FlowEvent* out, uint8_t* kind) const;

  // Adds to `out` what the next packets of the flows in `positions` places from `*cursor` on (0 at
  // first) would do if `table` were the target table. *cursor is 0 when it has come round.
  void preview(const select::TargetTable& table, uint32_t positions, uint32_t* cursor,
               std::vector<FlowMove>* out) const;

  uint64_t now_ms() const;  // that it was given last
  uint32_t flows() const;
  size_t memory_bytes() const;

  struct State;  // state.h, for the files of this folder

 private:
  explicit Gateway(const GatewayConfig& config);
  std::unique_ptr<State> state_;
};

}  // namespace gwlb::gateway
