#pragma once

#include <cstdint>

#include "io/port.h"

namespace gwlb::engine {

// How a device of an engine is; of a pair, what is worse.
struct DeviceState {
  uint32_t index;  // of its endpoint, or its number
  io::LinkState state;
};

}  // namespace gwlb::engine
