#include <linux/sock_diag.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>

#include "base/bytes.h"
#include "io/netns.h"
#include "io/udp.h"
#include "io/udp_socket.h"

namespace gwlb::io {
namespace {

constexpr uint32_t kControlBytes = 2 * CMSG_SPACE(sizeof(uint32_t));  // TOS and overflows
// A socket keeps one pending error, cleared by the call that returns it; a host that sends more of
// them than this shall not keep the loop from its other work.
constexpr uint32_t kPendingErrorsMax = 8;

OsError bound_port(int fd, const std::string& detail, uint16_t* port) {
  sockaddr_in local{};
  socklen_t bytes = sizeof local;
  if (getsockname(fd, reinterpret_cast<sockaddr*>(&local), &bytes) != 0) {
    return last_error("getsockname", detail);
  }
  *port = ntohs(local.sin_port);
  return {};
}

}  // namespace

struct UdpReceiver::Scratch {
  mmsghdr headers[base::kBatchPacketsMax];
  iovec vectors[base::kBatchPacketsMax];
  sockaddr_in sources[base::kBatchPacketsMax];
  alignas(cmsghdr) uint8_t control[base::kBatchPacketsMax][kControlBytes];
};

UdpReceiver::UdpReceiver() : scratch_(new Scratch()) {
  for (uint32_t i = 0; i < base::kBatchPacketsMax; ++i) {
    msghdr& header = scratch_->headers[i].msg_hdr;
    header.msg_name = &scratch_->sources[i];
    header.msg_iov = &scratch_->vectors[i];
    header.msg_iovlen = 1;
    header.msg_control = scratch_->control[i];
  }
}

UdpReceiver::~UdpReceiver() {
  if (fd_ >= 0) close(fd_);
}

OsError UdpReceiver::open(const UdpConfig& config, std::unique_ptr<UdpReceiver>* out) {
  std::unique_ptr<UdpReceiver> receiver(new UdpReceiver());
  const std::string detail = address_text(config.address, config.port);
  OsError error =
      in_netns(config.netns, [&] { return open_udp_socket(config, detail, &receiver->fd_); });
  if (!error.ok()) return error;
  const int fd = receiver->fd_;
  set_buffer(fd, SO_RCVBUFFORCE, SO_RCVBUF, config.receive_buffer_bytes);
  if (!set_option(fd, SOL_SOCKET, SO_RXQ_OVFL, 1)) {
    return last_error("setsockopt(SO_RXQ_OVFL)", detail);
  }
  if (!set_option(fd, IPPROTO_IP, IP_RECVTOS, 1)) {
    return last_error("setsockopt(IP_RECVTOS)", detail);
  }
  if (config.reuse_port) error = receiver->share();
  if (error.ok()) error = bind_udp_socket(fd, config.address, config.port);
  if (error.ok()) error = bound_port(fd, detail, &receiver->port_);
  if (error.ok()) *out = std::move(receiver);
  return error;
}

OsError UdpReceiver::share() {
  if (set_option(fd_, SOL_SOCKET, SO_REUSEPORT, 1)) return {};
  return last_error("setsockopt(SO_REUSEPORT)", std::to_string(port_));
}

// A datagram carries the count of when it was queued, which may be older than what was asked since.
void UdpReceiver::take_overflows(uint32_t now) {
  const uint32_t more = now - overflows_last_;
  if (more >= 1u << 31) return;
  overflows_ += more;
  overflows_last_ = now;
}

void UdpReceiver::refresh_overflows() {
  uint32_t memory[SK_MEMINFO_VARS] = {};
  socklen_t bytes = sizeof memory;
  if (getsockopt(fd_, SOL_SOCKET, SO_MEMINFO, memory, &bytes) != 0) return;
  if (bytes > SK_MEMINFO_DROPS * sizeof memory[0]) take_overflows(memory[SK_MEMINFO_DROPS]);
}

uint32_t UdpReceiver::receive_buffer_bytes() const {
  int bytes = 0;
  socklen_t size = sizeof bytes;
  if (getsockopt(fd_, SOL_SOCKET, SO_RCVBUF, &bytes, &size) != 0 || bytes < 0) return 0;
  return static_cast<uint32_t>(bytes) / 2;  // the kernel doubles it for its own bookkeeping
}

uint32_t UdpReceiver::receive(batch::PacketBatch& batch, OsError* error) {
  Scratch& s = *scratch_;
  const uint32_t room = batch.capacity();
  for (uint32_t i = 0; i < room; ++i) {
    s.vectors[i] = {batch.slot(i) + base::kHeadroom, batch.slot_bytes()};
    msghdr& header = s.headers[i].msg_hdr;
    header.msg_namelen = sizeof s.sources[i];
    header.msg_controllen = kControlBytes;
    header.msg_flags = 0;
  }
  batch.count = 0;
  int got = -1;
  for (uint32_t pending = 0; got < 0;) {
    got = recvmmsg(fd_, s.headers, room, MSG_DONTWAIT, nullptr);
    if (got >= 0) break;
    if (errno == EINTR) continue;
    // Out of memory passes too, but not at once: the caller comes again when epoll says so.
    if (errno == EAGAIN || errno == ENOMEM || errno == ENOBUFS) return 0;
    if (!is_passing(errno)) *error = last_error("recvmmsg", "port " + std::to_string(port_));
    if (!is_passing(errno) || ++pending > kPendingErrorsMax) return 0;
  }
  // Only as many as came: headers of the others still name their full control buffers.
  batch.count = static_cast<uint32_t>(got);
  for (uint32_t i = 0; i < batch.count; ++i) {
    msghdr& header = s.headers[i].msg_hdr;
    batch.reset(i, s.headers[i].msg_len);
    batch.address[i] = ntohl(s.sources[i].sin_addr.s_addr);
    batch.port[i] = ntohs(s.sources[i].sin_port);
    for (cmsghdr* c = CMSG_FIRSTHDR(&header); c != nullptr; c = CMSG_NXTHDR(&header, c)) {
      if (c->cmsg_level == IPPROTO_IP && c->cmsg_type == IP_TOS) {
        batch.tos[i] = *CMSG_DATA(c);
      } else if (c->cmsg_level == SOL_SOCKET && c->cmsg_type == SO_RXQ_OVFL) {
        take_overflows(base::load<uint32_t>(CMSG_DATA(c)));
      }
    }
    if ((header.msg_flags & MSG_TRUNC) != 0) batch.drop(i, base::DropReason::receive_truncated);
  }
  return batch.count;
}

}  // namespace gwlb::io
