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

inline constexpr uint8_t kMappedPrefix[12] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};

union SocketAddress {
  sockaddr any;
  sockaddr_in ipv4;
  sockaddr_in6 ipv6;
};

// Into an IPv6 socket's form of the address, or an IPv4 socket's (which has to be mapped then).
// Returns its bytes.
socklen_t write_address(const uint8_t (&mapped)[16], uint16_t port, uint32_t interface, bool ipv6,
                        SocketAddress* out);

// IPv4 as RFC 4291 §2.5.5.2 maps it into IPv6.
bool is_mapped(const uint8_t (&address)[16]);
void map_address(uint32_t address, uint8_t (&out)[16]);

bool set_option(int fd, int level, int option, int value);

// The forced variant of the option passes net.core.*mem_max but is privileged; the plain one is cut
// silently.
void set_buffer(int fd, int forced, int plain, uint32_t bytes);

// Whether the kernel has UDP_SEGMENT.
bool has_trains(int fd);

// What is sent to this socket is refused before it takes memory.
OsError refuse_input(int fd, const std::string& detail);

// A non-blocking UDP socket of the current network namespace with the configuration's TTL, DF and
// send buffer, of its address's family; IPv6 takes IPv4 too. `*fd` is the caller's, also on an
// error (-1: none).
OsError open_udp_socket(const UdpConfig& config, const std::string& detail, int* fd);

// To the configuration's address, and to this port of it. `interface` where it is link-local.
OsError bind_udp_socket(int fd, const UdpConfig& config, uint16_t port, uint32_t interface = 0);

// "10.0.0.1:6081", "[::]:6081"
std::string address_text(const UdpConfig& config, uint16_t port);

// What the network reports about an earlier packet, or a state of the host that passes. Receiving
// or sending goes on.
bool is_passing(int number);

}  // namespace gwlb::io
