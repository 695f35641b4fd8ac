// The appliance's side of the tunnel. A datagram from a gateway is opened in place so that the
// inner packet can be looked at (and rewritten), then returned exactly as a gateway expects it:
// outer addresses swapped, ports kept, the whole GENEVE header as received (RFC 8926 §3.3; the
// behaviour of AWS's own appliances).
//
//   slot:  headroom | GENEVE base, options [, Ethernet] | inner IP packet | tail | room to grow
//                   ^ as received; never written          ^ offset, length between open and close
//
// The received header stays where it is, in front of the inner packet, so a returned packet cannot
// carry another flow's metadata, and no table of flows is needed.
#pragma once

#include <cstdint>

#include "appliance/counters.h"
#include "batch/packet_batch.h"
#include "wire/gwlb_options.h"
#include "wire/inner.h"

namespace gwlb::appliance {

struct ApplianceConfig {
  uint16_t option_class = 0x0108;
};

// What open() found out about packet i; valid until the batch is opened again. All zero for a
// packet that could not be opened or was dropped for good, except `reason`.
struct Opened {
  wire::GatewayOptions options;
  wire::InnerPacket inner;
  uint32_t header_bytes = 0;  // in front of the inner IP packet: GENEVE, and Ethernet if inner
  uint32_t offset = 0;        // of the inner IP packet in the batch's block
  uint32_t vni = 0;
  uint32_t length = 0;                               // of it: its IP total length
  uint32_t tail = 0;                                 // bytes behind it, such as Ethernet padding
  uint16_t port = 0;                                 // outer source port as received
  base::DropReason reason = base::DropReason::none;  // final; close() does not undo it
  bool rewritten = false;
  bool rejected = false;
  bool direct = false;  // goes back past the kernel, where there is a device
  bool is_open() const { return header_bytes != 0; }
};

// A rule that native code can apply without JavaScript: "tcp port 23", "host 10.0.0.1", "udp dst
// port 53 host 10.1.0.0/16". Zero means any.
struct DropRule {
  uint8_t protocol = 0;
  uint16_t port = 0;         // either end; never matches a packet without ports (a later fragment)
  uint8_t address[16] = {};  // either end
  uint8_t version = 0;       // 4 or 6 where an address is given
  uint8_t prefix = 0;        // bits of `address` that count; more than it has counts as all
};
bool matches(const DropRule& rule, const wire::InnerPacket& packet);

// About 27 KB; make one for each batch. Not thread-safe: the batch and its Appliance go from thread
// to thread together.
class Appliance {
 public:
  explicit Appliance(const ApplianceConfig& config) : config_(config) {}

  // UDP payloads in: batch.offset/length then locate the inner IP packet (without the bytes behind
  // its total length, which nobody is shown; they are returned as they came unless it is
  // rewritten). Protocol type IPv4 or IPv6 carries the packet itself, 0x6558 an Ethernet frame with
  // up to two VLAN tags around it; a frame that is not IP (ARP) is dropped as geneve_bad_protocol.
  // The outer congestion mark is carried over to the inner packet (RFC 6040; gateways send none).
  // What cannot be opened is dropped with its reason; what the receiver dropped stays so. `address`
  // and `port` (outer source) stay as received.
  void open(batch::PacketBatch& batch);
  const Opened& opened(uint32_t i) const { return opened_[i]; }

  // Drops packet i for good: unlike the verdict, which the inspector may still change.
  void drop(batch::PacketBatch& batch, uint32_t i, base::DropReason why);

  // Packet i, an open one, goes back past the kernel.
  void set_direct(uint32_t i) { opened_[i].direct = true; }

  // Copies packet i of another batch, which `from` has opened, header and all, behind the last one
  // of `batch`, into a slot of its own; `batch` and this Appliance then know it as opened. There,
  // its verdict becomes `moved`. False, and nothing happens, where `batch` is full or the packet
  // larger than a slot. A batch that is filled like this is not opened.
  bool take(batch::PacketBatch& batch, Appliance& from, batch::PacketBatch& source, uint32_t i);

  // Replaces the inner packet's bytes (which may overlap them). False, and nothing changes, where
  // packet i is not open, the bytes are no IP packet of exactly `length` bytes, or they do not fit
  // the slot. opened(i).inner then describes the new packet; the old one's tail is gone. A packet
  // of the other IP version also changes the protocol type (or the frame's EtherType), the only
  // bytes of the received header that ever change.
  bool rewrite(batch::PacketBatch& batch, uint32_t i, const uint8_t* bytes, uint32_t length);

  // Replaces an open packet by the answer that refuses it, from its destination to its source: a
  // RST where it is an unfragmented TCP segment, else ICMP "administratively prohibited". False,
  // and nothing changes, where no answer may be given: to a RST, an ICMP error, a later fragment,
  // or what is not between two hosts (RFC 1122 section 3.2.2, RFC 4443 section 2.4).
  bool reject(batch::PacketBatch& batch, uint32_t i);

  // For every packet whose verdict is neither drop nor moved: offset/length grow back over the
  // GENEVE header as received; verdict forward; address stays the gateway's, port becomes 6081
  // (`gateway_port`), source_port the port it was sent from (R6: ports are not swapped). An inner
  // Ethernet header is returned verbatim, addresses not swapped: gateways ignore them, and Open
  // vSwitch as appliance does the same. The inspector's drops get the reason appliance_verdict.
  //
  // Only verdict and address are taken from the descriptors; the rest is what open() and rewrite()
  // left, so a changed offset or length cannot lead outside the slot.
  void close(batch::PacketBatch& batch, uint16_t gateway_port);

 private:
  // Packet i is another one now, `length` bytes at its place, described by `inner`.
  void replaced(batch::PacketBatch& batch, uint32_t i, const wire::InnerPacket& inner,
                uint32_t length);

  ApplianceConfig config_;
  Opened opened_[base::kBatchPacketsMax];
};

}  // namespace gwlb::appliance
