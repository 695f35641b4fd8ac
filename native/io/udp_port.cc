#include "io/udp_port.h"

namespace gwlb::io {
namespace {

uint32_t receive_from(UdpReceiver& receiver, batch::PacketBatch& batch, uint16_t endpoint,
                      Rest* rest, OsError* error) {
  const uint32_t got = receiver.receive(batch, error);
  *rest = receiver.pending() ? Rest::in_batch : receiver.more() ? Rest::some : Rest::none;
  if (endpoint == base::kNoEndpoint) return got;
  for (uint32_t i = 0; i < got; ++i) batch.endpoint[i] = endpoint;
  return got;
}

}  // namespace

uint32_t UdpPort::receive(batch::PacketBatch& batch, uint16_t endpoint, Rest* rest,
                          OsError* error) {
  return receive_from(*receiver_, batch, endpoint, rest, error);
}

OsError UdpReturnPort::open(const UdpConfig& config, uint32_t sockets_max,
                            std::unique_ptr<UdpReturnPort>* out) {
  std::unique_ptr<UdpReceiver> receiver;
  std::unique_ptr<UdpReturner> returner;
  OsError error = UdpReceiver::open(config, &receiver);
  if (error.ok()) error = UdpReturner::open(config, *receiver, sockets_max, &returner);
  if (error.ok()) {
    out->reset(new UdpReturnPort(std::move(receiver), std::move(returner), sockets_max));
  }
  return error;
}

uint32_t UdpReturnPort::receive(batch::PacketBatch& batch, uint16_t endpoint, Rest* rest,
                                OsError* error) {
  return receive_from(*receiver_, batch, endpoint, rest, error);
}

void UdpReturnPort::send(batch::PacketBatch& batch, const uint16_t* packets, uint32_t n) {
  uint32_t other = 0;
  returner_->send(batch, packets, n, scratch_, &other);
  if (other == 0) return;
  other_port_.store(other_port_.load(std::memory_order_relaxed) + other, std::memory_order_relaxed);
}

}  // namespace gwlb::io
