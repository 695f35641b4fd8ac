#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "base/assert.h"
#include "base/bytes.h"
#include "io/netns.h"
#include "io/udp.h"
#include "io/udp_socket.h"

namespace gwlb::io {
namespace {

// TOS of either family, segment; which address was asked.
constexpr uint32_t kControlBytes =
    3 * CMSG_SPACE(sizeof(uint32_t)) + CMSG_SPACE(sizeof(in6_pktinfo));
// Slots asked for at a time where trains come, which would not stay in the cache together.
constexpr uint32_t kTrainSlotsMin = 3;
// A socket keeps one pending error, cleared by the call that returns it; a host that sends more of
// them than this shall not keep the loop from its other work.
constexpr uint32_t kPendingErrorsMax = 8;

OsError bound_port(int fd, const std::string& detail, uint16_t* port) {
  SocketAddress local{};
  socklen_t bytes = sizeof local;
  if (getsockname(fd, &local.any, &bytes) != 0) return last_error("getsockname", detail);
  const bool ipv6 = local.any.sa_family == AF_INET6;
  *port = ntohs(ipv6 ? local.ipv6.sin6_port : local.ipv4.sin_port);
  return {};
}

bool is_link_local(const uint8_t (&address)[16]) {
  return address[0] == 0xfe && (address[1] & 0xc0) == 0x80;
}

// What a message is to say about the way it came.
OsError ask_for_path(int fd, const UdpConfig& config, const std::string& detail) {
  if (!config.ipv6) {
    if (set_option(fd, IPPROTO_IP, IP_PKTINFO, 1)) return {};
    return last_error("setsockopt(IP_PKTINFO)", detail);
  }
  if (!set_option(fd, IPPROTO_IPV6, IPV6_RECVTCLASS, 1)) {
    return last_error("setsockopt(IPV6_RECVTCLASS)", detail);
  }
  if (set_option(fd, IPPROTO_IPV6, IPV6_RECVPKTINFO, 1)) return {};
  return last_error("setsockopt(IPV6_RECVPKTINFO)", detail);
}

}  // namespace

struct UdpReceiver::Scratch {
  mmsghdr headers[base::kBatchPacketsMax];
  iovec vectors[base::kBatchPacketsMax];
  SocketAddress sources[base::kBatchPacketsMax];
  alignas(cmsghdr) uint8_t control[base::kBatchPacketsMax][kControlBytes];

  // What the last call brought and the batch has no packets of yet.
  uint32_t messages = 0;
  uint32_t message = 0;  // the next one of them
  uint32_t taken = 0;    // bytes of it that are packets already
  uint32_t segment = 0;  // bytes of each datagram of it but the last; 0: it is one
  uint32_t gap = 0;      // bytes between them
  uint8_t tos = 0;
  batch::OuterPath path = {};  // where paths are kept, but for the peer
  // How many datagrams a message had, of late.
  uint32_t train = 1;
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
  const std::string detail = address_text(config, config.port);
  OsError error =
      in_netns(config.netns, [&] { return open_udp_socket(config, detail, &receiver->fd_); });
  if (!error.ok()) return error;
  const int fd = receiver->fd_;
  set_buffer(fd, SO_RCVBUFFORCE, SO_RCVBUF, config.receive_buffer_bytes);
  if (!set_option(fd, IPPROTO_IP, IP_RECVTOS, 1)) {
    return last_error("setsockopt(IP_RECVTOS)", detail);
  }
  receiver->ipv6_ = config.ipv6;
  if (config.keeps_paths()) error = ask_for_path(fd, config, detail);
  if (!error.ok()) return error;
  receiver->datagram_bytes_max_ =
      config.datagram_bytes_max != 0 ? config.datagram_bytes_max : ~uint32_t{0};
  receiver->trains_ = config.offload && set_option(fd, IPPROTO_UDP, kUdpGro, 1);
  if (config.reuse_port) error = receiver->share();
  if (error.ok()) error = bind_udp_socket(fd, config, config.port);
  if (error.ok()) error = bound_port(fd, detail, &receiver->port_);
  if (error.ok()) *out = std::move(receiver);
  return error;
}

OsError UdpReceiver::share() {
  if (set_option(fd_, SOL_SOCKET, SO_REUSEPORT, 1)) return {};
  return last_error("setsockopt(SO_REUSEPORT)", std::to_string(port_));
}

uint32_t UdpReceiver::receive_buffer_bytes() const {
  int bytes = 0;
  socklen_t size = sizeof bytes;
  if (getsockopt(fd_, SOL_SOCKET, SO_RCVBUF, &bytes, &size) != 0 || bytes < 0) return 0;
  return static_cast<uint32_t>(bytes) / 2;  // the kernel doubles it for its own bookkeeping
}

bool UdpReceiver::pending() const { return scratch_->message < scratch_->messages; }

// False where there is nothing.
bool UdpReceiver::receive_messages(batch::PacketBatch& batch, OsError* error) {
  Scratch& s = *scratch_;
  const uint32_t room =
      trains_ ? std::clamp(batch.capacity() / s.train, std::min(kTrainSlotsMin, batch.capacity()),
                           batch.capacity())
              : batch.capacity();
  for (uint32_t i = 0; i < room; ++i) {
    s.vectors[i] = {batch.slot(i) + base::kHeadroom, batch.slot_bytes()};
    msghdr& header = s.headers[i].msg_hdr;
    header.msg_namelen = sizeof s.sources[i];
    header.msg_controllen = kControlBytes;
    header.msg_flags = 0;
  }
  s.messages = s.message = s.taken = 0;
  more_ = false;
  int got = -1;
  for (uint32_t pending = 0; got < 0;) {
    got = recvmmsg(fd_, s.headers, room, MSG_DONTWAIT, nullptr);
    if (got >= 0) break;
    if (errno == EINTR) continue;
    // Out of memory passes too, but not at once: the caller comes again when epoll says so.
    if (errno == EAGAIN || errno == ENOMEM || errno == ENOBUFS) return false;
    if (!is_passing(errno)) *error = last_error("recvmmsg", "port " + std::to_string(port_));
    if (!is_passing(errno) || ++pending > kPendingErrorsMax) return false;
  }
  s.messages = static_cast<uint32_t>(got);
  more_ = s.messages == room;
  return s.messages > 0;
}

void UdpReceiver::read_control(uint32_t m) {
  Scratch& s = *scratch_;
  s.tos = 0;
  s.segment = 0;
  msghdr& header = s.headers[m].msg_hdr;
  for (cmsghdr* c = CMSG_FIRSTHDR(&header); c != nullptr; c = CMSG_NXTHDR(&header, c)) {
    if (c->cmsg_level == IPPROTO_IP && c->cmsg_type == IP_TOS) {
      s.tos = *CMSG_DATA(c);
    } else if (c->cmsg_level == IPPROTO_IPV6 && c->cmsg_type == IPV6_TCLASS) {
      s.tos = static_cast<uint8_t>(base::load<int>(CMSG_DATA(c)));
    } else if (c->cmsg_level == IPPROTO_IP && c->cmsg_type == IP_PKTINFO) {
      // Of a broadcast the address to answer from.
      const auto info = base::load<in_pktinfo>(CMSG_DATA(c));
      map_address(ntohl(info.ipi_spec_dst.s_addr), s.path.local);
    } else if (c->cmsg_level == IPPROTO_IPV6 && c->cmsg_type == IPV6_PKTINFO) {
      const auto info = base::load<in6_pktinfo>(CMSG_DATA(c));
      std::memcpy(s.path.local, &info.ipi6_addr, sizeof s.path.local);
      s.path.interface = is_link_local(s.path.local) ? info.ipi6_ifindex : 0;
    } else if (c->cmsg_level == IPPROTO_UDP && c->cmsg_type == kUdpGro) {
      s.segment = base::load<uint32_t>(CMSG_DATA(c));
    }
  }
}

// Who sent message m: the IPv4 address, 0 where it has none; in s.path where it is asked for.
void UdpReceiver::read_peer(uint32_t m, bool with_path, uint32_t* address, uint16_t* port) {
  Scratch& s = *scratch_;
  const SocketAddress& source = s.sources[m];
  if (!ipv6_) {
    *address = ntohl(source.ipv4.sin_addr.s_addr);
    *port = ntohs(source.ipv4.sin_port);
    if (with_path) map_address(*address, s.path.peer);
    return;
  }
  uint8_t peer[16];
  std::memcpy(peer, &source.ipv6.sin6_addr, sizeof peer);
  *address = is_mapped(peer) ? base::load_be32(peer + sizeof kMappedPrefix) : 0;
  *port = ntohs(source.ipv6.sin6_port);
  if (!with_path) return;
  std::memcpy(s.path.peer, peer, sizeof peer);
  if (is_link_local(peer)) s.path.interface = source.ipv6.sin6_scope_id;
}

// Moves the datagrams of message m apart, the last one first. Returns the bytes between them.
uint32_t UdpReceiver::spread(batch::PacketBatch& batch, uint32_t m, uint32_t datagrams) {
  const Scratch& s = *scratch_;
  const uint32_t bytes = s.headers[m].msg_len;
  if (bytes + (datagrams - 1) * base::kTrainGap > batch.slot_bytes()) return 0;
  uint8_t* first = batch.slot(m) + base::kHeadroom;
  for (uint32_t k = datagrams - 1; k > 0; --k) {
    const uint32_t at = k * s.segment;
    std::memmove(first + at + k * base::kTrainGap, first + at, std::min(s.segment, bytes - at));
  }
  return base::kTrainGap;
}

// Packets of the next message, as many as the batch has room for. False where it is not begun: a
// train that fits a batch of its own stays together, so that it can be put together again.
bool UdpReceiver::place_message(batch::PacketBatch& batch) {
  Scratch& s = *scratch_;
  const uint32_t m = s.message;
  uint32_t address;
  uint16_t port;
  const bool with_path = batch.paths != nullptr;
  if (s.taken == 0) read_control(m);
  read_peer(m, with_path, &address, &port);
  if (s.taken == 0) {
    const uint32_t all = s.segment == 0 ? 1 : (s.headers[m].msg_len + s.segment - 1) / s.segment;
    if (batch.count + all > batch.capacity() && batch.count != 0) return false;
    s.gap = all > 1 && spread_ && spread_(address) ? spread(batch, m, all) : 0;
  }
  const uint32_t bytes = s.headers[m].msg_len;
  const uint32_t slot = batch.slot_offset(m);
  do {
    const uint32_t i = batch.count++;
    const uint32_t left = bytes - s.taken;
    const uint32_t length = s.segment == 0 ? left : std::min(left, s.segment);
    const uint32_t before = s.segment == 0 ? 0 : s.taken / s.segment;
    const uint32_t at = slot + base::kHeadroom + s.taken + before * s.gap;
    const uint32_t from = s.taken == 0 ? slot : at - s.gap;
    s.taken += length;
    const uint32_t to = s.taken == bytes ? slot + batch.stride() : at + length;
    batch.place(i, at, length, from, to);
    batch.address[i] = address;
    batch.port[i] = port;
    batch.tos[i] = s.tos;
    if (with_path) batch.paths[i] = s.path;
    if ((s.headers[m].msg_hdr.msg_flags & MSG_TRUNC) != 0 || length > datagram_bytes_max_) {
      batch.drop(i, base::DropReason::receive_truncated);
    }
  } while (s.taken < bytes && batch.count < batch.capacity());
  if (s.taken < bytes) return true;
  s.train = s.segment == 0 ? 1 : (bytes + s.segment - 1) / s.segment;
  s.taken = 0;
  ++s.message;
  return true;
}

uint32_t UdpReceiver::receive(batch::PacketBatch& batch, OsError* error) {
  GWLB_ASSERT(!trains_ || batch.stride() >= base::kSlotStrideTrain);
  batch.count = 0;
  if (!pending() && !receive_messages(batch, error)) return 0;
  while (pending() && batch.count < batch.capacity() && place_message(batch)) {
  }
  return batch.count;
}

}  // namespace gwlb::io
