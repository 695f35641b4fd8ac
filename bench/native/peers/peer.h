// Flow tables to compare ours with, each in a file of its own: they need other compiler flags than
// ours (exceptions, run-time types, DPDK's instruction set), and none of that may come near our
// code. A peer whose headers are not installed is compiled as a name and a package.
#pragma once

#include <cstdint>

namespace gwlb::bench {

// Keys are `key_bytes` each, one behind the other; hashes are those of the keys, for peers that
// take one. Every function handles n keys.
struct Peer {
  const char* name;
  const char* package;  // Debian's
  bool installed = false;
  uint32_t key_bytes = 0;

  void* (*create)(uint32_t flows) = nullptr;  // null: no memory
  void (*destroy)(void* table) = nullptr;
  uint64_t (*memory_bytes)(void* table) = nullptr;  // allocated for the table, all counted

  // Adds keys that are not there. `values` holds what to store, and afterwards what lookups give.
  // Returns how many were added.
  uint32_t (*insert)(void* table, const void* keys, const uint64_t* hashes, uint32_t n,
                     uint32_t* values) = nullptr;
  uint32_t (*erase)(void* table, const void* keys, const uint64_t* hashes, uint32_t n) = nullptr;
  // Up to 64 keys: writes `now` to each flow that is found; values of the others stay as they were.
  // Returns how many were found.
  uint32_t (*lookup)(void* table, const void* keys, const uint64_t* hashes, uint32_t n,
                     uint32_t now, uint32_t* values) = nullptr;
  // Goes on by n flows through the table, comparing the time each was seen. Returns how many it
  // saw.
  uint32_t (*sweep)(void* table, uint32_t n, uint32_t now) = nullptr;
};

const Peer& boost_flat_map(uint32_t key_bytes);
const Peer& absl_flat_hash_map(uint32_t key_bytes);
const Peer& rte_hash_bulk(uint32_t key_bytes);
const Peer& rte_hash_with_hash_bulk(uint32_t key_bytes);

}  // namespace gwlb::bench
