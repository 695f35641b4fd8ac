// Explicit congestion notification across the tunnel, RFC 6040.
#pragma once

#include <cstdint>

namespace gwlb::wire {

enum class Ecn : uint8_t { not_ect = 0, ect1 = 1, ect0 = 2, ce = 3 };

struct EcnDecision {
  Ecn inner;        // what the inner packet carries on
  bool drop;        // the packet must not be forwarded
  bool suspicious;  // a combination the RFC says to log
};

// The decapsulation table (RFC 6040 figure 4). The gateway encapsulates in compatibility mode
// (outer Not-ECT), because deployed appliances ignore the outer field.
EcnDecision ecn_decapsulate(Ecn inner, Ecn outer);

// Reads and writes the ECN bits of an IPv4 or IPv6 header that has been parsed; writing IPv4
// updates the header checksum incrementally.
Ecn inner_ecn(const uint8_t* ip_header);
void set_inner_ecn(uint8_t* ip_header, Ecn ecn);

// Carries what the outer header says of congestion into a parsed inner packet. False: the packet
// must be dropped (outer CE, inner Not-ECT).
bool carry_congestion(uint8_t* ip_header, uint8_t outer_tos);

}  // namespace gwlb::wire
