// GENEVE's sockets as ports, for either side of the tunnel: the receiving socket of one worker,
// with what it sends from.
#pragma once

#include <atomic>
#include <memory>

#include "io/port.h"
#include "io/udp.h"
#include "io/udp_returner.h"

namespace gwlb::io {

// The gateway's: sends from the set of sockets that all workers share, source_port[i] an index.
class UdpPort final : public Port {
 public:
  // `sender` outlives it.
  UdpPort(std::unique_ptr<UdpReceiver> receiver, const UdpSender& sender)
      : receiver_(std::move(receiver)), sender_(sender) {}

  // As UdpReceiver::set_spread; before the first receive().
  void set_spread(std::function<bool(uint32_t address)> spread) {
    receiver_->set_spread(std::move(spread));
  }

  int fd() const override { return receiver_->fd(); }
  uint32_t receive(batch::PacketBatch& batch, uint16_t endpoint, Rest* rest,
                   OsError* error) override;
  void send(batch::PacketBatch& batch, const uint16_t* packets, uint32_t n) override {
    sender_.send(batch, packets, n, scratch_);
  }
  PortOffloads offloads() const override { return {false, sender_.trains(), receiver_->trains()}; }
  PortCounters counters() override { return {receiver_->drops()}; }

 private:
  const std::unique_ptr<UdpReceiver> receiver_;
  const UdpSender& sender_;
  UdpSendScratch scratch_;
};

// The appliance's: sends from the very port a datagram came from, source_port[i].
class UdpReturnPort final : public Port {
 public:
  // Errors: those of UdpReceiver::open and UdpReturner::open.
  static OsError open(const UdpConfig& config, uint32_t sockets_max,
                      std::unique_ptr<UdpReturnPort>* out);

  uint16_t port() const { return receiver_->port(); }

  int fd() const override { return receiver_->fd(); }
  uint32_t receive(batch::PacketBatch& batch, uint16_t endpoint, Rest* rest,
                   OsError* error) override;
  void send(batch::PacketBatch& batch, const uint16_t* packets, uint32_t n) override;
  PortOffloads offloads() const override {
    return {false, returner_->trains(), receiver_->trains()};
  }
  PortCounters counters() override {
    return {receiver_->drops(), other_port_.load(std::memory_order_relaxed)};
  }

 private:
  UdpReturnPort(std::unique_ptr<UdpReceiver> receiver, std::unique_ptr<UdpReturner> returner,
                uint32_t sockets_max)
      : receiver_(std::move(receiver)), returner_(std::move(returner)), scratch_(sockets_max) {}

  const std::unique_ptr<UdpReceiver> receiver_;
  const std::unique_ptr<UdpReturner> returner_;
  UdpSendScratch scratch_;
  std::atomic<uint64_t> other_port_{0};
};

}  // namespace gwlb::io
