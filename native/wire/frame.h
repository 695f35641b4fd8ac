// A captured frame, outermost layer first: link, outer IP, UDP, GENEVE, inner packet, located in
// one pass. For tools (decode, replay) and for packet I/O that sees whole frames; the socket path
// starts at the GENEVE header.
#pragma once

#include <cstddef>
#include <cstdint>

#include "wire/gwlb_options.h"
#include "wire/inner.h"

namespace gwlb::wire {

// Link types of capture files (LINKTYPE_ values).
enum class Link : uint16_t {
  bsd_null = 0,  // 4 bytes of address family, in the byte order of the machine that captured
  ethernet = 1,
  raw_ip_bsd = 12,
  raw_ip = 101,
  bsd_loop = 108,  // the same in network byte order
  linux_cooked = 113,
  linux_cooked2 = 276,
  ipv4 = 228,
  ipv6 = 229,
};
bool link_supported(uint32_t link);

enum class ChecksumState : uint8_t { ok, zero, bad, unknown };
const char* checksum_state_name(ChecksumState state);

struct Frame {
  // Where each layer starts, from the first byte of the frame; 0xffffffff where it was not reached.
  static constexpr uint32_t kAbsent = 0xffffffff;
  uint32_t network_offset = kAbsent;  // behind a link header that says IP; nothing read there yet
  uint32_t ip_offset = kAbsent;
  uint32_t udp_offset = kAbsent;
  uint32_t geneve_offset = kAbsent;
  uint32_t inner_ethernet_offset = kAbsent;
  uint32_t inner_offset = kAbsent;
  uint32_t datagram_end = kAbsent;  // of UDP, on the wire; where geneve_offset may be

  // Outer IP and UDP. Valid where ip_offset / udp_offset are.
  const uint8_t* source = nullptr;
  const uint8_t* destination = nullptr;
  uint8_t version = 0;
  uint8_t ttl = 0;
  uint8_t tos = 0;
  uint8_t protocol = 0;
  uint16_t source_port = 0;
  uint16_t destination_port = 0;
  ChecksumState checksum = ChecksumState::unknown;  // unknown: cut capture, fragment, BIG TCP

  GeneveHeader geneve;
  bool has_gateway_options = false;
  GatewayOptions gateway;
  EthernetFrame inner_ethernet;
  InnerPacket inner;
  bool is_geneve = false;  // UDP to `port`: a decoder prints it
  bool has_inner = false;
};

// Walks `captured` bytes of a frame of the given link type. `wire_length` is what the frame had on
// the wire (at least `captured`). Without an error: either a complete GENEVE packet (is_geneve) or
// some other packet. Whatever was readable before an error is in `out`. The outer header may be
// IPv4 or IPv6; an IPv4 total length or UDP length of 0 (BIG TCP) means "to the end".
// A GENEVE packet is walked leniently: an O bit or critical option is not an error here.
ParseError parse_frame(const uint8_t* data, size_t captured, size_t wire_length, uint32_t link,
                       uint16_t option_class, uint16_t port, Frame* out);

}  // namespace gwlb::wire
