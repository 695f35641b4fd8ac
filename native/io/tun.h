// TUN devices (Linux): whole IP packets, one per read and write. With offloads one read or write is
// a super-packet of up to 64 KiB where the kernel has (or we can make) one, which divides the cost
// of the system call and of the whole network stack behind it by dozens.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "batch/packet_batch.h"
#include "io/link_drops.h"
#include "io/os_error.h"
#include "io/port.h"
#include "wire/coalesce.h"

namespace gwlb::io {

// What becomes of a device when nobody holds it any more.
enum class TunLifetime : uint8_t {
  as_found,    // one that existed stays if it did before; one that is made goes
  persistent,  // it stays, and with it the routes that lead into it
  held,        // it goes, also one that was persistent
};
inline constexpr const char* kTunLifetimeNames[] = {"as-found", "persistent", "held"};

// The kernel's default of 500 is full after half a millisecond of a million packets a second, and a
// worker may be away for longer than that. A queue takes memory for what is in it alone: this many
// super-packets are 256 MiB.
inline constexpr uint32_t kTunQueueDefault = 4096;
inline constexpr uint32_t kTunQueueMax = 1u << 20;

struct TunConfig {
  std::string name;  // "gwlbe0"; at most 15 bytes; made if it does not exist; "": the kernel's
  std::string netns;
  uint32_t mtu = 8500;  // 68..kInnerBytesMax
  // As many as are asked for, each for a thread of its own. One that existed without
  // IFF_MULTI_QUEUE has one queue in the kernel: the first reads it, all write to it.
  uint32_t queues = 1;
  // Packets (also super-packets) that wait in each queue until they are read, 1..kTunQueueMax; 0: a
  // new device has kTunQueueDefault, another one stays as it is.
  uint32_t queue_packets = 0;
  TunLifetime lifetime = TunLifetime::as_found;
  bool up = true;  // set the link up
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
  // `readable`: packets come by it; the others only write.
  TunQueue(int fd, std::string name, bool vnet, bool readable = true);
  ~TunQueue();
  TunQueue(const TunQueue&) = delete;
  TunQueue& operator=(const TunQueue&) = delete;

  int fd() const { return fd_; }
  bool readable() const { return readable_; }

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
  void send_fragments(batch::PacketBatch& batch, uint32_t i);
  int write_fragments(const uint8_t* packet, uint32_t length, uint32_t payload);
  void send_runs(batch::PacketBatch& batch, const uint16_t* packets, uint32_t n);
  bool send_run(batch::PacketBatch& batch, const uint16_t* packets, const wire::CoalescedRun& run,
                const uint16_t* order);

  int fd_;
  std::string name_;
  bool vnet_;  // a VnetHeader goes in front of each packet
  bool readable_;
  TunOffloads offloads_;
  std::unique_ptr<Writer> writer_;  // with offloads
};

class Tun {
 public:
  // Creates the device, or attaches to a persistent one that exists, whatever made it; sets MTU and
  // link state where they differ (so a device prepared by an administrator needs no privilege). A
  // device it has to set up is given no IPv6 link-local address, and one that it makes joins no
  // multicast group: nothing but routed traffic shall enter by it. Errors: ENOENT from open
  // "/dev/net/tun" (module not there), EPERM from ioctl (needs CAP_NET_ADMIN), EBUSY (somebody else
  // has the device open), EINVAL and ENAMETOOLONG for a name the kernel refuses; those of in_netns.
  static OsError open(const TunConfig& config, std::unique_ptr<Tun>* out);
  // Takes away a persistent device. Errors: ENODEV for no such device, EINVAL for one of another
  // kind, EBUSY for one that somebody holds; those of open.
  static OsError remove(const std::string& name, const std::string& netns);
  ~Tun();
  Tun(const Tun&) = delete;

  // Of the moment; any thread may ask.
  LinkState state() const;
  // Its number in its namespace; 0 where it is gone.
  uint32_t ifindex() const;
  // Sets it up again. Errors: EPERM (needs CAP_NET_ADMIN), ENODEV.
  OsError set_up();
  // A queue met a lasting error: from now on it is gone.
  void lose() { lost_.store(true, std::memory_order_release); }

  // The device goes away with its last queue, unless it is persistent.
  const std::string& name() const { return name_; }  // as the kernel named it
  const TunOffloads& offloads() const { return offloads_; }
  uint32_t queues() const { return static_cast<uint32_t>(queues_.size()); }
  TunQueue& queue(uint32_t i) { return *queues_[i]; }
  // Packets that the kernel has dropped since it was opened, because a queue was full: asks it.
  // For one thread at a time.
  uint64_t drops() { return drops_.read(); }

 private:
  Tun() = default;
  OsError open_queues(const TunConfig& config);
  OsError set_lifetime(TunLifetime lifetime);

  std::string name_;
  int control_ = -1;  // a socket in the device's namespace
  std::atomic<bool> lost_{false};
  LinkDrops drops_;
  bool found_ = false;  // it was there before
  TunOffloads offloads_;
  std::vector<std::unique_ptr<TunQueue>> queues_;
};

}  // namespace gwlb::io
