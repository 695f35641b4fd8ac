#include "io/path_mtu.h"

#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>

#include "io/netns.h"

namespace gwlb::io {
namespace {

constexpr uint16_t kAnyPort = 6081;  // one that is not 0: nothing is sent to it

sockaddr_in socket_address(uint32_t address, uint16_t port) {
  sockaddr_in out{};
  out.sin_family = AF_INET;
  out.sin_port = htons(port);
  out.sin_addr.s_addr = htonl(address);
  return out;
}

// 0: there is no way.
uint32_t mtu_to(int fd, uint32_t address) {
  const sockaddr_in to = socket_address(address, kAnyPort);
  int mtu = 0;
  socklen_t length = sizeof mtu;
  if (connect(fd, reinterpret_cast<const sockaddr*>(&to), sizeof to) != 0 ||
      getsockopt(fd, IPPROTO_IP, IP_MTU, &mtu, &length) != 0) {
    return 0;
  }
  return static_cast<uint32_t>(mtu);
}

}  // namespace

OsError path_mtu(uint32_t source, const uint32_t* addresses, size_t count, const std::string& netns,
                 uint32_t* out) {
  *out = 0;
  return in_netns(netns, [&]() -> OsError {
    const int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, IPPROTO_UDP);
    if (fd < 0) return last_error("socket", "path MTU");
    const sockaddr_in from = socket_address(source, 0);
    OsError error;
    if (bind(fd, reinterpret_cast<const sockaddr*>(&from), sizeof from) != 0) {
      error = last_error("bind", "path MTU");
    }
    for (size_t k = 0; error.ok() && k < count; ++k) {
      const uint32_t mtu = mtu_to(fd, addresses[k]);
      if (mtu != 0) *out = *out == 0 ? mtu : std::min(*out, mtu);
    }
    close(fd);
    return error;
  });
}

}  // namespace gwlb::io
