// What an ApplianceEngine without sockets has in their place: the same worker, stepped by hand, in
// a time of its own. What it sends is looked at where it was decided, for its outcome.
#pragma once

#include <cstdint>
#include <cstring>
#include <deque>
#include <vector>

#include "base/drop_reason.h"
#include "io/port.h"

namespace gwlb::engine {

class Offline final : public io::Port {
 public:
  struct Datagram {
    uint16_t id;
    std::vector<uint8_t> bytes;
  };
  // What became of a datagram.
  struct Outcome {
    uint16_t id;
    base::DropReason reason;  // none: it was returned
    bool shown;               // to the inspector
    bool rewritten;
    bool rejected;
    std::vector<uint8_t> bytes;  // returned
  };

  explicit Offline(uint32_t datagram_bytes_max) : datagram_bytes_max_(datagram_bytes_max) {}

  int fd() const override { return -1; }
  uint32_t receive(batch::PacketBatch& batch, uint16_t endpoint, io::Rest* rest,
                   io::OsError* error) override;
  void send(batch::PacketBatch&, const uint16_t*, uint32_t) override {}
  io::PortOffloads offloads() const override { return {}; }
  io::PortCounters counters() override { return {}; }

  std::deque<Datagram> in;
  std::vector<Outcome> out;
  uint32_t now_ms = 1;

 private:
  const uint32_t datagram_bytes_max_;
};

inline uint32_t Offline::receive(batch::PacketBatch& batch, uint16_t endpoint, io::Rest* rest,
                                 io::OsError*) {
  batch.count = 0;
  for (; batch.count < batch.capacity() && !in.empty(); in.pop_front()) {
    const Datagram& datagram = in.front();
    const uint32_t i = batch.count++;
    const auto bytes = static_cast<uint32_t>(datagram.bytes.size());
    const bool fits = bytes <= datagram_bytes_max_;
    batch.reset(i, fits ? bytes : 0);
    batch.endpoint[i] = endpoint;
    batch.port[i] = datagram.id;
    if (!fits) batch.drop(i, base::DropReason::receive_truncated);
    if (fits && bytes > 0) std::memcpy(batch.packet(i), datagram.bytes.data(), bytes);
  }
  *rest = in.empty() ? io::Rest::none : io::Rest::some;
  return batch.count;
}

}  // namespace gwlb::engine
