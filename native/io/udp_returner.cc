#include "io/udp_returner.h"

#include <fcntl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>

#include "base/assert.h"
#include "io/udp_socket.h"

namespace gwlb::io {
namespace {

// How many descriptors there are for everything else: health checks, logs, other sockets.
constexpr uint32_t kDescriptorShare = 4;

uint64_t clock_ms() {
  timespec now{};
  clock_gettime(CLOCK_MONOTONIC_COARSE, &now);
  return static_cast<uint64_t>(now.tv_sec) * 1000 + static_cast<uint64_t>(now.tv_nsec / 1'000'000);
}

uint32_t descriptors() {
  rlimit limit{};
  if (getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur > UINT32_MAX) return UINT32_MAX;
  return static_cast<uint32_t>(limit.rlim_cur);
}

}  // namespace

UdpReturner::~UdpReturner() {
  for (const int fd : fds_) {
    if (fd >= 0) close(fd);
  }
  if (own_ >= 0) close(own_);
}

OsError UdpReturner::open(const UdpConfig& config, const UdpReceiver& receiver,
                          uint32_t sockets_max, std::unique_ptr<UdpReturner>* out) {
  GWLB_ASSERT(sockets_max >= 1 && sockets_max <= base::kReturnPortsMax);
  std::unique_ptr<UdpReturner> self(new UdpReturner());
  self->config_ = config;
  self->own_port_ = receiver.port();
  self->own_ = fcntl(receiver.fd(), F_DUPFD_CLOEXEC, 0);
  if (self->own_ < 0) return last_error("fcntl", address_text(config.address, receiver.port()));
  self->sockets_max_ = std::clamp(descriptors() / kDescriptorShare, 1u, sockets_max);
  self->trains_ = config.offload && config.checksum && has_trains(self->own_);
  if (config.finishes_checksums()) self->finish_ = std::make_unique<UdpFinish>();
  self->by_port_.assign(65536, kNone);
  self->sockets_.reserve(self->sockets_max_);
  self->fds_.reserve(self->sockets_max_);
  *out = std::move(self);
  return {};
}

// The socket at this place is nobody's any more.
void UdpReturner::release(uint16_t number) {
  Socket& socket = sockets_[number];
  uint16_t* link = &by_port_[socket.from.port];
  while (*link != number) link = &sockets_[*link].next;
  *link = socket.next;
  if (fds_[number] < 0) return;
  close(fds_[number]);
  fds_[number] = -1;
  --open_;
}

// kNone where every place is needed by this very call.
uint16_t UdpReturner::place_for(const From& from) {
  uint16_t number = kNone;
  if (sockets_.size() < sockets_max_) {
    number = static_cast<uint16_t>(sockets_.size());
    sockets_.emplace_back();
    fds_.push_back(-1);
  } else {
    uint32_t oldest = 0;
    for (uint32_t n = 0; n < sockets_.size(); ++n) {
      const uint32_t age = calls_ - sockets_[n].used;
      if (age <= oldest) continue;
      oldest = age;
      number = static_cast<uint16_t>(n);
    }
    if (number == kNone) return kNone;
    release(number);
  }
  sockets_[number] = {from, by_port_[from.port], calls_, 0};
  by_port_[from.port] = number;
  return number;
}

void UdpReturner::bind(uint16_t number) {
  const Socket& socket = sockets_[number];
  UdpConfig config = config_;
  if (config.keeps_paths()) config.set_address(socket.from.address);
  int fd = -1;
  OsError error = open_udp_socket(config, "", &fd);
  if (error.ok()) error = refuse_input(fd, "");
  if (error.ok()) error = bind_udp_socket(fd, config, socket.from.port, socket.from.interface);
  if (error.ok()) {
    fds_[number] = fd;
    ++open_;
    return;
  }
  if (fd >= 0) close(fd);
  sockets_[number].failed_ms = clock_ms();
}

// The number of the socket to send from; kNone: the receiving one.
uint16_t UdpReturner::find(const From& from) {
  uint16_t number = by_port_[from.port];
  while (number != kNone && !(sockets_[number].from == from)) number = sockets_[number].next;
  if (number == kNone) {
    number = place_for(from);
    if (number == kNone) return kNone;
    bind(number);
  } else if (fds_[number] < 0 && clock_ms() - sockets_[number].failed_ms >= kRetryMs) {
    bind(number);
  }
  sockets_[number].used = calls_;
  return fds_[number] < 0 ? kNone : number;
}

uint32_t UdpReturner::send(batch::PacketBatch& batch, const uint16_t* packets, uint32_t n,
                           UdpSendScratch& scratch, uint32_t* other_port) {
  ++calls_;
  From from;
  From last;
  uint16_t number = kNone;  // of `last`
  *other_port = 0;
  for (uint32_t k = 0; k < n; ++k) {
    const uint16_t i = packets[k];
    from.port = batch.source_port[i];
    if (batch.paths != nullptr) {
      std::memcpy(from.address, batch.paths[i].local, sizeof from.address);
      from.interface = batch.paths[i].interface;
    }
    if (from.port == own_port_) {
      batch.source_port[i] = kNone;
      continue;
    }
    if (!(from == last)) {
      last = from;
      number = from.port == 0 ? kNone : find(from);
    }
    batch.source_port[i] = number;
    *other_port += number == kNone ? 1 : 0;
  }
  const UdpSockets sockets = {
      fds_.data(), static_cast<uint32_t>(fds_.size()), own_, config_.ipv6, trains_, finish_.get()};
  return UdpSender::send_from(sockets, batch, packets, n, scratch);
}

}  // namespace gwlb::io
