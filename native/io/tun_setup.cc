#include "io/tun_setup.h"

#include <fcntl.h>
#include <linux/if_link.h>
#include <linux/rtnetlink.h>
#include <linux/sockios.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "io/netlink.h"

namespace gwlb::io {
namespace {

// Best effort: where IPv6 or /proc/sys is not there, nothing is lost.
void no_link_local_address(const std::string& name) {
  const std::string path = "/proc/sys/net/ipv6/conf/" + name + "/addr_gen_mode";
  const int fd = open(path.c_str(), O_WRONLY | O_CLOEXEC);
  if (fd < 0) return;
  const ssize_t written = write(fd, "1", 1);  // IN6_ADDR_GEN_MODE_NONE
  static_cast<void>(written);
  close(fd);
}

OsError set_mtu(int socket_fd, ifreq* request, const std::string& name, uint32_t mtu) {
  request->ifr_mtu = static_cast<int>(mtu);
  if (ioctl(socket_fd, SIOCSIFMTU, request) == 0) return {};
  return last_error("ioctl(SIOCSIFMTU)", name);
}

// A router's new device joins multicast groups of IPv6 at once, and reports that when it is set up.
// Without the flag it joins none; an MTU that is too small for IPv6 makes it forget those it has.
OsError leave_groups(int socket_fd, const std::string& name) {
  ifreq request;
  set_name(&request, name);
  if (ioctl(socket_fd, SIOCGIFFLAGS, &request) != 0) return last_error("ioctl(SIOCGIFFLAGS)", name);
  request.ifr_flags = static_cast<short>(request.ifr_flags & ~IFF_MULTICAST);
  if (ioctl(socket_fd, SIOCSIFFLAGS, &request) != 0) return last_error("ioctl(SIOCSIFFLAGS)", name);
  set_name(&request, name);
  return set_mtu(socket_fd, &request, name, kTunMtuMin);
}

// By netlink: the ioctl asks for a privilege over the whole host, which no user namespace has.
OsError set_queue_packets(int socket_fd, const std::string& name, uint32_t packets) {
  ifreq request;
  set_name(&request, name);
  if (ioctl(socket_fd, SIOCGIFTXQLEN, &request) == 0 &&
      request.ifr_qlen == static_cast<int>(packets)) {
    return {};
  }
  ifinfomsg fixed{};
  NetlinkRequest change(RTM_NEWLINK, NLM_F_ACK, &fixed, sizeof fixed);
  change.attribute(IFLA_IFNAME, name.c_str(), name.size() + 1);
  change.attribute(IFLA_TXQLEN, &packets, sizeof packets);
  return ask_netlink(change, name, [](const nlmsghdr&) { return true; });
}

}  // namespace

OsError set_up_device(int socket_fd, const std::string& name, const TunConfig& config,
                      bool is_new) {
  OsError error;
  if (is_new) error = leave_groups(socket_fd, name);
  const uint32_t waiting =
      config.queue_packets == 0 && is_new ? kTunQueueDefault : config.queue_packets;
  if (error.ok() && waiting != 0) error = set_queue_packets(socket_fd, name, waiting);
  if (!error.ok()) return error;
  ifreq request;
  set_name(&request, name);
  if (ioctl(socket_fd, SIOCGIFMTU, &request) != 0) return last_error("ioctl(SIOCGIFMTU)", name);
  if (request.ifr_mtu != static_cast<int>(config.mtu)) {
    error = set_mtu(socket_fd, &request, name, config.mtu);
    if (!error.ok()) return error;
  }
  if (!config.up) return {};
  set_name(&request, name);
  if (ioctl(socket_fd, SIOCGIFFLAGS, &request) != 0) return last_error("ioctl(SIOCGIFFLAGS)", name);
  if ((request.ifr_flags & IFF_UP) != 0) return {};
  no_link_local_address(name);
  request.ifr_flags = static_cast<short>(request.ifr_flags | IFF_UP);
  if (ioctl(socket_fd, SIOCSIFFLAGS, &request) != 0) return last_error("ioctl(SIOCSIFFLAGS)", name);
  return {};
}

}  // namespace gwlb::io
