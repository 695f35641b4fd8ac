// What the kernel drops of the datagrams for some sockets, by reason. A socket knows only how many
// it lost; the network namespace's statistics know why, but not whose they were.
#pragma once

#include <cstdint>
#include <string>

namespace gwlb::io {

// The kernel's own counter of one socket: 32 bits there, 64 here, as long as it is read often
// enough. What it counts: receive buffer full, UDP checksum wrong (of datagrams above 76 bytes),
// refused by the socket's filter.
class SocketDrops {
 public:
  // 0 of the socket's drops so far where it cannot be asked.
  uint64_t read(int fd);

 private:
  uint32_t last_ = 0;
  uint64_t drops_ = 0;
};

class UdpLosses {
 public:
  UdpLosses() = default;
  ~UdpLosses();
  UdpLosses(const UdpLosses&) = delete;
  UdpLosses& operator=(const UdpLosses&) = delete;

  // Counts from now on, in this namespace. Without /proc everything counts as overflow.
  void begin(const std::string& netns, bool ipv6 = false);

  // `dropped`: what the sockets lost since begin(). Never less than what was told before.
  void update(uint64_t dropped);
  uint64_t overflow() const { return overflow_; }
  // Of the whole namespace: the kernel judges datagrams of 76 bytes or less before it knows whose
  // they are.
  uint64_t bad_checksum() const { return bad_checksum_; }

 private:
  struct Statistics {
    uint64_t no_room = 0;  // RcvbufErrors and MemErrors
    uint64_t bad_checksum = 0;
  };
  bool read_statistics(Statistics* out) const;
  bool add_ipv6(Statistics* out) const;

  int statistics_ = -1;   // /proc/net/snmp
  int statistics6_ = -1;  // /proc/net/snmp6, with IPv6
  Statistics before_;
  uint64_t overflow_ = 0;
  uint64_t bad_checksum_ = 0;
};

}  // namespace gwlb::io
