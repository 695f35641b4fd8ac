#include "io/tun.h"

#include <fcntl.h>
#include <linux/if.h>
#include <linux/if_tun.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "base/assert.h"
#include "io/netlink.h"
#include "io/netns.h"
#include "io/tun_setup.h"
#include "io/vnet_header.h"
#include "wire/fragment.h"
#include "wire/inner.h"
#include "wire/segment.h"

namespace gwlb::io {

using batch::PacketBatch;

namespace {

constexpr char kTunPath[] = "/dev/net/tun";
// TUN_F_USO4 and 6, which older kernel headers lack.
constexpr unsigned kTunUso = 0x20 | 0x40;
// One read of super-packets: half of a second-level cache, with what they become on their way out.
constexpr uint32_t kReadBytesMax = 192 << 10;

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
  *out = std::make_unique<TunQueue>(fd, *name, (flags & IFF_VNET_HDR) != 0);
  return {};
}

// Whether the device is made or found with several queues. The kernel lets anybody add queues to
// such a device: two gateways would share its packets without a word, so that one with a holder is
// refused.
OsError find_device(const std::string& name, const TunConfig& config, bool* several, bool* found) {
  *found = false;
  *several = config.queues > 1 || config.lifetime == TunLifetime::persistent;
  LinkInfo link;
  // A pattern such as "gwlb%d" names no device yet. What cannot be asked the kernel tells later.
  if (!find_link(name, &link).ok()) return {};
  if (link.kind != "tun") return {EINVAL, "ioctl(TUNSETIFF)", name};
  if (link.queues > 0) return {EBUSY, "ioctl(TUNSETIFF)", name};
  *several = link.multi_queue;
  *found = true;
  return {};
}

// What the device shall leave to us: as much as the kernel knows of.
TunOffloads ask_offloads(int fd, bool wanted) {
  constexpr unsigned kTcp = TUN_F_CSUM | TUN_F_TSO4 | TUN_F_TSO6 | TUN_F_TSO_ECN;
  if (wanted && ioctl(fd, TUNSETOFFLOAD, kTcp | kTunUso) == 0) return {true, true};
  if (wanted && ioctl(fd, TUNSETOFFLOAD, kTcp) == 0) return {true, false};
  // A persistent device keeps what its last user asked for.
  ioctl(fd, TUNSETOFFLOAD, 0u);
  return {};
}

uint8_t gso_type(const wire::CoalescedRun& run) {
  if (run.protocol == wire::kUdp) return VnetHeader::kUdp;
  const uint8_t type = run.version == 4 ? VnetHeader::kTcp4 : VnetHeader::kTcp6;
  return run.congestion_window_reduced ? type | VnetHeader::kEcn : type;
}

// What a super-packet that was read says of itself when it is written again.
wire::CoalescedRun as_run(const wire::SuperPacket& super) {
  wire::CoalescedRun run;
  run.count = super.count;
  run.headers = super.headers;
  run.transport = super.transport;
  run.segment = super.segment;
  run.length = super.length;
  run.version = super.version;
  run.protocol = super.protocol;
  run.congestion_window_reduced =
      super.protocol == wire::kTcp && (super.packet[super.transport + 13] & 0x80) != 0;
  return run;
}

VnetHeader vnet_header(const wire::CoalescedRun& run) {
  VnetHeader header;
  header.flags = VnetHeader::kNeedsChecksum;
  header.gso_type = gso_type(run);
  header.header_bytes = run.headers;
  header.gso_size = run.segment;
  header.checksum_start = run.transport;
  header.checksum_offset = run.protocol == wire::kTcp ? 16 : 6;
  return header;
}

// 0, or why not.
int write_all(int fd, const iovec* vectors, int count) {
  size_t bytes = 0;
  for (int k = 0; k < count; ++k) bytes += vectors[k].iov_len;
  for (;;) {
    const ssize_t put = writev(fd, vectors, count);
    if (put == static_cast<ssize_t>(bytes)) return 0;
    if (put >= 0) return EIO;
    if (errno != EINTR) return errno;
  }
}

}  // namespace

struct TunQueue::Writer {
  wire::Coalescer coalescer;
  wire::PacketSpan spans[base::kBatchPacketsMax];
  uint8_t headers[wire::kSegmentHeadersMax];  // of a run's first packet, as they were
};

TunQueue::TunQueue(int fd, std::string name, bool vnet, bool readable)
    : fd_(fd), name_(std::move(name)), vnet_(vnet), readable_(readable) {}
TunQueue::~TunQueue() { close(fd_); }

void TunQueue::set_offloads(const TunOffloads& offloads) {
  offloads_ = offloads;
  if (offloads.tcp) writer_ = std::make_unique<Writer>();
}

// False: nothing there, or an error.
bool TunQueue::receive_one(PacketBatch& batch, uint32_t i, OsError* error) {
  VnetHeader header;
  const uint32_t front = vnet_ ? sizeof header : 0;
  uint8_t* packet = batch.slot(i) + base::kHeadroom;
  ssize_t got;
  do {
    got = read(fd_, packet - front, batch.slot_bytes() + front);
  } while (got < 0 && errno == EINTR);
  if (got < 0) {
    if (errno != EAGAIN) *error = last_error("read", name_);
    return false;
  }
  batch.reset(i, static_cast<uint32_t>(got) - front);
  if (!vnet_) return true;
  std::memcpy(&header, packet - front, sizeof header);
  wire::SuperPacket super;
  if (header.gso_type != VnetHeader::kNone) {
    if (!wire::parse_super_packet(packet, batch.length[i], header.gso_size, &super)) {
      batch.drop(i, base::DropReason::bad_super_packet);
      return true;
    }
    if (super.count > 1) {
      batch.make_super(i, super.count, super.headers, super.segment);
      return true;
    }
  }
  if ((header.flags & VnetHeader::kNeedsChecksum) != 0 &&
      !wire::complete_checksum(packet, batch.length[i], header.checksum_start,
                               header.checksum_offset)) {
    batch.drop(i, base::DropReason::bad_super_packet);
  }
  return true;
}

uint32_t TunQueue::receive(PacketBatch& batch, uint16_t endpoint, bool* more, OsError* error) {
  const uint32_t first = batch.count;
  uint32_t bytes = 0;
  *more = true;
  while (batch.count < batch.capacity() && bytes < kReadBytesMax) {
    const uint32_t i = batch.count;
    if (!receive_one(batch, i, error)) {
      *more = false;
      break;
    }
    batch.endpoint[i] = endpoint;
    bytes += batch.length[i];
    ++batch.count;
  }
  return batch.count - first;
}

// In fragments of so many payload bytes, where it has more. 0, or why one was refused: without it
// the others are of no use.
int TunQueue::write_fragments(const uint8_t* packet, uint32_t length, uint32_t payload) {
  VnetHeader none;
  wire::Ipv4Fragments cut;
  if (!wire::parse_fragments(packet, length, payload, &cut)) {
    const iovec vectors[] = {{&none, sizeof none}, {const_cast<uint8_t*>(packet), length}};
    return vnet_ ? write_all(fd_, vectors, 2) : write_all(fd_, vectors + 1, 1);
  }
  uint8_t header[wire::kIpv4HeaderBytesMax];
  for (uint32_t k = 0; k < cut.count; ++k) {
    wire::write_fragment_header(cut, k, header);
    const iovec vectors[] = {
        {&none, sizeof none},
        {header, wire::fragment_headers(cut, k)},
        {const_cast<uint8_t*>(wire::fragment_payload_at(cut, k)), wire::fragment_payload(cut, k)}};
    const int why = vnet_ ? write_all(fd_, vectors, 3) : write_all(fd_, vectors + 1, 2);
    if (why != 0) return why;
  }
  return 0;
}

// Of a packet, or packets of a super-packet, longer than the device's MTU.
void TunQueue::send_fragments(PacketBatch& batch, uint32_t i) {
  if (!batch.is_super(i)) {
    const int why = write_fragments(batch.packet(i), batch.length[i], batch.fragment[i]);
    if (why != 0) batch.drop(i, refusal(why));
    return;
  }
  wire::SuperPacket super;
  const bool ok =
      wire::parse_super_packet(batch.packet(i), batch.length[i], batch.segment[i], &super);
  GWLB_ASSERT(ok);
  uint8_t packet[base::kTrainBytesMax];
  uint32_t lost = 0, lost_bytes = 0;
  for (uint32_t k = 0; k < super.count; ++k) {
    const uint32_t length = wire::write_segment(super, k, packet);
    const int why = write_fragments(packet, length, batch.fragment[i]);
    if (why == 0) continue;
    batch.drop(i, refusal(why));
    ++lost;
    lost_bytes += length;
  }
  if (lost == 0) return;
  batch.packets[i] = static_cast<uint16_t>(lost);
  batch.lost_bytes[i] = lost_bytes;
}

void TunQueue::send_one(PacketBatch& batch, uint32_t i) {
  if (batch.is_fragmented(i)) return send_fragments(batch, i);
  VnetHeader header;
  wire::SuperPacket super;
  if (batch.is_super(i) &&
      wire::parse_super_packet(batch.packet(i), batch.length[i], batch.segment[i], &super)) {
    header = vnet_header(as_run(super));
  }
  const iovec vectors[] = {{&header, sizeof header}, {batch.packet(i), batch.length[i]}};
  const int why = vnet_ ? write_all(fd_, vectors, 2) : write_all(fd_, vectors + 1, 1);
  if (why != 0) batch.drop(i, refusal(why));
}

// False where the kernel does not take this super-packet.
bool TunQueue::send_run(PacketBatch& batch, const uint16_t* packets, const wire::CoalescedRun& run,
                        const uint16_t* order) {
  Writer& w = *writer_;
  VnetHeader header = vnet_header(run);
  iovec vectors[base::kBatchPacketsMax + 1];
  vectors[0] = {&header, sizeof header};
  for (uint32_t k = 0; k < run.count; ++k) {
    const wire::PacketSpan& span = w.spans[order[k]];
    const uint32_t skipped = k == 0 ? 0 : run.headers;
    vectors[k + 1] = {span.bytes + skipped, span.length - skipped};
  }
  const wire::PacketSpan& first = w.spans[order[0]];
  std::memcpy(w.headers, first.bytes, run.headers);
  wire::Coalescer::write_headers(run, first, w.spans[order[run.count - 1]]);
  const int why = write_all(fd_, vectors, run.count + 1);
  if (why == 0) return true;
  std::memcpy(first.bytes, w.headers, run.headers);
  if (why == EINVAL) return false;
  for (uint32_t k = 0; k < run.count; ++k) batch.drop(packets[order[k]], refusal(why));
  return true;
}

void TunQueue::send_runs(PacketBatch& batch, const uint16_t* packets, uint32_t n) {
  Writer& w = *writer_;
  for (uint32_t k = 0; k < n; ++k)
    w.spans[k] = {batch.packet(packets[k]), batch.length[packets[k]]};
  w.coalescer.plan(w.spans, n, offloads_.udp);
  for (uint32_t r = 0; r < w.coalescer.run_count(); ++r) {
    const wire::CoalescedRun& run = w.coalescer.run(r);
    const uint16_t* order = w.coalescer.order() + run.first;
    if (run.count > 1 && send_run(batch, packets, run, order)) continue;
    for (uint32_t k = 0; k < run.count; ++k) send_one(batch, packets[order[k]]);
  }
}

void TunQueue::send(PacketBatch& batch, const uint16_t* packets, uint32_t n) {
  uint32_t from = 0;
  for (uint32_t k = 0; k < n; ++k) {
    const bool alone = writer_ == nullptr || batch.leaves_in_pieces(packets[k]);
    if (!alone) continue;
    if (k > from) send_runs(batch, packets + from, k - from);
    send_one(batch, packets[k]);
    from = k + 1;
  }
  if (n > from) send_runs(batch, packets + from, n - from);
}

OsError Tun::open(const TunConfig& config, std::unique_ptr<Tun>* out) {
  GWLB_ASSERT(config.queues >= 1);
  if (config.name.size() >= IFNAMSIZ) return {ENAMETOOLONG, "ioctl(TUNSETIFF)", config.name};
  if (config.mtu < kTunMtuMin || config.mtu > base::kInnerBytesMax) {
    return {EINVAL, "ioctl(SIOCSIFMTU)", config.name + " mtu " + std::to_string(config.mtu)};
  }
  std::unique_ptr<Tun> tun(new Tun());
  tun->name_ = config.name;
  OsError error = in_netns(config.netns, [&]() -> OsError {
    OsError refused = tun->open_queues(config);
    if (!refused.ok()) return refused;
    tun->control_ = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (tun->control_ < 0) return last_error("socket", tun->name_);
    refused = set_up_device(tun->control_, tun->name_, config, !tun->found_);
    if (refused.ok()) refused = tun->drops_.begin(tun->name_);
    return refused.ok() ? tun->set_lifetime(config.lifetime) : refused;
  });
  if (error.ok()) *out = std::move(tun);
  return error;
}

OsError Tun::open_queues(const TunConfig& config) {
  bool several;
  OsError error = find_device(name_, config, &several, &found_);
  if (!error.ok()) return error;
  const int flags = (config.offload ? IFF_VNET_HDR : 0) | (several ? IFF_MULTI_QUEUE : 0);
  for (uint32_t i = 0; i < config.queues; ++i) {
    std::unique_ptr<TunQueue> queue;
    if (i == 0 || several) {
      error = open_queue(flags, &name_, &queue);
      if (!error.ok()) return error;
    } else {
      const int fd = fcntl(queues_[0]->fd(), F_DUPFD_CLOEXEC, 0);
      if (fd < 0) return last_error("dup", name_);
      queue = std::make_unique<TunQueue>(fd, name_, config.offload, false);
    }
    // The device's, whichever queue is asked.
    if (i == 0) offloads_ = ask_offloads(queue->fd(), config.offload);
    queue->set_offloads(offloads_);
    queues_.push_back(std::move(queue));
  }
  return {};
}

Tun::~Tun() {
  if (control_ >= 0) close(control_);
}

}  // namespace gwlb::io
