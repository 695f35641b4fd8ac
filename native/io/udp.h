// Contract: GENEVE over UDP sockets (Linux). One receiving socket on the GENEVE port, and a set of
// sockets on other ports to send from, so that flows have different outer source ports.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "batch/packet_batch.h"
#include "io/os_error.h"

namespace gwlb::io {

struct UdpConfig {
  uint32_t address = 0;     // host order; local address
  uint16_t port = 6081;     // receives here
  std::string netns;
  uint16_t source_port_base = 32768;
  uint16_t source_port_count = 256;  // 0: send from the receiving socket
  uint32_t receive_buffer_bytes = 8u << 20;  // SO_RCVBUFFORCE, else SO_RCVBUF as far as allowed
  uint32_t send_buffer_bytes = 8u << 20;
  uint8_t ttl = 255;
  bool dont_fragment = false;
  bool reuse_port = false;  // one receiving socket per worker
};

// The receiving socket of one worker. Not thread-safe.
class UdpReceiver {
 public:
  static OsError open(const UdpConfig& config, std::unique_ptr<UdpReceiver>* out);
  ~UdpReceiver();
  int fd() const;
  uint16_t port() const;  // the bound port, also where the configuration says 0
  // Fills the batch from slot 0 (at most its capacity, non-blocking): offset, length, address, port,
  // tos; count. Datagrams larger than a slot are dropped (receive_truncated). Returns packets
  // received; 0 when there were none; `*error` for a lasting failure.
  uint32_t receive(batch::PacketBatch& batch, OsError* error);
  // How many datagrams the kernel has dropped on this socket since it was opened (SO_RXQ_OVFL).
  uint64_t overflows() const;
};

// The sending sockets, shared by all workers (the kernel serialises a socket's sends).
class UdpSender {
 public:
  static OsError open(const UdpConfig& config, const UdpReceiver* receiver,
                      std::unique_ptr<UdpSender>* out);
  ~UdpSender();
  uint16_t sockets() const;          // how many could be bound
  uint16_t source_port(uint16_t index) const;
  // An appliance returns from the port a packet came from; ports outside the set (or taken) go out
  // by the receiving socket.
  uint16_t index_of_port(uint16_t port) const;

  // Sends every packet of the batch whose verdict is forward and whose bit in `selected` is set
  // (null: all) to address:port, from socket source_port[i] % sockets(), in as few system calls as
  // the sources allow, keeping each flow's order. A refused packet becomes a drop with its reason
  // (send_failed, send_would_block after one short wait). Returns how many went out. Thread-safe;
  // scratch memory belongs to the calling thread's UdpSendScratch.
  uint32_t send(batch::PacketBatch& batch, const bool* selected);
};

}  // namespace gwlb::io
