// Programming errors, not input errors: on in every build, and never used for what a packet or a
// user can cause.
#pragma once

#include <cstdio>
#include <cstdlib>

#define GWLB_ASSERT(condition)                                                           \
  do {                                                                                   \
    if (__builtin_expect(!(condition), 0)) {                                             \
      std::fprintf(stderr, "gwlb: assertion failed: %s (%s:%d)\n", #condition, __FILE__, \
                   __LINE__);                                                            \
      std::abort();                                                                      \
    }                                                                                    \
  } while (0)
