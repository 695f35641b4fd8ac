// Contract: TUN devices (Linux): whole IP packets, one per read and write.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "batch/packet_batch.h"
#include "io/os_error.h"

namespace gwlb::io {

struct TunConfig {
  std::string name;    // "gwlbe0"; at most 15 bytes; made if it does not exist
  std::string netns;
  uint32_t mtu = 8500;
  uint32_t queues = 1;  // above 1: IFF_MULTI_QUEUE
  bool up = true;       // set the link up
};

class TunQueue {
 public:
  ~TunQueue();
  int fd() const;
  // Appends packets to the batch from slot batch.count on until the device has none or the batch is
  // full; each with endpoint[i] = `endpoint`. Returns how many.
  uint32_t receive(batch::PacketBatch& batch, uint16_t endpoint, OsError* error);
  // Writes packet i. False: the batch's verdict is now a drop (send_failed, send_would_block).
  bool send(batch::PacketBatch& batch, uint32_t i);
};

class Tun {
 public:
  static OsError open(const TunConfig& config, std::unique_ptr<Tun>* out);
  ~Tun();  // the device goes away with its last queue
  const std::string& name() const;  // as the kernel named it
  TunQueue& queue(uint32_t i);
};

}  // namespace gwlb::io
