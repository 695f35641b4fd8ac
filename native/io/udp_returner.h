// Sends datagrams back from the port they came from (and, where the receiving socket has more than
// one, the address they were sent to), whatever it is.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "io/udp.h"

namespace gwlb::io {

// One bound socket for each port, made when the port is first needed, the one that was used longest
// ago closed where there are too many.
//
// Why not one raw socket that writes its own headers (one thread, loopback, 108 bytes, CPU ns a
// packet, delivery included): bound socket 2,800-3,000; raw 2,500, without the checksum that it has
// to compute; a socket made, bound and closed for its packet 17,500. So sockets cost more only
// where more ports than `sockets_max` talk at the same time, and then a third of what that many
// packets cost anyway to receive and inspect; they need no privilege, fragment, and send trains,
// which are worth far more (io/udp.h).
//
// A port that cannot be bound (another program has it, or it needs a privilege) is tried again
// after kRetryMs; meanwhile its packets go out by the receiving socket, which is counted.
class UdpReturner {
 public:
  static constexpr uint32_t kRetryMs = 1000;

  // Opens nothing yet but a second descriptor of the receiving socket. To be used on one thread,
  // which is in the network namespace of the configuration. `sockets_max` (1..kReturnPortsMax) is
  // cut to a quarter of the descriptors that the process may have.
  static OsError open(const UdpConfig& config, const UdpReceiver& receiver, uint32_t sockets_max,
                      std::unique_ptr<UdpReturner>* out);
  ~UdpReturner();
  UdpReturner(const UdpReturner&) = delete;
  UdpReturner& operator=(const UdpReturner&) = delete;

  // As UdpSender::send, from port source_port[i] itself, which becomes an index. The scratch is for
  // sockets_max() sockets. In `*other_port`: packets that went by the receiving socket although
  // theirs is another port.
  uint32_t send(batch::PacketBatch& batch, const uint16_t* packets, uint32_t n,
                UdpSendScratch& scratch, uint32_t* other_port);

  uint32_t sockets_max() const { return sockets_max_; }
  uint32_t sockets() const { return open_; }
  bool trains() const { return trains_; }

 private:
  static constexpr uint16_t kNone = UdpSockets::kNone;

  struct From {
    uint8_t address[16] = {};  // mapped where it is IPv4; zero: the configuration's
    uint32_t interface = 0;
    uint16_t port = 0;
    bool operator==(const From&) const = default;
  };
  struct Socket {
    From from;
    uint16_t next = kNone;  // of the same port, another address
    uint32_t used = 0;      // the last call of send() that needed it
    uint64_t failed_ms = 0;
  };

  UdpReturner() = default;
  uint16_t find(const From& from);
  uint16_t place_for(const From& from);
  void bind(uint16_t number);
  void release(uint16_t number);

  UdpConfig config_;
  uint16_t own_port_ = 0;
  int own_ = -1;
  uint32_t sockets_max_ = 0;
  uint32_t open_ = 0;
  uint32_t calls_ = 0;
  bool trains_ = false;
  std::unique_ptr<UdpFinish> finish_;  // where checksums have to be finished
  std::vector<uint16_t> by_port_;      // the first socket of each port
  std::vector<Socket> sockets_;
  std::vector<int> fds_;  // of them; -1: could not be bound
};

}  // namespace gwlb::io
