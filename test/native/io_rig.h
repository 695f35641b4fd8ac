// What I/O tests share: private network namespaces that leave nothing behind, plain blocking
// sockets, descriptors in use.
#pragma once

#include <arpa/inet.h>
#include <dirent.h>
#include <fcntl.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <netinet/in.h>
#include <pthread.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <functional>
#include <string>

#include "batch/packet_batch.h"
#include "io/netns.h"
#include "test/native/eventually.h"
#include "test/native/packets.h"

namespace gwlb::test {

// A network namespace that lives as long as this object: nothing but a descriptor refers to it.
class PrivateNetns {
 public:
  PrivateNetns() {
    pthread_t thread;
    if (pthread_create(&thread, nullptr, make, this) == 0) pthread_join(thread, nullptr);
  }
  ~PrivateNetns() {
    if (fd_ >= 0) close(fd_);
  }
  bool made() const { return fd_ >= 0; }
  std::string path() const { return "/proc/self/fd/" + std::to_string(fd_); }

  // Runs there; false where entering failed.
  bool run(const std::function<void()>& work) const {
    return io::in_netns(path(),
                        [&]() -> io::OsError {
                          work();
                          return {};
                        })
        .ok();
  }

 private:
  static void* make(void* self) {
    if (unshare(CLONE_NEWNET) == 0) {
      static_cast<PrivateNetns*>(self)->fd_ =
          open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC);
    }
    return nullptr;
  }
  int fd_ = -1;
};

inline sockaddr_in address_of(uint32_t address, uint16_t port) {
  sockaddr_in out{};
  out.sin_family = AF_INET;
  out.sin_addr.s_addr = htonl(address);
  out.sin_port = htons(port);
  return out;
}

// A plain UDP socket whose reads give up after `timeout_ms`.
class PlainUdp {
 public:
  explicit PlainUdp(uint32_t address, uint16_t port = 0, int timeout_ms = kPatienceMs) {
    fd_ = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    const timeval timeout{timeout_ms / 1000, (timeout_ms % 1000) * 1000};
    setsockopt(fd_, SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof timeout);
    const int room = 8 << 20;
    setsockopt(fd_, SOL_SOCKET, SO_RCVBUFFORCE, &room, sizeof room);
    sockaddr_in local = address_of(address, port);
    socklen_t size = sizeof local;
    bound_ = bind(fd_, reinterpret_cast<sockaddr*>(&local), size) == 0 &&
             getsockname(fd_, reinterpret_cast<sockaddr*>(&local), &size) == 0;
    address_ = address;
    port_ = ntohs(local.sin_port);
  }
  ~PlainUdp() { close(fd_); }
  PlainUdp(const PlainUdp&) = delete;

  bool bound() const { return bound_; }
  int fd() const { return fd_; }
  uint32_t address() const { return address_; }
  uint16_t port() const { return port_; }

  bool send(const Bytes& bytes, uint32_t address, uint16_t port) {
    const sockaddr_in to = address_of(address, port);
    return sendto(fd_, bytes.data(), bytes.size(), 0, reinterpret_cast<const sockaddr*>(&to),
                  sizeof to) == static_cast<ssize_t>(bytes.size());
  }
  // False when nothing came in time.
  bool receive(Bytes* bytes, sockaddr_in* from = nullptr) {
    bytes->resize(65536);
    sockaddr_in source{};
    socklen_t size = sizeof source;
    const ssize_t n =
        recvfrom(fd_, bytes->data(), bytes->size(), 0, reinterpret_cast<sockaddr*>(&source), &size);
    bytes->resize(n < 0 ? 0 : static_cast<size_t>(n));
    if (from != nullptr) *from = source;
    return n >= 0;
  }

 private:
  int fd_ = -1;
  bool bound_ = false;
  uint32_t address_ = 0;
  uint16_t port_ = 0;
};

// Every packet of the batch, by what sends packets of a list.
template <class Sender, class... More>
uint32_t send_all(Sender& sender, batch::PacketBatch& batch, More&&... more) {
  uint16_t packets[base::kBatchPacketsMax];
  for (uint32_t i = 0; i < batch.count; ++i) packets[i] = static_cast<uint16_t>(i);
  return sender.send(batch, packets, batch.count, more...);
}

inline int open_descriptors() {
  DIR* folder = opendir("/proc/self/fd");
  int n = 0;
  while (folder != nullptr && readdir(folder) != nullptr) ++n;
  if (folder != nullptr) closedir(folder);
  return n;
}

// In the current namespace.
inline bool set_link(const char* name, bool up) {
  const int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  ifreq request{};
  std::strncpy(request.ifr_name, name, IFNAMSIZ - 1);
  bool done = ioctl(fd, SIOCGIFFLAGS, &request) == 0;
  const int flags = up ? request.ifr_flags | IFF_UP : request.ifr_flags & ~IFF_UP;
  request.ifr_flags = static_cast<short>(flags);
  done = done && ioctl(fd, SIOCSIFFLAGS, &request) == 0;
  close(fd);
  return done;
}
inline bool set_link_up(const char* name) { return set_link(name, true); }
inline bool set_link_down(const char* name) { return set_link(name, false); }
inline bool set_address(const char* name, uint32_t address, uint32_t mask) {
  const int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  ifreq request{};
  std::strncpy(request.ifr_name, name, IFNAMSIZ - 1);
  sockaddr_in value = address_of(address, 0);
  std::memcpy(&request.ifr_addr, &value, sizeof value);
  bool done = ioctl(fd, SIOCSIFADDR, &request) == 0;
  value = address_of(mask, 0);
  std::memcpy(&request.ifr_netmask, &value, sizeof value);
  done = done && ioctl(fd, SIOCSIFNETMASK, &request) == 0;
  close(fd);
  return done;
}
inline bool delete_link(const char* name) {
  struct {
    nlmsghdr header;
    ifinfomsg link;
  } request{};
  request.header.nlmsg_len = sizeof request;
  request.header.nlmsg_type = RTM_DELLINK;
  request.header.nlmsg_flags = NLM_F_REQUEST | NLM_F_ACK;
  request.link.ifi_family = AF_UNSPEC;
  request.link.ifi_index = static_cast<int>(if_nametoindex(name));
  const int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);
  struct {
    nlmsghdr header;
    nlmsgerr error;
    uint8_t rest[256];
  } answer{};
  const bool done = send(fd, &request, sizeof request, 0) == sizeof request &&
                    recv(fd, &answer, sizeof answer, 0) > 0 && answer.error.error == 0;
  close(fd);
  return done;
}
inline int link_mtu(const char* name) {
  const int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  ifreq request{};
  std::strncpy(request.ifr_name, name, IFNAMSIZ - 1);
  const int mtu = ioctl(fd, SIOCGIFMTU, &request) == 0 ? request.ifr_mtu : -1;
  close(fd);
  return mtu;
}

}  // namespace gwlb::test
