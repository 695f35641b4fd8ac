// TUN devices (Linux): whole IP packets, one per read and write.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "batch/packet_batch.h"
#include "io/os_error.h"

namespace gwlb::io {

struct TunConfig {
  std::string name;  // "gwlbe0"; at most 15 bytes; made if it does not exist; "": the kernel's
  std::string netns;
  uint32_t mtu = 8500;  // 68..kInnerBytesMax
  uint32_t queues = 1;  // above 1: IFF_MULTI_QUEUE
  bool up = true;       // set the link up
};

class TunQueue {
 public:
  TunQueue(int fd, std::string name) : fd_(fd), name_(std::move(name)) {}
  ~TunQueue();
  TunQueue(const TunQueue&) = delete;
  TunQueue& operator=(const TunQueue&) = delete;

  int fd() const { return fd_; }

  // Appends packets to the batch from slot batch.count on until the device has none or the batch is
  // full; each with endpoint[i] = `endpoint`. Returns how many; `*error` for a lasting failure,
  // such as EBADFD when the device was deleted (untouched otherwise).
  uint32_t receive(batch::PacketBatch& batch, uint16_t endpoint, OsError* error);

  // Writes packet i. False: the batch's verdict is now a drop (send_failed, send_would_block),
  // which the caller counts.
  bool send(batch::PacketBatch& batch, uint32_t i);

 private:
  int fd_;
  std::string name_;
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
  uint32_t queues() const { return static_cast<uint32_t>(queues_.size()); }
  TunQueue& queue(uint32_t i) { return *queues_[i]; }

 private:
  Tun() = default;
  std::string name_;
  std::vector<std::unique_ptr<TunQueue>> queues_;
};

}  // namespace gwlb::io
