#include "io/tun_port.h"

namespace gwlb::io {

uint32_t TunPort::receive(batch::PacketBatch& batch, uint16_t endpoint, Rest* rest,
                          OsError* error) {
  bool more = false;
  batch.count = 0;
  const uint32_t got = queue_.receive(batch, endpoint, &more, error);
  *rest = more ? Rest::some : Rest::none;
  return got;
}

PortOffloads TunPort::offloads() const {
  const TunOffloads granted = tun_->offloads();
  return {granted.tcp, granted.udp, granted.udp};
}

}  // namespace gwlb::io
