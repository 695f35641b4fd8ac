// What the machine can do beyond what the build was told. Hot loops have a version for each level
// and choose when the program starts; all of them give the same results.
#pragma once

#include <cstdint>

namespace gwlb::base {

enum class Simd : uint8_t {
  portable = 0,  // what the compiler may use anyway
  avx2 = 1,
};

inline Simd simd_of_machine() {
#if defined(__x86_64__)
  __builtin_cpu_init();  // this may run before main()
  return __builtin_cpu_supports("avx2") ? Simd::avx2 : Simd::portable;
#else
  return Simd::portable;
#endif
}

}  // namespace gwlb::base
