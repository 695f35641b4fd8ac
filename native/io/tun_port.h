// A queue of a TUN device as a port. The device lives as long as one of its ports.
#pragma once

#include <memory>

#include "io/port.h"
#include "io/tun.h"

namespace gwlb::io {

class TunPort final : public Port {
 public:
  TunPort(std::shared_ptr<Tun> tun, uint32_t queue)
      : tun_(std::move(tun)), queue_(tun_->queue(queue)), first_(queue == 0) {}

  int fd() const override { return queue_.readable() ? queue_.fd() : -1; }
  uint32_t receive(batch::PacketBatch& batch, uint16_t endpoint, Rest* rest,
                   OsError* error) override;
  void send(batch::PacketBatch& batch, const uint16_t* packets, uint32_t n) override {
    queue_.send(batch, packets, n);
  }
  PortOffloads offloads() const override;
  // The kernel counts for the whole device: the first queue's port tells it.
  PortCounters counters() override { return {first_ ? tun_->drops() : 0}; }
  LinkState state() const override { return tun_->state(); }
  void lose() override { tun_->lose(); }

 private:
  const std::shared_ptr<Tun> tun_;
  TunQueue& queue_;
  const bool first_;
};

}  // namespace gwlb::io
