// Keeps the headers of what enters by a port, as it came: of a device everything, of the tunnel
// what endpoints' peers send.
#pragma once

#include <cstdint>
#include <memory>

#include "engine/record_ring.h"
#include "gateway/gateway.h"
#include "io/port.h"

namespace gwlb::engine {

class Recorder final : public io::Port {
 public:
  // `ring`, `core` and the worker's clock outlive it.
  Recorder(std::shared_ptr<io::Port> of, RecordRing& ring, const gateway::Gateway& core,
           const uint64_t& now_ms)
      : of_(std::move(of)), ring_(ring), core_(core), now_ms_(now_ms) {}

  int fd() const override { return of_->fd(); }
  uint32_t receive(batch::PacketBatch& batch, uint16_t endpoint, io::Rest* rest,
                   io::OsError* error) override;
  void send(batch::PacketBatch& batch, const uint16_t* packets, uint32_t n) override {
    of_->send(batch, packets, n);
  }
  io::PortOffloads offloads() const override { return of_->offloads(); }
  io::PortCounters counters() override { return of_->counters(); }
  io::LinkState state() const override { return of_->state(); }
  void lose() override { of_->lose(); }

 private:
  void keep_segments(const batch::PacketBatch& batch, uint32_t i);
  void keep_inner(const batch::PacketBatch& batch, uint32_t i);

  const std::shared_ptr<io::Port> of_;
  RecordRing& ring_;
  const gateway::Gateway& core_;
  const uint64_t& now_ms_;
};

}  // namespace gwlb::engine
