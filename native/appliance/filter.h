// A capture filter, compiled: tests on the parsed headers of a packet, each with the test to go on
// with where it is true and where it is false. Tests only lead forward, so that every packet is
// decided after as many of them as there are at most, without a stack and without memory.
//
// As 32-bit words, 12 a test:
//
//   0  kind | direction << 8 | version << 16
//   1  next where true | next where false << 16: a later test, kAccept or kReject
//   2  low | high << 16: protocol (twice), or ports
//   3  0
//   4  address, four words in host order; IPv4 in the first
//   8  mask, the same
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "wire/inner.h"

namespace gwlb::appliance {

class Filter {
 public:
  static constexpr uint32_t kTestsMax = 1024;
  static constexpr uint32_t kWords = 12;
  static constexpr uint16_t kAccept = 0xffff;
  static constexpr uint16_t kReject = 0xfffe;

  enum class Kind : uint8_t {
    version = 0,   // IP version
    protocol = 1,  // IP protocol; of IPv6 the last one of the chain
    address = 2,   // of this version, masked
    port = 3,      // low..high; no packet without ports (a later fragment, an ICMP error)
  };
  // Which end a test of addresses or ports is about.
  enum class Direction : uint8_t { source = 1, destination = 2, either = 3, both = 4 };

  // False, and `out` stays as it was, where the words are no filter: this is the only check, so
  // that matches() needs none. No words at all: everything matches.
  static bool read(const uint32_t* words, size_t count, Filter* out);

  bool matches(const wire::InnerPacket& packet) const;
  bool empty() const { return tests_.empty(); }
  bool operator==(const Filter&) const = default;

 private:
  struct Test {
    Kind kind;
    Direction direction;
    uint8_t version;
    uint16_t on_true;
    uint16_t on_false;
    uint16_t low;
    uint16_t high;
    uint32_t address[4];
    uint32_t mask[4];
    bool operator==(const Test&) const = default;
    bool holds(const wire::InnerPacket& packet) const;
    bool has_address(const uint8_t* address) const;
    bool of_ends(bool source, bool destination) const;
  };
  static bool read_test(const uint32_t* words, size_t at, size_t tests, Test* out);

  std::vector<Test> tests_;
};

}  // namespace gwlb::appliance
