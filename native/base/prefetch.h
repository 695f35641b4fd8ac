// Asks for a cache line that will be needed soon.
#pragma once

namespace gwlb::base {

// A function of ours whose only effect is a prefetch counts as one without effect for GCC, which
// drops the calls of it (it did: objdump showed whole prefetch stages missing). The empty statement
// is an effect, and no instruction.
#define GWLB_IS_EFFECT asm volatile("")

inline void prefetch(const void* address) {
  __builtin_prefetch(address);
  GWLB_IS_EFFECT;
}

inline void prefetch_to_write(const void* address) {
  __builtin_prefetch(address, 1);
  GWLB_IS_EFFECT;
}

#undef GWLB_IS_EFFECT

}  // namespace gwlb::base
