// Every maximum of the data plane, with its reason. Tables are sized from these once, at
// construction; nothing grows later.
#pragma once

#include <cstddef>
#include <cstdint>

namespace gwlb::base {

// Packets of one batch. 256 hides the JavaScript crossing below 1 ns a packet; the engine uses 64,
// where the working set of headers still fits L1.
inline constexpr uint32_t kBatchPacketsMax = 256;
inline constexpr uint32_t kEngineBatchPackets = 64;

// What encapsulation may put in front of an inner packet: IPv4 20 + UDP 8 + GENEVE 8 + options 32 +
// inner Ethernet 14 = 82, rounded up to whole cache lines.
inline constexpr uint32_t kHeadroom = 128;
inline constexpr uint32_t kOverheadIpv4 = 68;

// Slot strides are odd multiples of 64, so that the headers of consecutive slots do not share L1
// sets (a 2,048-byte stride maps them onto two and costs 1.4-1.8 times as much).
inline constexpr uint32_t kSlotStrideStandard = 35 * 64;  // 2,240: 2,112 bytes after the headroom
inline constexpr uint32_t kSlotStrideJumbo = 143 * 64;    // 9,152: 9,024 bytes after the headroom
static_assert(kSlotStrideStandard % 128 == 64 && kSlotStrideJumbo % 128 == 64);

// A slot for whatever one receive may bring with offloads on: 65,535 bytes of IP packet, or of up
// to 64 datagrams received as one (UDP_GRO_CNT_MAX), which may be moved apart.
inline constexpr uint32_t kTrainBytesMax = 65'535;
inline constexpr uint32_t kTrainDatagramsMax = 64;
// Room in front of a datagram for what encapsulation adds to a plain GENEVE header: 32 bytes of
// options, and an inner Ethernet header.
inline constexpr uint32_t kTrainGap = 64;
inline constexpr uint32_t kSlotStrideTrain = 1091 * 64;  // 69,824: 69,696 bytes after the headroom
static_assert(kSlotStrideTrain % 128 == 64 &&
              kSlotStrideTrain - kHeadroom >= kTrainBytesMax + kTrainDatagramsMax * kTrainGap);

// The largest inner packet: AWS's 8,500 and what still fits a jumbo slot with all headers, also
// those of a peer with the most options we accept.
inline constexpr uint32_t kInnerBytesDefault = 8500;
inline constexpr uint32_t kInnerBytesMax = 8500;
inline constexpr uint32_t kInnerBytesMin = 576;
static_assert(kHeadroom + kInnerBytesMax + 8 + 252 + 18 <= kSlotStrideJumbo);

// The slot of a target takes 12 bits of the flow cookie; a GENEVE target group of AWS holds 1,000.
inline constexpr uint32_t kTargetsMax = 4096;
inline constexpr uint16_t kNoTarget = 0xffff;

// A target slot has another generation each time its flows are told to choose again; a flow's
// record has 13 bits for it. A flow that sees no packet while all of them pass by takes its pin for
// a good one: within the longest idle timeout (6,000 s) that is a failover every 0.7 s, which is
// less than a health check takes.
inline constexpr uint32_t kGenerations = 1u << 13;

// Endpoint indices are 16-bit scopes of flow keys.
inline constexpr uint32_t kEndpointsMax = 4096;
inline constexpr uint16_t kNoEndpoint = 0xffff;

inline constexpr uint32_t kZonesMax = 64;

// Rows of a target table. With 65,536 rows and 100 targets the fullest target has 1.11 of its
// share; above that the larger table keeps it there.
inline constexpr uint32_t kRowBits = 16;
inline constexpr uint32_t kRowBitsLarge = 18;
inline constexpr uint32_t kTargetsForLargeTable = 100;

// Weights as users give them, and the tenths that scores are computed from: slow start begins with
// one.
inline constexpr uint32_t kUserWeightMax = 1000;
inline constexpr uint32_t kWeightUnit = 10;
inline constexpr uint32_t kWeightMax = kUserWeightMax * kWeightUnit;

// RFC 8200 sets no bound on extension headers; a packet with more is dropped and counted.
inline constexpr uint32_t kIpv6ExtensionHeadersMax = 8;

// RFC 8926: six bits of four-byte words.
inline constexpr uint32_t kGeneveOptionBytesMax = 252;

// In front of an inner packet: GENEVE with as many options, and Ethernet with two tags.
inline constexpr uint32_t kGeneveHeaderBytesMax = 8 + kGeneveOptionBytesMax + 14 + 8;

inline constexpr uint32_t kWorkersMax = 64;

// Bound sockets that give flows different outer source ports.
inline constexpr uint32_t kSourcePortsMax = 1024;

// Ports that an appliance has a socket for at a time: about 3 KB of the kernel's memory each.
inline constexpr uint32_t kReturnPortsMax = 32'768;

// Flow-table capacity, per address family.
inline constexpr uint32_t kFlowsMin = 1024;
inline constexpr uint32_t kFlowsMax = 1u << 27;

// How long the entry of a TCP connection outlives its last packet, milliseconds, where that is not
// the configured idle timeout (or the idle timeout, where that is shorter). The first two are those
// of Linux (nf_conntrack_tcp_timeout_syn_sent and _syn_recv).
inline constexpr uint32_t kSynSeenMs = 120'000;    // until the SYN is answered
inline constexpr uint32_t kSynAckSeenMs = 60'000;  // until its client has acknowledged the answer
inline constexpr uint32_t kFinBothWaysMs = 15'000;
inline constexpr uint32_t kResetMs = 10'000;

// A SYN-ACK is acknowledged by its sequence number or one that is so little higher: what its
// sender's first flight may carry. A blind guess has one chance in 2^18.
inline constexpr uint32_t kSynAckWindow = 1u << 14;

// Packets of one end that take a flow out of probation while the other end is silent.
inline constexpr uint32_t kOneSidedPackets = 4;

}  // namespace gwlb::base
