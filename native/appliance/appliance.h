// Contract: the appliance's side of the tunnel. A datagram from a gateway is opened in place so that
// the inner packet can be looked at (and rewritten), then returned exactly as a gateway expects it
// (spec 1.2): outer addresses swapped, ports kept, the whole GENEVE header as received.
#pragma once

#include <cstdint>

#include "batch/packet_batch.h"
#include "wire/gwlb_options.h"
#include "wire/inner.h"

namespace gwlb::appliance {

// X(name, sentence)
#define GWLB_APPLIANCE_COUNTERS(X)                                     \
  X(packets_received, "datagrams received from gateways")              \
  X(bytes_received, "bytes of them, inner packet")                     \
  X(packets_returned, "packets returned to the gateway")               \
  X(bytes_returned, "bytes of them, inner packet")                     \
  X(packets_rewritten, "packets returned with changed contents")

struct ApplianceConfig {
  uint16_t option_class = 0x0108;
};

// What open() found out about packet i; valid until the batch is opened again.
struct Opened {
  wire::GatewayOptions options;
  wire::InnerPacket inner;
  uint32_t header_bytes;  // in front of the inner IP packet: GENEVE header, and Ethernet if inner
};

class Appliance {
 public:
  explicit Appliance(const ApplianceConfig& config) : config_(config) {}

  // UDP payloads in: batch.offset/length then locate the inner IP packet; what cannot be opened is
  // dropped with its reason. `address` and `port` (outer source) stay as received.
  void open(batch::PacketBatch& batch);
  const Opened& opened(uint32_t i) const { return opened_[i]; }

  // Replaces the inner packet's bytes. False where `length` does not fit the slot or is no IP packet.
  bool rewrite(batch::PacketBatch& batch, uint32_t i, const uint8_t* bytes, uint32_t length);

  // For every packet not dropped: offset/length grow back over the GENEVE header as received;
  // verdict forward; address stays the gateway's, port becomes 6081 (`gateway_port`), source_port
  // the port it was sent from (R6: ports are not swapped).
  void close(batch::PacketBatch& batch, uint16_t gateway_port);

 private:
  ApplianceConfig config_;
  Opened opened_[base::kBatchPacketsMax];
};

// A rule that native code can apply without JavaScript: "tcp port 23", "host 10.0.0.1", "udp dst
// port 53 host 10.1.0.0/16". Zero means any.
struct DropRule {
  uint8_t protocol = 0;
  uint16_t port = 0;         // either end
  uint8_t address[16] = {};  // either end
  uint8_t version = 0;       // 4 or 6 where an address is given
  uint8_t prefix = 0;
};
bool matches(const DropRule& rule, const wire::InnerPacket& packet);

}  // namespace gwlb::appliance
