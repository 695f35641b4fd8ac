// What the packet loop needs of what packets come from and go to: one queue of a device, read and
// written a batch at a time. TUN queues and UDP sockets are ports (tun_port.h, udp_port.h); what
// wraps one is a port too.
//
// A port belongs to the thread of one worker, but for counters() and state(), which any one other
// thread may ask meanwhile. Nothing here blocks: whoever has nothing to do waits for fd().
#pragma once

#include <atomic>
#include <cstdint>

#include "base/drop_reason.h"
#include "batch/packet_batch.h"
#include "io/os_error.h"

namespace gwlb::io {

enum class LinkState : uint8_t {
  up,
  down,  // set down by somebody: packets neither enter nor leave
  gone,  // deleted, or moved to another network namespace; or a lasting error was met
};

// What receive() has left behind.
enum class Rest : uint8_t {
  none,      // nothing: fd() tells when there is
  some,      // perhaps: asking again finds it, while fd() need not tell
  in_batch,  // packets that lie in the slots of this batch: receive() with the same one comes
             // before anything else is put there
};

// What one packet of a batch may stand for. A batch that receives from a port with any of them has
// slots of kSlotStrideTrain.
struct PortOffloads {
  bool tso = false;  // segments of a TCP connection, either way
  bool uso = false;  // datagrams of one length, to send
  bool gro = false;  // the same, as received
};

struct PortCounters {
  uint64_t lost = 0;        // came for this port and dropped before receive(), whatever for
  uint64_t other_port = 0;  // left, but from another UDP port than source_port[i]
};

class Port {
 public:
  Port() = default;
  virtual ~Port() = default;
  Port(const Port&) = delete;
  Port& operator=(const Port&) = delete;

  // Readable (as epoll has it) when receive() may find something; -1: nothing ever comes by it.
  virtual int fd() const = 0;

  // Fills the batch from slot 0, each packet with endpoint[i] = `endpoint`, and returns how many
  // (batch.count); none is none until fd() tells. `*error` is set for a lasting failure alone, and
  // not touched otherwise. What cannot go on, such as a packet above its slot, is in the batch as a
  // drop, which the caller counts.
  virtual uint32_t receive(batch::PacketBatch& batch, uint16_t endpoint, Rest* rest,
                           OsError* error) = 0;

  // Sends packets[0..n) of the batch, in this order as far as they are of one flow. Those that were
  // refused are drops afterwards (refusal()), which the caller counts: packets[i] of a
  // super-packet are then those that did not go, lost_bytes[i] their bytes. The batch may be used
  // again at once.
  virtual void send(batch::PacketBatch& batch, const uint16_t* packets, uint32_t n) = 0;

  virtual PortOffloads offloads() const = 0;  // as granted
  virtual PortCounters counters() = 0;        // since it was opened

  virtual LinkState state() const { return is_lost() ? LinkState::gone : LinkState::up; }
  // A lasting error was met: from now on it is gone.
  virtual void lose() { lost_.store(true, std::memory_order_release); }

 protected:
  bool is_lost() const { return lost_.load(std::memory_order_acquire); }

 private:
  std::atomic<bool> lost_{false};
};

// Why a packet that the kernel refused with this error has not gone: send_would_block where there
// was no room, else send_failed.
base::DropReason refusal(int number);

}  // namespace gwlb::io
