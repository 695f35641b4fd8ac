// The header that a TUN device with IFF_VNET_HDR puts in front of every packet, in the machine's
// byte order (virtio specification 1.2, section 5.1.6; <linux/virtio_net.h>, whose older versions
// lack what we need).
#pragma once

#include <cstdint>

namespace gwlb::io {

struct VnetHeader {
  static constexpr uint8_t kNeedsChecksum = 1;  // `flags`
  // `gso_type`
  static constexpr uint8_t kNone = 0;
  static constexpr uint8_t kTcp4 = 1;
  static constexpr uint8_t kTcp6 = 4;
  static constexpr uint8_t kUdp = 5;     // VIRTIO_NET_HDR_GSO_UDP_L4
  static constexpr uint8_t kEcn = 0x80;  // TCP with CWR set

  uint8_t flags = 0;
  uint8_t gso_type = kNone;
  uint16_t header_bytes = 0;  // a hint
  uint16_t gso_size = 0;      // payload bytes of a segment
  uint16_t checksum_start = 0;
  uint16_t checksum_offset = 0;
};
static_assert(sizeof(VnetHeader) == 10);

}  // namespace gwlb::io
