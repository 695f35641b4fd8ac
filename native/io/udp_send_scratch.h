// What UdpSender::send needs of memory: messages for the kernel, what they are made of, and which
// packets they stand for.
#pragma once

#include <netinet/in.h>
#include <sys/socket.h>

#include <vector>

#include "io/udp.h"
#include "io/udp_socket.h"
#include "wire/segment.h"

namespace gwlb::io {

inline constexpr uint16_t kEnd = 0xffff;

// UDP_MAX_SEGMENTS of every kernel that has trains, and what fits an IPv4 datagram with its
// headers.
inline constexpr uint32_t kTrainSegmentsMax = 64;
inline constexpr uint32_t kTrainPayloadMax = 65'535 - 28;
inline constexpr uint32_t kMessages = base::kBatchPacketsMax;
// A message of a super-packet takes two for each segment.
inline constexpr uint32_t kVectors = 1024;
inline constexpr uint32_t kHeaderBytes = 64 << 10;
inline constexpr uint32_t kHeaderBytesMax = base::kGeneveHeaderBytesMax + wire::kSegmentHeadersMax;
static_assert(kVectors >= 2 * kTrainSegmentsMax && kVectors >= kMessages);
static_assert(kHeaderBytes >= kTrainSegmentsMax * kHeaderBytesMax);

struct alignas(cmsghdr) TrainControl {
  uint8_t bytes[CMSG_SPACE(sizeof(uint16_t))];
};
struct alignas(cmsghdr) SourceControl {
  uint8_t bytes[CMSG_SPACE(sizeof(in6_pktinfo))];
};

// Has a message sent from `local` of a path, by a socket of more than one address. Returns bytes.
size_t write_source(const batch::OuterPath& path, bool ipv6, SourceControl* out);

struct UdpSendScratch::Memory {
  explicit Memory(uint32_t sockets_max) : first(sockets_max + 1, kEnd), last(sockets_max + 1) {}

  mmsghdr headers[kMessages];
  SocketAddress destinations[kMessages];
  TrainControl controls[kMessages];
  SourceControl sources[kMessages];
  // Of message k: its first packet, and how many packets, or segments of that one super-packet.
  uint16_t packet[kMessages];
  uint16_t segments[kMessages];
  uint16_t fragment_of[kMessages];  // of a packet that is cut into fragments: which of its packets
  iovec vectors[kVectors];
  uint16_t next[base::kBatchPacketsMax];       // the next packet of the same socket
  uint16_t sockets[base::kBatchPacketsMax];    // in use, in the order of their first packets
  uint16_t lost[base::kBatchPacketsMax];       // of a super-packet's packets, how many were refused
  uint16_t lost_last[base::kBatchPacketsMax];  // and which of them last, of those in fragments
  // By socket, the fallback behind all others: its first and last packet. `first` is kEnd between
  // calls.
  std::vector<uint16_t> first;
  std::vector<uint16_t> last;
  uint8_t segment_headers[kHeaderBytes];
  uint8_t segment[base::kTrainBytesMax];        // of a super-packet, to be cut into fragments
  uint32_t train_bytes_max = kTrainPayloadMax;  // of a train's segments
  uint32_t train_pause = 0;                     // calls until that is forgotten
};

}  // namespace gwlb::io
