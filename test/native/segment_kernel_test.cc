// The kernel as a judge of segmentation: super-packets enter by a TUN device with offloads and are
// forwarded to one without, so that the kernel has to cut them. A network namespace of its own,
// with a path between two devices.
#include <linux/if_tun.h>
#include <poll.h>

#include <cstdlib>

#include "io/vnet_header.h"
#include "test/native/coalesce_rig.h"
#include "test/native/io_rig.h"
#include "wire/segment.h"

namespace gwlb::test {
namespace {

using io::VnetHeader;
using wire::SuperPacket;

constexpr char kCannot[] = "no network namespace, TUN device or ip(8) here";

int open_device(const char* name, short flags) {
  const int fd = open("/dev/net/tun", O_RDWR | O_CLOEXEC | O_NONBLOCK);
  ifreq request{};
  std::strncpy(request.ifr_name, name, IFNAMSIZ - 1);
  request.ifr_flags = static_cast<short>(IFF_TUN | IFF_NO_PI | flags);
  if (fd >= 0 && ioctl(fd, TUNSETIFF, &request) == 0) return fd;
  if (fd >= 0) close(fd);
  return -1;
}

// What routes from `enter` to `leave` and back; IPv6 without duplicate address detection.
constexpr char kPath[] = R"(
set -e
echo 1 > /proc/sys/net/ipv4/ip_forward
echo 0 > /proc/sys/net/ipv4/conf/all/rp_filter
echo 1 > /proc/sys/net/ipv6/conf/all/forwarding
ip link set enter mtu 9000 up
ip link set leave mtu 9000 up
ip route add 10.0.0.1/32 dev enter
ip route add 10.0.0.2/32 dev leave
ip -6 route add fd00::a00:1/128 dev enter
ip -6 route add fd00::a00:2/128 dev leave
)";

class Kernel {
 public:
  Kernel() {
    if (!netns_.made() || access("/dev/net/tun", R_OK | W_OK) != 0) return;
    netns_.run([&] {
      enter_ = open_device("enter", IFF_VNET_HDR);
      leave_ = open_device("leave", 0);
      ready_ = enter_ >= 0 && leave_ >= 0 && std::system(kPath) == 0;
    });
  }
  ~Kernel() {
    if (enter_ >= 0) close(enter_);
    if (leave_ >= 0) close(leave_);
  }
  Kernel(const Kernel&) = delete;
  bool ready() const { return ready_; }

  // Gives it a super-packet whose checksum field holds the pseudo header's sum. Returns the first
  // `count` packets that leave; one too many would be the next call's first.
  std::vector<Bytes> cut(const Bytes& packet, const VnetHeader& header, size_t count) {
    Bytes frame(sizeof header);
    std::memcpy(frame.data(), &header, sizeof header);
    append(frame, packet);
    std::vector<Bytes> out;
    if (write(enter_, frame.data(), frame.size()) != static_cast<ssize_t>(frame.size())) return out;
    Bytes buffer(65536);
    pollfd wait{leave_, POLLIN, 0};
    while (out.size() < count && poll(&wait, 1, 5000) == 1) {
      const ssize_t n = read(leave_, buffer.data(), buffer.size());
      if (n <= 0) break;
      const Bytes got(buffer.begin(), buffer.begin() + n);
      // Its own packets (multicast reports and such) are not what was asked for.
      const uint8_t protocol = got[0] >> 4 == 4 ? got[9] : got[6];
      if (protocol == 6 || protocol == 17 || protocol == 60) out.push_back(got);
    }
    return out;
  }

 private:
  PrivateNetns netns_;
  int enter_ = -1;
  int leave_ = -1;
  bool ready_ = false;
};

VnetHeader header_of(const Bulk& of, uint16_t segment) {
  VnetHeader header;
  header.flags = VnetHeader::kNeedsChecksum;
  header.gso_type = of.version == 4 ? VnetHeader::kTcp4 : VnetHeader::kTcp6;
  if (of.protocol == 17) header.gso_type = VnetHeader::kUdp;
  header.header_bytes = static_cast<uint16_t>(bulk_headers(of));
  header.gso_size = segment;
  header.checksum_start = static_cast<uint16_t>(bulk_transport(of));
  header.checksum_offset = of.protocol == 6 ? 16 : 6;
  return header;
}

// With the pseudo header's sum in the checksum field, and one hop more to live than `of` has.
Bytes for_the_kernel(Bulk of) {
  ++of.ttl;
  Bytes packet = bulk_packet(of);
  const size_t at = bulk_transport(of);
  const Bytes pseudo = pseudo_header(packet, of.protocol, packet.size() - at);
  const uint16_t sum = ones_complement(pseudo.data(), pseudo.size());
  put16(packet, at + (of.protocol == 6 ? 16 : 6), static_cast<uint16_t>(~sum));
  return packet;
}

std::vector<Bytes> ours(const Bytes& packet, uint32_t segment) {
  std::vector<Bytes> out;
  SuperPacket super;
  CHECK(wire::parse_super_packet(packet.data(), static_cast<uint32_t>(packet.size()), segment,
                                 &super));
  for (uint32_t k = 0; k < super.count; ++k) {
    out.emplace_back(super.headers + wire::segment_payload(super, k));
    wire::write_segment(super, k, out.back().data());
  }
  return out;
}

std::vector<Bulk> super_packets() {
  std::vector<Bulk> out;
  for (Bulk of : kinds()) {
    of.tos = 0xb8;
    of.flow_label = of.version == 6 ? 0xabcde : 0;
    of.payload = 5000;
    out.push_back(of);
    of.id = 0xfffe;
    of.sequence = 0xfffffc00;
    of.fragment = 0;
    of.payload = 4203;
    out.push_back(of);
    if (of.protocol != 6) continue;
    of.tcp_options = timestamps();
    for (const uint8_t flags : {0x18, 0x11, 0x19, 0x50, 0x38}) {
      of.flags = flags;
      out.push_back(of);
    }
    append(of.tcp_options, selective_acknowledgment());
    of.urgent = 9;
    of.reserved = 1;
    out.push_back(of);
  }
  Bulk extended;
  extended.version = 6;
  extended.extension = {6, 0, 1, 4, 0, 0, 0, 0};
  extended.payload = 3000;
  out.push_back(extended);
  return out;
}

TEST(super_packets_are_cut_as_the_kernel_cuts_them) {
  Kernel kernel;
  if (!kernel.ready()) SKIP(kCannot);
  for (const Bulk& of : super_packets()) {
    for (const uint16_t segment : {uint16_t{1400}, uint16_t{533}, uint16_t{100}}) {
      const std::vector<Bytes> expected = ours(bulk_packet(of), segment);
      const std::vector<Bytes> got =
          kernel.cut(for_the_kernel(of), header_of(of, segment), expected.size());
      CHECK_EQ(got.size(), expected.size());
      for (size_t k = 0; k < got.size() && k < expected.size(); ++k) {
        CHECK(got[k] == expected[k]);
      }
    }
  }
}

// Whether or not it is told that the flag is there (GSO_ECN).
TEST(congestion_window_reduced_goes_with_the_first) {
  Kernel kernel;
  if (!kernel.ready()) SKIP(kCannot);
  for (const int version : {4, 6}) {
    Bulk of;
    of.version = version;
    of.flags = 0xd8;
    of.payload = 5000;
    const std::vector<Bytes> expected = ours(bulk_packet(of), 1000);
    VnetHeader header = header_of(of, 1000);
    CHECK(kernel.cut(for_the_kernel(of), header, 5) == expected);
    header.gso_type |= VnetHeader::kEcn;
    CHECK(kernel.cut(for_the_kernel(of), header, 5) == expected);
  }
}

// What is put together here, the kernel takes apart again.
TEST(runs_are_cut_into_what_they_were) {
  Kernel kernel;
  if (!kernel.ready()) SKIP(kCannot);
  for (Bulk of : kinds()) {
    of.payload = 1200;
    if (of.protocol == 6) of.tcp_options = timestamps();
    std::vector<Bytes> packets;
    std::vector<Bytes> sent;
    for (int k = 0; k < 20; ++k) {
      if (k == 19) of.payload = 77;
      if (k == 19) of.flags = 0x18;
      packets.push_back(bulk_packet(of));
      Bulk longer = of;
      ++longer.ttl;
      sent.push_back(bulk_packet(longer));
      of = after(of, 1200);
    }
    Coalesced got(sent);
    REQUIRE(got.runs() == 1);
    const wire::CoalescedRun run = got.run(0);
    VnetHeader header = header_of(of, run.segment);
    CHECK_EQ(header.header_bytes, run.headers);
    CHECK_EQ(header.checksum_start, run.transport);
    CHECK(kernel.cut(got.written(0), header, packets.size()) == packets);
  }
}

}  // namespace
}  // namespace gwlb::test
