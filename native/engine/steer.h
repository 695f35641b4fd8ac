// Which worker owns a packet's flow, from the raw packet. Only needed with several workers: whoever
// receives a packet asks this first, and only the owner hands it to its gateway core, so that it is
// classified, counted and decided once.
#pragma once

#include <cstdint>

#include "base/siphash.h"

namespace gwlb::engine {

// By the inner packet's two addresses; those of the quoted packet for an ICMP error. Whatever
// cannot be read belongs to `self`, whose gateway core drops it with the reason.
uint32_t owner_of_packet(const base::HashKey& key, const uint8_t* packet, uint32_t length,
                         uint32_t workers, uint32_t self);

// The same for a UDP payload that is GENEVE with an inner IP packet or Ethernet frame.
uint32_t owner_of_datagram(const base::HashKey& key, const uint8_t* payload, uint32_t length,
                           uint32_t workers, uint32_t self);

}  // namespace gwlb::engine
