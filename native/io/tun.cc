#include "io/tun.h"

#include <fcntl.h>
#include <linux/ethtool.h>
#include <linux/if.h>
#include <linux/if_tun.h>
#include <linux/sockios.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "base/assert.h"
#include "io/netns.h"

namespace gwlb::io {
namespace {

constexpr char kTunPath[] = "/dev/net/tun";
constexpr uint32_t kMtuMin = 68;  // RFC 791

void set_name(ifreq* request, const std::string& name) {
  std::memset(request, 0, sizeof *request);
  std::memcpy(request->ifr_name, name.data(), name.size());
}

// Best effort: where IPv6 or /proc/sys is not there, nothing is lost.
void no_link_local_address(const std::string& name) {
  const std::string path = "/proc/sys/net/ipv6/conf/" + name + "/addr_gen_mode";
  const int fd = open(path.c_str(), O_WRONLY | O_CLOEXEC);
  if (fd < 0) return;
  const ssize_t written = write(fd, "1", 1);  // IN6_ADDR_GEN_MODE_NONE
  static_cast<void>(written);
  close(fd);
}

OsError configure(int socket_fd, const std::string& name, const TunConfig& config) {
  ifreq request;
  set_name(&request, name);
  if (ioctl(socket_fd, SIOCGIFMTU, &request) != 0) return last_error("ioctl(SIOCGIFMTU)", name);
  if (request.ifr_mtu != static_cast<int>(config.mtu)) {
    request.ifr_mtu = static_cast<int>(config.mtu);
    if (ioctl(socket_fd, SIOCSIFMTU, &request) != 0) return last_error("ioctl(SIOCSIFMTU)", name);
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

// A device has a carrier while somebody holds a queue of it.
bool has_carrier(const std::string& name) {
  const int control = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  if (control < 0) return false;
  ethtool_value link{};
  link.cmd = ETHTOOL_GLINK;
  ifreq request;
  set_name(&request, name);
  request.ifr_data = reinterpret_cast<char*>(&link);
  const bool carrier = ioctl(control, SIOCETHTOOL, &request) == 0 && link.data != 0;
  close(control);
  return carrier;
}

// One descriptor of the device; `*name` becomes the one the kernel gave it.
OsError open_queue(int flags, std::string* name, std::unique_ptr<TunQueue>* out) {
  const int fd = open(kTunPath, O_RDWR | O_NONBLOCK | O_CLOEXEC);
  if (fd < 0) return last_error("open", kTunPath);
  ifreq request;
  set_name(&request, *name);
  request.ifr_flags = static_cast<short>(IFF_TUN | IFF_NO_PI | flags);
  if (ioctl(fd, TUNSETIFF, &request) != 0) {
    OsError error = last_error("ioctl(TUNSETIFF)", *name);
    close(fd);
    return error;
  }
  name->assign(request.ifr_name, strnlen(request.ifr_name, IFNAMSIZ));
  *out = std::make_unique<TunQueue>(fd, *name);
  return {};
}

// The kernel lets anybody add queues to a device with several: two gateways would share its packets
// without a word. So the first queue makes the device, or finds it without a holder.
OsError open_first_of_several(std::string* name, std::unique_ptr<TunQueue>* out) {
  OsError error = open_queue(IFF_MULTI_QUEUE | IFF_TUN_EXCL, name, out);
  if (error.number != EBUSY || has_carrier(*name)) return error;
  return open_queue(IFF_MULTI_QUEUE, name, out);
}

}  // namespace

TunQueue::~TunQueue() { close(fd_); }

uint32_t TunQueue::receive(batch::PacketBatch& batch, uint16_t endpoint, OsError* error) {
  const uint32_t first = batch.count;
  while (batch.count < batch.capacity()) {
    const uint32_t i = batch.count;
    const ssize_t got = read(fd_, batch.slot(i) + base::kHeadroom, batch.slot_bytes());
    if (got < 0) {
      if (errno == EINTR) continue;
      if (errno != EAGAIN) *error = last_error("read", name_);
      break;
    }
    batch.reset(i, static_cast<uint32_t>(got));
    batch.endpoint[i] = endpoint;
    ++batch.count;
  }
  return batch.count - first;
}

bool TunQueue::send(batch::PacketBatch& batch, uint32_t i) {
  for (;;) {
    const ssize_t put = write(fd_, batch.packet(i), batch.length[i]);
    if (put == static_cast<ssize_t>(batch.length[i])) return true;
    if (put < 0 && errno == EINTR) continue;
    const bool full = put < 0 && (errno == EAGAIN || errno == ENOBUFS);
    batch.drop(i, full ? base::DropReason::send_would_block : base::DropReason::send_failed);
    return false;
  }
}

OsError Tun::open(const TunConfig& config, std::unique_ptr<Tun>* out) {
  GWLB_ASSERT(config.queues >= 1);
  if (config.name.size() >= IFNAMSIZ) return {ENAMETOOLONG, "ioctl(TUNSETIFF)", config.name};
  if (config.mtu < kMtuMin || config.mtu > base::kInnerBytesMax) {
    return {EINVAL, "ioctl(SIOCSIFMTU)", config.name + " mtu " + std::to_string(config.mtu)};
  }
  std::unique_ptr<Tun> tun(new Tun());
  tun->name_ = config.name;
  OsError error = in_netns(config.netns, [&]() -> OsError {
    for (uint32_t i = 0; i < config.queues; ++i) {
      std::unique_ptr<TunQueue> queue;
      OsError refused = config.queues == 1 ? open_queue(0, &tun->name_, &queue)
                        : i == 0           ? open_first_of_several(&tun->name_, &queue)
                                           : open_queue(IFF_MULTI_QUEUE, &tun->name_, &queue);
      if (!refused.ok()) return refused;
      tun->queues_.push_back(std::move(queue));
    }
    const int control = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (control < 0) return last_error("socket", tun->name_);
    OsError refused = configure(control, tun->name_, config);
    close(control);
    return refused;
  });
  if (error.ok()) *out = std::move(tun);
  return error;
}

}  // namespace gwlb::io
