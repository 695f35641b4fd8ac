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

#include "base/siphash.h"
#include "batch/packet_batch.h"
#include "flow/flow_key.h"
#include "gateway/counters.h"
#include "select/target_table.h"

namespace gwlb::gateway {

enum class InnerMode : uint8_t { ip, ethernet };
enum class CookieCheck : uint8_t { lenient, strict };
enum class MidStream : uint8_t { automatic, drop, pickup };

struct GatewayConfig {
  base::HashKey hash_key;
  base::HashKey cookie_key;
  flow::Stickiness stickiness = flow::Stickiness::five_tuple;
  bool scope_gateway = false;  // flows of all endpoints are one space
  CookieCheck cookie_check = CookieCheck::lenient;
  MidStream mid_stream = MidStream::automatic;
  // `automatic`: TCP flows are picked up in mid-stream until this long after the first packet.
  uint32_t learning_ms = 350'000;
  uint32_t flows_ipv4 = 1u << 20;
  uint32_t flows_ipv6 = 1u << 18;
  uint32_t tcp_idle_ms = 350'000;
  uint32_t other_idle_ms = 120'000;
  uint32_t mtu = base::kInnerBytesDefault;  // largest inner packet
  uint16_t option_class = 0x0108;
  uint64_t attachment_id = 0;
  InnerMode inner = InnerMode::ip;
  uint8_t source_mac[6] = {};
  uint8_t destination_mac[6] = {};
  bool fail_open = false;  // with no target registered at all: forward uninspected
  // For embedders that put whole IP packets on the wire: also write (and expect) IPv4 and UDP.
  bool outer_headers = false;
  uint32_t address = 0;  // own address, host order; outer source with outer_headers
  uint16_t port = 6081;
  uint16_t source_port_base = 32768;
  uint16_t source_port_count = 256;
  uint32_t events = 4096;  // flow events kept until they are drained; 0: none
};

enum class EndpointKind : uint8_t { none, tun, geneve, batch };

struct EndpointSpec {
  EndpointKind kind = EndpointKind::none;
  uint64_t id = 0;  // as carried in the endpoint id option
  uint16_t zone = 0;
  uint32_t mtu = 0;  // 0: the gateway's
  // kind geneve: the peer that is this endpoint.
  uint32_t peer = 0;
  uint16_t peer_port = 6081;
  uint32_t vni = 0;
  InnerMode inner = InnerMode::ip;
  uint8_t source_mac[6] = {};
  uint8_t destination_mac[6] = {};
};

enum class FlowEventType : uint8_t { opened = 1, moved = 2, ended = 3 };
enum class FlowEnd : uint8_t {
  none = 0,
  closed = 1,
  reset = 2,
  idle = 3,
  replaced = 4,
  evicted = 5
};

struct FlowEvent {
  uint64_t now_ms;
  uint8_t type;     // FlowEventType
  uint8_t end;      // FlowEnd of an `ended` event
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
};
static_assert(sizeof(FlowEvent) == 64);

// Why the decision for a tuple would be what it is.
struct Explanation {
  base::DropReason error = base::DropReason::none;  // the packet itself would be dropped
  uint64_t hash = 0;
  uint32_t row = 0;
  uint16_t target = base::kNoTarget;  // where its next packet goes
  uint16_t chosen = base::kNoTarget;  // what the row says now
  uint16_t zone = 0;
  bool pinned = false;
  bool forward = false;  // the tuple's source is the canonical low end
  uint32_t cookie = 0;   // of the pinned flow
  uint8_t tcp = 0;
  uint32_t idle_left_ms = 0;
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
  // Changes what may change while running.
  void set_idle_timeouts(uint32_t tcp_ms, uint32_t other_ms);
  void set_fail_open(bool fail_open);

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
  // Of a packet of the last batch whose verdict is `forward`: to a target, or by its endpoint?
  bool leaves_to_target(uint32_t i) const;

  // Ends idle flows; examines up to `positions` table positions. Call often with a small budget.
  uint32_t sweep(uint64_t now_ms, uint32_t positions);

  // Copies out up to `max` events; may be called from another thread than the packets'.
  uint32_t drain_events(FlowEvent* out, uint32_t max);

  // What would happen to this packet (an IP header and transport header are enough), and why.
  // Changes nothing.
  Explanation explain(const uint8_t* packet, uint32_t length, uint16_t endpoint,
                      uint64_t now_ms) const;

  uint32_t flows() const;
  size_t memory_bytes() const;

  struct State;  // state.h, for the files of this folder

 private:
  explicit Gateway(const GatewayConfig& config);
  std::unique_ptr<State> state_;
};

}  // namespace gwlb::gateway
