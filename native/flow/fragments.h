// Contract: bounded table of fragment trains (spec F1, F2, F8). The first fragment of a datagram
// binds (source, destination, protocol, id, scope) to its ports; later fragments read them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>

#include "wire/inner.h"

namespace gwlb::flow {

class FragmentTable {
 public:
  // `trains` at most; the oldest of a bucket gives way. `lifetime_ms` since the first fragment.
  static std::unique_ptr<FragmentTable> create(uint32_t trains, uint32_t lifetime_ms,
                                               base::HashKey key);
  // Remembers the ports of a first fragment (again: replaces).
  void bind(const wire::InnerPacket& first, uint16_t scope, uint32_t now_ms);
  // Fills packet->source_port/destination_port and sets kHasPorts; false where the train is not
  // known or too old.
  bool find(wire::InnerPacket* later, uint16_t scope, uint32_t now_ms) const;
  uint32_t size(uint32_t now_ms) const;
};

}  // namespace gwlb::flow
