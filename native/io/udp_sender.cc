#include <fcntl.h>
#include <linux/errqueue.h>
#include <linux/filter.h>
#include <netinet/in.h>
#include <netinet/ip_icmp.h>
#include <poll.h>
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

// How long send() waits for a full send buffer, once per call.
constexpr int kSendWaitMs = 3;
// A socket that is asked for ICMP errors reports one by refusing a packet that has nothing to do
// with it; so often such a packet is sent again. A way that is gone for good refuses it as often.
constexpr uint32_t kSendTries = 3;
// Of a sending socket, for ICMP errors until somebody asks for them.
constexpr int kErrorQueueBytes = 16 << 10;
// Sockets, and errors of each, that one call of drain_unreachable() looks at.
constexpr int kErrorSocketsMax = 64;
constexpr uint32_t kErrorsMax = 16;
constexpr uint16_t kNotInSet = 0xffff;
constexpr uint16_t kEnd = 0xffff;

// What is sent to a sending socket is refused before it takes memory.
bool refuse_input(int fd) {
  sock_filter refuse = BPF_STMT(BPF_RET | BPF_K, 0);
  sock_fprog program{1, &refuse};
  return setsockopt(fd, SOL_SOCKET, SO_ATTACH_FILTER, &program, sizeof program) == 0;
}

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

bool leaves(uint8_t verdict) {
  return verdict == static_cast<uint8_t>(batch::Verdict::forward) ||
         verdict == static_cast<uint8_t>(batch::Verdict::reply) ||
         verdict == static_cast<uint8_t>(batch::Verdict::bypass);
}

}  // namespace

struct UdpSendScratch::Memory {
  mmsghdr headers[base::kBatchPacketsMax];
  iovec vectors[base::kBatchPacketsMax];
  sockaddr_in destinations[base::kBatchPacketsMax];
  uint16_t packet[base::kBatchPacketsMax];   // of headers[k]
  uint16_t next[base::kBatchPacketsMax];     // the next packet of the same socket
  uint16_t sockets[base::kBatchPacketsMax];  // in use, in the order of their first packets
  // By socket: its first and last packet. `first` is kEnd between calls.
  uint16_t first[base::kSourcePortsMax + 1];
  uint16_t last[base::kSourcePortsMax + 1];
};

UdpSendScratch::UdpSendScratch() : memory_(new Memory()) {
  std::memset(memory_->first, 0xff, sizeof memory_->first);
  for (uint32_t k = 0; k < base::kBatchPacketsMax; ++k) {
    msghdr& header = memory_->headers[k].msg_hdr;
    memory_->destinations[k].sin_family = AF_INET;
    header.msg_name = &memory_->destinations[k];
    header.msg_namelen = sizeof memory_->destinations[k];
    header.msg_iov = &memory_->vectors[k];
    header.msg_iovlen = 1;
  }
}

UdpSendScratch::~UdpSendScratch() = default;

UdpSender::~UdpSender() {
  for (const int fd : fds_) close(fd);
  if (fallback_ >= 0) close(fallback_);
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
    if (!refuse_input(fd)) return last_error("setsockopt(SO_ATTACH_FILTER)", detail);
    if (!set_option(fd, IPPROTO_IP, IP_RECVERR, 1)) {
      return last_error("setsockopt(IP_RECVERR)", detail);
    }
    set_option(fd, SOL_SOCKET, SO_RCVBUF, kErrorQueueBytes);
    error = bind_udp_socket(fd, config.address, port);
    epoll_event errors{};  // errors alone, which are always reported
    errors.data.fd = fd;
    if (error.ok() && epoll_ctl(errors_, EPOLL_CTL_ADD, fd, &errors) != 0) {
      return last_error("epoll_ctl", detail);
    }
    if (error.ok()) {
      by_offset_[i] = static_cast<uint16_t>(ports_.size());
      ports_.push_back(port);
      continue;
    }
    if (error.number != EADDRINUSE && error.number != EACCES) return error;
    taken = error;
    fds_.pop_back();
    close(fd);
  }
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
  sender->port_base_ = config.source_port_base;
  sender->by_offset_.assign(count, kNotInSet);
  if (receiver != nullptr) {
    const int fd = fcntl(receiver->fd(), F_DUPFD_CLOEXEC, 0);
    if (fd < 0) return last_error("fcntl", address_text(config.address, receiver->port()));
    if (count == 0) {
      sender->fds_.push_back(fd);
      sender->ports_.push_back(receiver->port());
    } else {
      sender->fallback_ = fd;
    }
  }
  OsError error;
  if (count > 0) error = in_netns(config.netns, [&] { return sender->bind_set(config); });
  if (error.ok()) *out = std::move(sender);
  return error;
}

uint16_t UdpSender::index_of_port(uint16_t port) const {
  const uint32_t offset = static_cast<uint32_t>(port) - port_base_;
  if (offset < by_offset_.size() && by_offset_[offset] != kNotInSet) return by_offset_[offset];
  return fallback_ >= 0 ? kNotInSet : 0;
}

// One call of send().
struct UdpSender::Sending {
  batch::PacketBatch& batch;
  UdpSendScratch::Memory& memory;
  bool waited = false;
};

// Sends headers first..first+count-1 from one socket. Returns how many went.
uint32_t UdpSender::send_group(Sending& sending, int fd, uint32_t first, uint32_t count) {
  UdpSendScratch::Memory& m = sending.memory;
  uint32_t at = first;
  uint32_t sent = 0;
  uint32_t tries = 0;  // of the packet at `at`, for what an earlier one met
  while (at < first + count) {
    const int n = sendmmsg(fd, m.headers + at, first + count - at, MSG_DONTWAIT);
    if (n > 0) {
      at += static_cast<uint32_t>(n);
      sent += static_cast<uint32_t>(n);
      tries = 0;
      continue;
    }
    const int why = n < 0 ? errno : EIO;
    if (why == EINTR) continue;
    if (why == EAGAIN || why == ENOBUFS || why == ENOMEM) {
      if (!sending.waited) {
        sending.waited = true;
        pollfd writable{fd, POLLOUT, 0};
        poll(&writable, 1, kSendWaitMs);
        continue;
      }
      for (; at < first + count; ++at) {
        sending.batch.drop(m.packet[at], base::DropReason::send_would_block);
      }
      break;
    }
    if (why != EMSGSIZE && is_passing(why) && ++tries < kSendTries) continue;
    sending.batch.drop(m.packet[at], base::DropReason::send_failed);
    ++at;
    tries = 0;
  }
  return sent;
}

uint32_t UdpSender::send(batch::PacketBatch& batch, const bool* selected,
                         UdpSendScratch& scratch) const {
  UdpSendScratch::Memory& m = *scratch.memory_;
  const uint32_t sockets = this->sockets();
  uint32_t used = 0;
  for (uint32_t i = 0; i < batch.count; ++i) {
    if ((selected != nullptr && !selected[i]) || !leaves(batch.verdict[i])) continue;
    const bool outside = fallback_ >= 0 && batch.source_port[i] == kNotInSet;
    const uint32_t socket = outside ? base::kSourcePortsMax : batch.source_port[i] % sockets;
    m.next[i] = kEnd;
    if (m.first[socket] == kEnd) {
      m.first[socket] = static_cast<uint16_t>(i);
      m.sockets[used++] = static_cast<uint16_t>(socket);
    } else {
      m.next[m.last[socket]] = static_cast<uint16_t>(i);
    }
    m.last[socket] = static_cast<uint16_t>(i);
  }
  Sending sending{batch, m};
  uint32_t sent = 0;
  uint32_t filled = 0;
  for (uint32_t g = 0; g < used; ++g) {
    const uint32_t socket = m.sockets[g];
    const uint32_t begin = filled;
    for (uint16_t i = m.first[socket]; i != kEnd; i = m.next[i]) {
      m.destinations[filled].sin_addr.s_addr = htonl(batch.address[i]);
      m.destinations[filled].sin_port = htons(batch.port[i]);
      m.vectors[filled] = {batch.packet(i), batch.length[i]};
      m.packet[filled++] = i;
    }
    m.first[socket] = kEnd;
    const int fd = socket == base::kSourcePortsMax ? fallback_ : fds_[socket];
    sent += send_group(sending, fd, begin, filled - begin);
  }
  return sent;
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
