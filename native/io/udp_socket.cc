#include "io/udp_socket.h"

#include <sys/socket.h>

#include <cerrno>

namespace gwlb::io {

sockaddr_in socket_address(uint32_t address, uint16_t port) {
  sockaddr_in out{};
  out.sin_family = AF_INET;
  out.sin_port = htons(port);
  out.sin_addr.s_addr = htonl(address);
  return out;
}

bool set_option(int fd, int level, int option, int value) {
  return setsockopt(fd, level, option, &value, sizeof value) == 0;
}

void set_buffer(int fd, int forced, int plain, uint32_t bytes) {
  const int value = static_cast<int>(bytes < (1u << 30) ? bytes : (1u << 30));
  if (!set_option(fd, SOL_SOCKET, forced, value)) set_option(fd, SOL_SOCKET, plain, value);
}

OsError open_udp_socket(const UdpConfig& config, const std::string& detail, int* fd) {
  *fd = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, IPPROTO_UDP);
  if (*fd < 0) return last_error("socket", detail);
  if (!set_option(*fd, IPPROTO_IP, IP_TTL, config.ttl)) {
    return last_error("setsockopt(IP_TTL)", detail);
  }
  const int discover = config.dont_fragment ? IP_PMTUDISC_DO : IP_PMTUDISC_DONT;
  if (!set_option(*fd, IPPROTO_IP, IP_MTU_DISCOVER, discover)) {
    return last_error("setsockopt(IP_MTU_DISCOVER)", detail);
  }
  set_buffer(*fd, SO_SNDBUFFORCE, SO_SNDBUF, config.send_buffer_bytes);
  return {};
}

OsError bind_udp_socket(int fd, uint32_t address, uint16_t port) {
  const sockaddr_in local = socket_address(address, port);
  if (bind(fd, reinterpret_cast<const sockaddr*>(&local), sizeof local) != 0) {
    return last_error("bind", address_text(address, port));
  }
  return {};
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
