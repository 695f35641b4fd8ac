// What an ApplianceEngine without sockets has in their place: the same worker, stepped by hand, in
// a time of its own.
#pragma once

#include <cstdint>
#include <deque>
#include <vector>

#include "base/drop_reason.h"

namespace gwlb::engine {

struct Offline {
  struct Datagram {
    uint16_t id;
    std::vector<uint8_t> bytes;
  };
  // What became of a datagram.
  struct Outcome {
    uint16_t id;
    base::DropReason reason;  // none: it was returned
    bool shown;               // to the inspector
    bool rewritten;
    bool rejected;
    std::vector<uint8_t> bytes;  // returned
  };
  std::deque<Datagram> in;
  std::vector<Outcome> out;
  uint32_t now_ms = 1;
};

}  // namespace gwlb::engine
