// Packets as captures of hosts show them that leave work to their network card: longer than any
// link takes (TSO, USO, GRO), with an IP length of 0 where the length does not fit (BIG TCP) or was
// not written yet, with checksums that nobody has computed.
#pragma once

#include <cstdint>

#include "wire/inner.h"

namespace gwlb::wire {

// What a tool has to know of such a packet.
struct CapturedPacket {
  uint32_t length = 0;       // by the IP header, `room` at most, and where it says 0 all of `room`
  bool length_zero = false;  // it says 0
  uint32_t headers = 0;      // up to the payload; 0 where the packet cannot be cut
  uint32_t transport = 0;    // where its TCP or UDP header begins, with `headers`
  uint8_t protocol = 0;      // with `headers`
  uint8_t tcp_flags = 0;     // with `headers`
};

// Of the packet that begins at `packet`, of which `captured` bytes are there and which lies in
// `room` bytes, at least `captured`. Where the IP header is not there, the length is `captured`.
CapturedPacket read_captured(const uint8_t* packet, uint32_t captured, uint32_t room);

// Segment k, from 0, of a TCP or UDP packet of `length` bytes cut into `segment` bytes of payload
// each, as its card would have sent it: with lengths, sequence number and checksums of its own, and
// without BIG TCP's jumbo option. Bytes written to `to`, which has room for 65,535 or for `length`;
// 0 where there is no segment k, or it is no packet that can be cut. A packet without payload has
// one segment.
uint32_t write_captured_segment(const uint8_t* packet, uint32_t length, uint32_t segment,
                                uint32_t k, uint8_t* to);

}  // namespace gwlb::wire
