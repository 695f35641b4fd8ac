#include <fcntl.h>
#include <linux/errqueue.h>
#include <netinet/in.h>
#include <netinet/ip_icmp.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "base/assert.h"
#include "io/netns.h"
#include "io/udp.h"
#include "io/udp_socket.h"

namespace gwlb::io {
namespace {

// Of a sending socket, for ICMP errors until somebody asks for them.
constexpr int kErrorQueueBytes = 16 << 10;
// Sockets, and errors of each, that one call of drain_unreachable() looks at.
constexpr int kErrorSocketsMax = 64;
constexpr uint32_t kErrorsMax = 16;

// Reads one error of a socket. False where there is none; `*peer` has port 0 where it is no ICMP
// port unreachable.
bool read_error(int fd, UdpPeer* peer) {
  sockaddr_in to{};
  alignas(cmsghdr) uint8_t control[CMSG_SPACE(sizeof(sock_extended_err) + sizeof(sockaddr_in))];
  msghdr header{};
  header.msg_name = &to;
  header.msg_namelen = sizeof to;
  header.msg_control = control;
  header.msg_controllen = sizeof control;
  if (recvmsg(fd, &header, MSG_ERRQUEUE | MSG_DONTWAIT) < 0) return false;
  *peer = {};
  for (cmsghdr* c = CMSG_FIRSTHDR(&header); c != nullptr; c = CMSG_NXTHDR(&header, c)) {
    if (c->cmsg_level != IPPROTO_IP || c->cmsg_type != IP_RECVERR) continue;
    sock_extended_err error;
    std::memcpy(&error, CMSG_DATA(c), sizeof error);
    if (error.ee_origin != SO_EE_ORIGIN_ICMP || error.ee_type != ICMP_DEST_UNREACH ||
        error.ee_code != ICMP_PORT_UNREACH) {
      continue;
    }
    *peer = {ntohl(to.sin_addr.s_addr), ntohs(to.sin_port)};
  }
  return true;
}

}  // namespace

UdpSender::~UdpSender() {
  for (const int fd : fds_) close(fd);
  if (errors_ >= 0) close(errors_);
}

OsError UdpSender::bind_set(const UdpConfig& config) {
  OsError taken;
  errors_ = epoll_create1(EPOLL_CLOEXEC);
  if (errors_ < 0) return last_error("epoll_create1", "");
  for (uint32_t i = 0; i < config.source_port_count; ++i) {
    const auto port = static_cast<uint16_t>(config.source_port_base + i);
    const std::string detail = address_text(config.address, port);
    int fd = -1;
    OsError error = open_udp_socket(config, detail, &fd);
    if (fd >= 0) fds_.push_back(fd);
    if (!error.ok()) return error;
    error = refuse_input(fd, detail);
    if (!error.ok()) return error;
    if (!set_option(fd, IPPROTO_IP, IP_RECVERR, 1)) {
      return last_error("setsockopt(IP_RECVERR)", detail);
    }
    set_option(fd, SOL_SOCKET, SO_RCVBUF, kErrorQueueBytes);
    error = bind_udp_socket(fd, config, port);
    epoll_event errors{};  // errors alone, which are always reported
    errors.data.fd = fd;
    if (error.ok() && epoll_ctl(errors_, EPOLL_CTL_ADD, fd, &errors) != 0) {
      return last_error("epoll_ctl", detail);
    }
    if (error.ok()) {
      ports_.push_back(port);
      continue;
    }
    if (error.number != EADDRINUSE && error.number != EACCES) return error;
    taken = error;
    fds_.pop_back();
    close(fd);
  }
  drops_.resize(fds_.size());
  return fds_.empty() ? taken : OsError{};
}

OsError UdpSender::open(const UdpConfig& config, const UdpReceiver* receiver,
                        std::unique_ptr<UdpSender>* out) {
  const uint32_t count = config.source_port_count;
  if (count > base::kSourcePortsMax || config.source_port_base + count > 65536 ||
      (count > 0 && config.source_port_base == 0)) {
    return {EINVAL, "bind",
            "source ports " + std::to_string(config.source_port_base) + " and " +
                std::to_string(count) + " in all"};
  }
  GWLB_ASSERT(count > 0 || receiver != nullptr);
  std::unique_ptr<UdpSender> sender(new UdpSender());
  if (count == 0) {
    const int fd = fcntl(receiver->fd(), F_DUPFD_CLOEXEC, 0);
    if (fd < 0) return last_error("fcntl", address_text(config.address, receiver->port()));
    sender->fds_.push_back(fd);
    sender->ports_.push_back(receiver->port());
  }
  OsError error;
  if (count > 0) error = in_netns(config.netns, [&] { return sender->bind_set(config); });
  sender->trains_ =
      error.ok() && config.offload && config.checksum && has_trains(sender->fds_.front());
  if (config.finishes_checksums()) sender->finish_ = std::make_unique<UdpFinish>();
  if (error.ok()) *out = std::move(sender);
  return error;
}

uint64_t UdpSender::refused() {
  uint64_t sum = 0;
  for (size_t k = 0; k < drops_.size(); ++k) sum += drops_[k].read(fds_[k]);
  return sum;
}

uint32_t UdpSender::drain_unreachable(UdpPeer* out, uint32_t max) const {
  epoll_event events[kErrorSocketsMax];
  const int sockets = errors_ < 0 ? 0 : epoll_wait(errors_, events, kErrorSocketsMax, 0);
  uint32_t n = 0;
  for (int k = 0; k < sockets; ++k) {
    UdpPeer peer;
    for (uint32_t read = 0; n < max && read < kErrorsMax; ++read) {
      if (!read_error(events[k].data.fd, &peer)) break;
      if (peer.port == 0) continue;
      uint32_t same = 0;
      while (same < n && (out[same].address != peer.address || out[same].port != peer.port)) ++same;
      if (same == n) out[n++] = peer;
    }
  }
  return n;
}

}  // namespace gwlb::io
