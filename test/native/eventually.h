// Waiting for what another thread or the kernel does.
#pragma once

#include <unistd.h>

#include <cstdint>

namespace gwlb::test {

// For what never comes; a machine that has much else to do takes a while.
inline constexpr uint32_t kPatienceMs = 60'000;

// False where it does not come true.
template <class Condition>
bool eventually(Condition condition) {
  for (uint32_t waited = 0; waited < kPatienceMs; ++waited) {
    if (condition()) return true;
    usleep(1000);
  }
  return condition();
}

}  // namespace gwlb::test
