#include "io/udp_send_scratch.h"

#include <cstring>

namespace gwlb::io {
namespace {

template <class Info>
size_t write_source(int level, int type, const Info& info, SourceControl* out) {
  cmsghdr header{};
  header.cmsg_level = level;
  header.cmsg_type = type;
  header.cmsg_len = CMSG_LEN(sizeof info);
  std::memcpy(out->bytes, &header, sizeof header);
  std::memcpy(out->bytes + CMSG_LEN(0), &info, sizeof info);
  return CMSG_SPACE(sizeof info);
}

}  // namespace

size_t write_source(const batch::OuterPath& path, bool ipv6, SourceControl* out) {
  if (ipv6) {
    in6_pktinfo info{};
    std::memcpy(&info.ipi6_addr, path.local, sizeof path.local);
    info.ipi6_ifindex = path.interface;
    return write_source(IPPROTO_IPV6, IPV6_PKTINFO, info, out);
  }
  in_pktinfo info{};
  std::memcpy(&info.ipi_spec_dst, path.local + sizeof kMappedPrefix, sizeof info.ipi_spec_dst);
  return write_source(IPPROTO_IP, IP_PKTINFO, info, out);
}

UdpSendScratch::UdpSendScratch(uint32_t sockets_max) : memory_(new Memory(sockets_max)) {
  for (uint32_t k = 0; k < kMessages; ++k) {
    msghdr& header = memory_->headers[k].msg_hdr;
    memory_->destinations[k].ipv4.sin_family = AF_INET;
    header.msg_name = &memory_->destinations[k];
    header.msg_namelen = sizeof memory_->destinations[k].ipv4;
    cmsghdr control{};
    control.cmsg_level = IPPROTO_UDP;
    control.cmsg_type = kUdpSegment;
    control.cmsg_len = CMSG_LEN(sizeof(uint16_t));
    std::memcpy(memory_->controls[k].bytes, &control, sizeof control);
  }
}

UdpSendScratch::~UdpSendScratch() = default;

}  // namespace gwlb::io
