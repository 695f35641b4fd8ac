// GENEVE over UDP sockets (Linux). One receiving socket on the GENEVE port, and a set of sockets on
// other ports to send from, so that flows have different outer source ports.
#pragma once

#include <cstdint>
#include <functional>
#include <iterator>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "batch/packet_batch.h"
#include "io/os_error.h"
#include "io/udp_losses.h"

namespace gwlb::io {

// Why a set of bound sockets and not one raw socket that writes its own UDP headers
// (bench/native/udp_send_bench.cc; CPU ns a packet on loopback, delivery included, medians of 61
// rounds, 104 / 1,440 bytes):
//
//   batches of 64            256 sockets    16 sockets     1 socket      raw socket
//   packets of 64 flows      5,740 / 5,890  4,940 / 4,990  4,480 / 4,540  4,360 / 4,960
//   packets of 8 flows       4,460 / 4,730  4,400 / 4,820  4,220 / 4,600  3,990 / 4,940
//
// A raw socket is 16-24 % cheaper only where every packet of a batch is another flow's; with trains
// of eight it is 11 % cheaper for small packets and not at all for full ones, whose checksum it has
// to compute itself. It needs CAP_NET_RAW, cannot fragment and cannot use GSO. 16 sockets save 14 %
// at worst, but spread flows over 16 ports, too few for an appliance's receive queues.
struct UdpConfig {
  uint32_t address = 0;  // host order; local address; 0: all IPv4 addresses
  // With `ipv6` this one instead; all zero: all addresses, IPv4 too. Receiving alone.
  bool ipv6 = false;
  uint8_t address6[16] = {};
  uint16_t port = 6081;  // receives here
  std::string netns;
  uint16_t source_port_base = 32768;
  uint16_t source_port_count = 256;          // 0: send from the receiving socket
  uint32_t receive_buffer_bytes = 8u << 20;  // SO_RCVBUFFORCE, else SO_RCVBUF as far as allowed
  uint32_t send_buffer_bytes = 8u << 20;     // of each sending socket: a bound, not a reservation
  uint8_t ttl = 255;
  bool dont_fragment = false;
  bool reuse_port = false;  // one receiving socket per worker
  // Trains both ways, as far as the kernel has them: UDP_GRO to receive, UDP_SEGMENT to send. A
  // batch that receives needs slots of kSlotStrideTrain then.
  bool offload = false;
  // The outer UDP checksum of what is sent; false: 0, none (over IPv4: RFC 8926, section 3.3), and
  // no trains. Without `offload` it is finished before a device sees it: devices that finish
  // checksums by themselves, veth among them, do not where a raw socket reads.
  bool checksum = true;
  // A longer datagram is dropped (receive_truncated) although its slot would take it; 0: none is.
  uint32_t datagram_bytes_max = 0;

  bool finishes_checksums() const { return checksum && !offload; }
  // Whether answers need to know which way a datagram came.
  bool keeps_paths() const { return ipv6 || address == 0; }
  // To one of 16 bytes, mapped where it is IPv4.
  void set_address(const uint8_t (&mapped)[16]);
};

// The receiving socket of one worker. Not thread-safe.
class UdpReceiver {
 public:
  // Errors: EADDRINUSE, EADDRNOTAVAIL or EACCES from bind, with "address:port"; those of in_netns.
  static OsError open(const UdpConfig& config, std::unique_ptr<UdpReceiver>* out);
  ~UdpReceiver();
  UdpReceiver(const UdpReceiver&) = delete;
  UdpReceiver& operator=(const UdpReceiver&) = delete;

  int fd() const { return fd_; }
  uint16_t port() const { return port_; }  // the bound port, also where the configuration says 0

  // Lets sockets opened with `reuse_port` join this one, which was bound without it: the first of a
  // set is bound alone, so that a port somebody else already shares is still an error.
  OsError share();

  // Fills the batch from slot 0 (at most its capacity, non-blocking): offset, length, address,
  // port, tos, and its path where the batch keeps them (address is 0 for an IPv6 peer); count. A
  // datagram larger than a slot is in the batch as a drop (receive_truncated),
  // which the caller counts. Returns packets received, these included; 0 when there were none;
  // `*error` for a lasting failure (untouched otherwise). Errors that the network left on the
  // socket (an ICMP port unreachable, for example) are cleared and ignored.
  //
  // With trains one slot may bring more packets than the batch has room for. While pending(), the
  // rest of them lies in the batch's slots: receive() has to be called with the same batch before
  // anything else is put there, and asks the kernel for nothing.
  uint32_t receive(batch::PacketBatch& batch, OsError* error);
  bool pending() const;

  // Whose datagrams need headroom of their own also inside of a train, kTrainGap bytes: they are
  // moved apart in their slot. Default: nobody's.
  void set_spread(std::function<bool(uint32_t address)> spread) { spread_ = std::move(spread); }
  // Whether the socket had as much as it was asked for, so that there may be more.
  bool more() const { return more_; }
  bool trains() const { return trains_; }  // the kernel has UDP_GRO

  // How many datagrams the kernel has dropped on this socket since it was opened (io/udp_losses.h):
  // asks it. For one thread at a time, which need not be the one that receives.
  uint64_t drops() { return drops_.read(fd_); }

  // What the kernel granted of receive_buffer_bytes.
  uint32_t receive_buffer_bytes() const;

 private:
  struct Scratch;
  UdpReceiver();
  bool receive_messages(batch::PacketBatch& batch, OsError* error);
  void read_control(uint32_t m);
  void read_peer(uint32_t m, bool with_path, uint32_t* address, uint16_t* port);
  uint32_t spread(batch::PacketBatch& batch, uint32_t m, uint32_t datagrams);
  bool place_message(batch::PacketBatch& batch);

  int fd_ = -1;
  uint16_t port_ = 0;
  bool ipv6_ = false;
  bool trains_ = false;
  bool more_ = false;
  uint32_t datagram_bytes_max_ = 0;
  std::function<bool(uint32_t)> spread_;
  SocketDrops drops_;
  std::unique_ptr<Scratch> scratch_;
};

// The memory one thread needs to send; about 200 KiB. One per sending thread, for any number of
// senders of at most so many sockets each.
class UdpSendScratch {
 public:
  explicit UdpSendScratch(uint32_t sockets_max = base::kSourcePortsMax);
  ~UdpSendScratch();

 private:
  friend class UdpSender;
  struct Memory;
  std::unique_ptr<Memory> memory_;
};

// A datagram whose checksum has to be finished before a device sees it takes two calls, between
// which nobody else may send from the socket.
struct UdpFinish {
  std::mutex& of(int fd) { return locks[static_cast<uint32_t>(fd) % std::size(locks)]; }
  std::mutex locks[64];
};

// Sockets to send from, by number.
struct UdpSockets {
  static constexpr uint16_t kNone = 0xffff;  // the fallback's number
  const int* fds = nullptr;
  uint32_t count = 0;
  int fallback = -1;  // of a batch with paths: bound to more than one address
  bool fallback_ipv6 = false;
  bool trains = false;
  UdpFinish* finish = nullptr;  // where checksums have to be finished
};

struct UdpPeer {
  uint32_t address = 0;  // host order
  uint16_t port = 0;
};

// The sending sockets, shared by all workers (the kernel serialises a socket's sends). They take
// nothing in: a filter refuses what is sent to their ports.
class UdpSender {
 public:
  // Binds source_port_count sockets to source_port_base + i; a port that is taken is left out, none
  // at all is the error. With source_port_count 0 the receiver's socket is the only one.
  static OsError open(const UdpConfig& config, const UdpReceiver* receiver,
                      std::unique_ptr<UdpSender>* out);
  ~UdpSender();
  UdpSender(const UdpSender&) = delete;
  UdpSender& operator=(const UdpSender&) = delete;

  uint16_t sockets() const { return static_cast<uint16_t>(fds_.size()); }  // that could be bound
  uint16_t source_port(uint16_t index) const { return ports_[index]; }

  // Sends packets[0..n) of the batch to address:port, from socket source_port[i] % sockets(), in as
  // few system calls as the sources allow, keeping each flow's order. A refused packet becomes a
  // drop with its reason (send_failed, or send_would_block after one short wait per call), which
  // the caller counts (packets[i] of a super-packet are then those that did not go, lost_bytes[i]
  // their bytes); the others still go. Returns how many went out. Thread-safe, each thread with a
  // scratch of its own.
  //
  // With trains packets of one socket and peer that follow each other and have one length (the last
  // may be shorter) go in one send. The segments of a super-packet do, cut from it on the way.
  // Without, each is a datagram of its own. Where the kernel refuses a train (it does not fragment
  // one: the path's MTU), its packets go one by one.
  uint32_t send(batch::PacketBatch& batch, const uint16_t* packets, uint32_t n,
                UdpSendScratch& scratch) const;

  // The same from other sockets, which are `count` or fewer of the scratch's. A batch with paths
  // answers by them.
  static uint32_t send_from(const UdpSockets& sockets, batch::PacketBatch& batch,
                            const uint16_t* packets, uint32_t n, UdpSendScratch& scratch);

  // Whose hosts answered with ICMP port unreachable since this was asked last, each once, up to
  // `max`; what did not fit is told the next time, unless the kernel had no room to keep it. One
  // system call where there is nothing. For one thread at a time, besides those that send.
  uint32_t drain_unreachable(UdpPeer* out, uint32_t max) const;

  // How many datagrams were sent to the set's ports, which take nothing in: asks the kernel. As
  // above for one thread at a time.
  uint64_t refused();

  bool trains() const { return trains_; }  // the kernel has UDP_SEGMENT

 private:
  class Sending;
  UdpSender() = default;
  OsError bind_set(const UdpConfig& config);

  bool trains_ = false;
  std::unique_ptr<UdpFinish> finish_;  // where checksums have to be finished
  std::vector<int> fds_;
  std::vector<SocketDrops> drops_;  // of fds_
  std::vector<uint16_t> ports_;     // of fds_
  int errors_ = -1;                 // epoll over the errors of the set
};

}  // namespace gwlb::io
