// The other way round: packets of one flow that follow each other, put together into a
// super-packet for a receiver that takes those (receive offload, GRO). Byte for byte what
// segmentation of the super-packet gives back is what was put in.
#pragma once

#include <cstdint>

#include "base/limits.h"

namespace gwlb::wire {

// Packets that go out in one write: packets[first .. first + count) of Coalescer::order().
struct CoalescedRun {
  uint16_t first = 0;
  uint16_t count = 0;      // 1: an ordinary packet, untouched
  uint16_t headers = 0;    // of count > 1: bytes of the first packet up to its payload, ...
  uint16_t transport = 0;  // ... where its TCP or UDP header starts, ...
  uint16_t segment = 0;    // ... and payload bytes of each packet but the last
  uint8_t version = 0;     // ... 4 or 6
  uint8_t protocol = 0;    // ... kTcp or kUdp
  uint32_t length = 0;     // bytes of the super-packet: headers once, and all payloads
  bool congestion_window_reduced = false;  // TCP CWR is set in the first packet (GSO_ECN)
};

struct PacketSpan {
  uint8_t* bytes = nullptr;  // first byte of the IP header
  uint32_t length = 0;
};

struct CoalesceCandidate;  // a packet as the rules see it

// Plans for one batch at a time; about 8 KiB, no allocation. Not thread-safe.
class Coalescer {
 public:
  // Flows that are put together at the same time. A further one takes the place of the one whose
  // last packet is the longest ago.
  static constexpr uint32_t kOpenRuns = 8;
  // Bytes of a super-packet, headers and all.
  static constexpr uint32_t kRunBytesMax = 65535;

  // Groups packets 0..n-1 (n up to kBatchPacketsMax), which arrived in this order. Afterwards
  // runs are to be written in their order: packets of one flow keep theirs. A packet joins a run
  // only where a receiver could not tell the difference, by the rules of the kernel's GRO:
  //  - TCP or UDP, not a fragment, IPv4 without options or IPv6 without extension headers, exactly
  //    as long as its IP header says; IPv4 header checksum and transport checksum right (what is
  //    wrong goes alone, for the receiver to see and to count) and not written as 0xffff where
  //    segmentation writes 0; UDP checksum not 0;
  //  - the same addresses, ports, TTL, TOS (ECN bits too), DF, flow label; IPv4 identification
  //    one above the one before;
  //  - TCP: same acknowledgment number, window, urgent pointer, reserved bits, ECE and options byte
  //    for byte; sequence number where the one before ended; no SYN, RST, URG; CWR only in the
  //    first; ACK in all; with payload; FIN or PSH end the run with the packet that has them;
  //  - UDP (only where `udp`): with payload, its length what the IP header says;
  //  - payload as long as the first one's; a shorter one ends the run;
  //  - together no longer than kRunBytesMax.
  // A packet that cannot join ends its flow's run; one whose ports are not to be seen (a fragment,
  // options) ends those between its addresses. Checksums are looked at only where packets would
  // otherwise join, each once.
  void plan(const PacketSpan* packets, uint32_t n, bool udp);

  uint32_t run_count() const { return run_count_; }
  const CoalescedRun& run(uint32_t k) const { return runs_[k]; }
  const uint16_t* order() const { return order_; }

  // Turns the headers of a run's first packet into the super-packet's (run.count above 1): lengths,
  // IPv4 header checksum, FIN and PSH of the last packet; the transport checksum field becomes the
  // pseudo header's sum, for the receiver to complete (VIRTIO_NET_HDR_F_NEEDS_CSUM).
  static void write_headers(const CoalescedRun& run, const PacketSpan& first,
                            const PacketSpan& last);

 private:
  struct OpenRun {
    uint64_t key;          // ports, protocol and version; the addresses are in `first`
    const uint8_t* first;  // its first packet
    uint32_t longest;      // that one's length
    uint32_t length;       // of the super-packet so far
    uint32_t sequence;     // TCP: where the next one starts
    uint16_t id;           // IPv4: the next one's
    uint16_t headers;
    uint16_t run;
    uint16_t last;  // index of its last packet
    uint8_t version;
    uint8_t protocol;
    uint8_t transport;
    bool checked;  // the first packet's checksums are right
    uint8_t then;  // slot whose packet came after one of this, the last time
  };

  static bool follows(const OpenRun& run, const PacketSpan& packet);
  uint32_t find(const CoalesceCandidate& packet) const;
  void close(uint32_t slot) { open_[slot] = open_[--open_count_]; }
  void close_between_addresses(const uint8_t* packet);
  void open(const CoalesceCandidate& packet, uint16_t i);
  bool join(uint32_t slot, const PacketSpan& packet, uint16_t i);
  bool join_any(const CoalesceCandidate& packet, const PacketSpan& span, uint16_t i);
  void came(uint32_t slot);
  void put_in_order();

  uint32_t run_count_ = 0;
  uint32_t open_count_ = 0;
  uint32_t newest_ = 0;  // slot of the last packet that has one
  OpenRun open_[kOpenRuns] = {};
  CoalescedRun runs_[base::kBatchPacketsMax];
  uint16_t next_[base::kBatchPacketsMax];  // of the same run
  uint16_t order_[base::kBatchPacketsMax];
};

}  // namespace gwlb::wire
