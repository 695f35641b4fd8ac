// For fuzz targets: a check that stays on and names what was wrong.
#pragma once

#include <cstdint>
#include <cstdio>
#include <cstdlib>

#define FUZZ_CHECK(...)                                                                         \
  do {                                                                                          \
    if (!(__VA_ARGS__)) {                                                                       \
      std::fprintf(stderr, "%s:%d: FUZZ_CHECK(%s): false\n", __FILE__, __LINE__, #__VA_ARGS__); \
      std::abort();                                                                             \
    }                                                                                           \
  } while (0)

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size);
