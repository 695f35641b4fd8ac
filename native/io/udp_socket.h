// What receiving and sending sockets have in common; for the files of this folder.
#pragma once

#include <netinet/in.h>

#include <cstdint>
#include <string>

#include "io/os_error.h"
#include "io/udp.h"

namespace gwlb::io {

// UDP_SEGMENT and UDP_GRO of <linux/udp.h>, which does not go together with <netinet/in.h>.
inline constexpr int kUdpSegment = 103;
inline constexpr int kUdpGro = 104;

sockaddr_in socket_address(uint32_t address, uint16_t port);

bool set_option(int fd, int level, int option, int value);

// The forced variant of the option passes net.core.*mem_max but is privileged; the plain one is cut
// silently.
void set_buffer(int fd, int forced, int plain, uint32_t bytes);

// A non-blocking UDP socket of the current network namespace with the configuration's TTL, DF and
// send buffer. `*fd` is the caller's, also on an error (-1: none).
OsError open_udp_socket(const UdpConfig& config, const std::string& detail, int* fd);

OsError bind_udp_socket(int fd, uint32_t address, uint16_t port);

// What the network reports about an earlier packet, or a state of the host that passes. Receiving
// or sending goes on.
bool is_passing(int number);

}  // namespace gwlb::io
