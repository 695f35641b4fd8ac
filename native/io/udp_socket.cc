#include "io/udp_socket.h"

#include <arpa/inet.h>
#include <linux/filter.h>
#include <sys/socket.h>

#include <cerrno>
#include <cstring>

#include "base/assert.h"
#include "base/bytes.h"

namespace gwlb::io {
namespace {

// IPv4's options, which an IPv6 socket that takes IPv4 too has as well.
OsError set_ipv4_options(int fd, const UdpConfig& config, const std::string& detail) {
  if (!set_option(fd, IPPROTO_IP, IP_TTL, config.ttl)) {
    return last_error("setsockopt(IP_TTL)", detail);
  }
  const int discover = config.dont_fragment ? IP_PMTUDISC_DO : IP_PMTUDISC_DONT;
  if (!set_option(fd, IPPROTO_IP, IP_MTU_DISCOVER, discover)) {
    return last_error("setsockopt(IP_MTU_DISCOVER)", detail);
  }
  return {};
}

OsError set_ipv6_options(int fd, const UdpConfig& config, const std::string& detail) {
  if (!set_option(fd, IPPROTO_IPV6, IPV6_V6ONLY, 0)) {
    return last_error("setsockopt(IPV6_V6ONLY)", detail);
  }
  if (!set_option(fd, IPPROTO_IPV6, IPV6_UNICAST_HOPS, config.ttl)) {
    return last_error("setsockopt(IPV6_UNICAST_HOPS)", detail);
  }
  const int discover = config.dont_fragment ? IPV6_PMTUDISC_DO : IPV6_PMTUDISC_DONT;
  if (!set_option(fd, IPPROTO_IPV6, IPV6_MTU_DISCOVER, discover)) {
    return last_error("setsockopt(IPV6_MTU_DISCOVER)", detail);
  }
  return {};
}

}  // namespace

void UdpConfig::set_address(const uint8_t (&mapped)[16]) {
  ipv6 = !is_mapped(mapped);
  address = ipv6 ? 0 : base::load_be32(mapped + sizeof kMappedPrefix);
  std::memcpy(address6, mapped, sizeof address6);
}

bool is_mapped(const uint8_t (&address)[16]) {
  return std::memcmp(address, kMappedPrefix, sizeof kMappedPrefix) == 0;
}

void map_address(uint32_t address, uint8_t (&out)[16]) {
  std::memcpy(out, kMappedPrefix, sizeof kMappedPrefix);
  base::store_be32(out + sizeof kMappedPrefix, address);
}

socklen_t write_address(const uint8_t (&mapped)[16], uint16_t port, uint32_t interface, bool ipv6,
                        SocketAddress* out) {
  if (ipv6) {
    out->ipv6 = {};
    out->ipv6.sin6_family = AF_INET6;
    out->ipv6.sin6_port = htons(port);
    out->ipv6.sin6_scope_id = interface;
    std::memcpy(&out->ipv6.sin6_addr, mapped, sizeof mapped);
    return sizeof out->ipv6;
  }
  GWLB_ASSERT(is_mapped(mapped));
  out->ipv4 = {};
  out->ipv4.sin_family = AF_INET;
  out->ipv4.sin_port = htons(port);
  std::memcpy(&out->ipv4.sin_addr, mapped + sizeof kMappedPrefix, sizeof out->ipv4.sin_addr);
  return sizeof out->ipv4;
}

bool set_option(int fd, int level, int option, int value) {
  return setsockopt(fd, level, option, &value, sizeof value) == 0;
}

void set_buffer(int fd, int forced, int plain, uint32_t bytes) {
  const int value = static_cast<int>(bytes < (1u << 30) ? bytes : (1u << 30));
  if (!set_option(fd, SOL_SOCKET, forced, value)) set_option(fd, SOL_SOCKET, plain, value);
}

// Segments of 0 bytes mean none: asked for only to learn whether the kernel knows the option.
bool has_trains(int fd) { return set_option(fd, IPPROTO_UDP, kUdpSegment, 0); }

OsError refuse_input(int fd, const std::string& detail) {
  sock_filter refuse = BPF_STMT(BPF_RET | BPF_K, 0);
  sock_fprog program{1, &refuse};
  if (setsockopt(fd, SOL_SOCKET, SO_ATTACH_FILTER, &program, sizeof program) == 0) return {};
  return last_error("setsockopt(SO_ATTACH_FILTER)", detail);
}

OsError open_udp_socket(const UdpConfig& config, const std::string& detail, int* fd) {
  const int family = config.ipv6 ? AF_INET6 : AF_INET;
  *fd = socket(family, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, IPPROTO_UDP);
  if (*fd < 0) return last_error("socket", detail);
  OsError error = set_ipv4_options(*fd, config, detail);
  if (error.ok() && config.ipv6) error = set_ipv6_options(*fd, config, detail);
  // Of IPv6 the checksum stays.
  if (error.ok() && !config.checksum && !set_option(*fd, SOL_SOCKET, SO_NO_CHECK, 1)) {
    return last_error("setsockopt(SO_NO_CHECK)", detail);
  }
  if (error.ok()) set_buffer(*fd, SO_SNDBUFFORCE, SO_SNDBUF, config.send_buffer_bytes);
  return error;
}

OsError bind_udp_socket(int fd, const UdpConfig& config, uint16_t port, uint32_t interface) {
  uint8_t mapped[16];
  if (config.ipv6) {
    std::memcpy(mapped, config.address6, sizeof mapped);
  } else {
    map_address(config.address, mapped);
  }
  SocketAddress local;
  const socklen_t bytes = write_address(mapped, port, interface, config.ipv6, &local);
  if (bind(fd, &local.any, bytes) != 0) return last_error("bind", address_text(config, port));
  return {};
}

std::string address_text(const UdpConfig& config, uint16_t port) {
  if (!config.ipv6) return address_text(config.address, port);
  char text[INET6_ADDRSTRLEN];
  inet_ntop(AF_INET6, config.address6, text, sizeof text);
  return std::string("[") + text + "]:" + std::to_string(port);
}

bool is_passing(int number) {
  switch (number) {
    case ECONNREFUSED:
    case ECONNRESET:
    case EHOSTDOWN:
    case EHOSTUNREACH:
    case ENETDOWN:
    case ENETUNREACH:
    case ENOPROTOOPT:
    case EOPNOTSUPP:
    case EPROTO:
    case EMSGSIZE:
    case EACCES:
    case EPERM:
    case ENONET:
      return true;
    default:
      return false;
  }
}

}  // namespace gwlb::io
