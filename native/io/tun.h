// TUN devices (Linux): whole IP packets, one per read and write. With offloads one read or write is
// a super-packet of up to 64 KiB where the kernel has (or we can make) one, which divides the cost
// of the system call and of the whole network stack behind it by dozens.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "batch/packet_batch.h"
#include "io/os_error.h"
#include "wire/coalesce.h"

namespace gwlb::io {

struct TunConfig {
  std::string name;  // "gwlbe0"; at most 15 bytes; made if it does not exist; "": the kernel's
  std::string netns;
  uint32_t mtu = 8500;  // 68..kInnerBytesMax
  uint32_t queues = 1;  // above 1: IFF_MULTI_QUEUE
  bool up = true;       // set the link up
  // Super-packets both ways (IFF_VNET_HDR; TSO, and USO from Linux 6.2 on), as far as the kernel
  // has them. A batch that receives needs slots of kSlotStrideTrain then.
  bool offload = false;
};

// What the kernel granted.
struct TunOffloads {
  bool tcp = false;
  bool udp = false;
};

class TunQueue {
 public:
  TunQueue(int fd, std::string name, bool vnet);
  ~TunQueue();
  TunQueue(const TunQueue&) = delete;
  TunQueue& operator=(const TunQueue&) = delete;

  int fd() const { return fd_; }

  // Appends packets to the batch from slot batch.count on until the device has none, the batch is
  // full, or (super-packets) what was read would no longer be in the cache when it is sent; each
  // with endpoint[i] = `endpoint`. Returns how many, and in `*more` whether there may be more;
  // `*error` for a lasting failure, such as EBADFD when the device was deleted (untouched
  // otherwise). A checksum that the kernel left to us is completed, but for super-packets, whose
  // segments get theirs when they are cut. One that cannot be cut is in the batch as a drop
  // (bad_super_packet), which the caller counts.
  uint32_t receive(batch::PacketBatch& batch, uint16_t endpoint, bool* more, OsError* error);

  // Writes packets[0..n) of the batch; with offloads those of one flow as super-packets, as far as
  // they may be put together (wire/coalesce.h). Refused ones are drops in the batch afterwards
  // (send_failed, send_would_block), which the caller counts.
  void send(batch::PacketBatch& batch, const uint16_t* packets, uint32_t n);

  void set_offloads(const TunOffloads& offloads);

 private:
  struct Writer;  // what putting together takes
  bool receive_one(batch::PacketBatch& batch, uint32_t i, OsError* error);
  void send_one(batch::PacketBatch& batch, uint32_t i);
  void send_runs(batch::PacketBatch& batch, const uint16_t* packets, uint32_t n);
  bool send_run(batch::PacketBatch& batch, const uint16_t* packets, const wire::CoalescedRun& run,
                const uint16_t* order);

  int fd_;
  std::string name_;
  bool vnet_;  // a VnetHeader goes in front of each packet
  TunOffloads offloads_;
  std::unique_ptr<Writer> writer_;  // with offloads
};

class Tun {
 public:
  // Creates the device, or attaches to a persistent one that exists; sets MTU and link state where
  // they differ (so a device prepared by an administrator needs no privilege). A device it has to
  // set up is given no IPv6 link-local address: nothing but routed traffic shall enter by it.
  // Errors: ENOENT from open "/dev/net/tun" (module not there), EPERM from ioctl (needs
  // CAP_NET_ADMIN), EBUSY (somebody else has the device open), EINVAL and ENAMETOOLONG for a name
  // the kernel refuses; those of in_netns.
  static OsError open(const TunConfig& config, std::unique_ptr<Tun>* out);

  // The device goes away with its last queue, unless it is persistent.
  const std::string& name() const { return name_; }  // as the kernel named it
  const TunOffloads& offloads() const { return offloads_; }
  uint32_t queues() const { return static_cast<uint32_t>(queues_.size()); }
  TunQueue& queue(uint32_t i) { return *queues_[i]; }

 private:
  Tun() = default;
  std::string name_;
  TunOffloads offloads_;
  std::vector<std::unique_ptr<TunQueue>> queues_;
};

}  // namespace gwlb::io
