// A TUN device as others see it: whether it is there and up, and its end.
#include <linux/if.h>
#include <linux/if_tun.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "io/netlink.h"
#include "io/netns.h"
#include "io/tun.h"

namespace gwlb::io {

LinkState Tun::state() const {
  if (lost_.load(std::memory_order_acquire)) return LinkState::gone;
  ifreq request{};
  // The name of the moment: a renamed device goes on.
  if (ioctl(queues_[0]->fd(), TUNGETIFF, &request) != 0) return LinkState::gone;
  if (ioctl(control_, SIOCGIFFLAGS, &request) != 0) return LinkState::gone;
  return (request.ifr_flags & IFF_UP) != 0 ? LinkState::up : LinkState::down;
}

uint32_t Tun::ifindex() const {
  ifreq request{};
  if (ioctl(queues_[0]->fd(), TUNGETIFF, &request) != 0) return 0;
  if (ioctl(control_, SIOCGIFINDEX, &request) != 0) return 0;
  return static_cast<uint32_t>(request.ifr_ifindex);
}

OsError Tun::set_up() {
  ifreq request{};
  if (ioctl(queues_[0]->fd(), TUNGETIFF, &request) != 0)
    return last_error("ioctl(TUNGETIFF)", name_);
  if (ioctl(control_, SIOCGIFFLAGS, &request) != 0) return last_error("ioctl(SIOCGIFFLAGS)", name_);
  request.ifr_flags = static_cast<short>(request.ifr_flags | IFF_UP);
  if (ioctl(control_, SIOCSIFFLAGS, &request) == 0) return {};
  return last_error("ioctl(SIOCSIFFLAGS)", name_);
}

OsError Tun::set_lifetime(TunLifetime lifetime) {
  if (lifetime == TunLifetime::as_found) return {};
  const unsigned long persist = lifetime == TunLifetime::persistent ? 1 : 0;
  if (ioctl(queues_[0]->fd(), TUNSETPERSIST, persist) == 0) return {};
  return last_error("ioctl(TUNSETPERSIST)", name_);
}

OsError Tun::remove(const std::string& name, const std::string& netns) {
  return in_netns(netns, [&]() -> OsError {
    LinkInfo link;
    OsError error = find_link(name, &link);
    if (!error.ok()) return error;
    Tun tun;
    tun.name_ = name;
    error = tun.open_queues(TunConfig{});
    return error.ok() ? tun.set_lifetime(TunLifetime::held) : error;
  });
}

}  // namespace gwlb::io
