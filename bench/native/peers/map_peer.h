// What the maps of boost and absl have in common. Both get the hash that ours gets: in a lookup
// with the key, and where a map asks for the hash of a key it is given, from beside that key.
#pragma once

#include <sys/mman.h>

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <new>
#include <vector>

#include "base/siphash.h"
#include "bench/native/peers/peer.h"

namespace gwlb::bench {

template <uint32_t kBytes>
struct Bytes {
  uint8_t at[kBytes];
};

template <uint32_t kBytes>
struct Probe {
  const Bytes<kBytes>* key;
  uint64_t hash;
};

inline base::HashKey map_hash_key{0x243f6a8885a308d3, 0x13198a2e03707344};

template <uint32_t kBytes>
struct GivenHash {
  using is_transparent = void;
  using is_avalanching = void;  // boost: no further mixing
  static inline Probe<kBytes> given{};

  size_t operator()(const Probe<kBytes>& probe) const { return probe.hash; }
  size_t operator()(const Bytes<kBytes>& key) const {
    return &key == given.key ? given.hash : base::siphash13<kBytes>(map_hash_key, &key);
  }
};

template <uint32_t kBytes>
struct SameBytes {
  using is_transparent = void;
  static bool same(const void* a, const void* b) { return std::memcmp(a, b, kBytes) == 0; }
  bool operator()(const Bytes<kBytes>& a, const Bytes<kBytes>& b) const { return same(&a, &b); }
  bool operator()(const Probe<kBytes>& a, const Bytes<kBytes>& b) const { return same(a.key, &b); }
  bool operator()(const Bytes<kBytes>& a, const Probe<kBytes>& b) const { return same(&a, b.key); }
};

// Counts bytes; large blocks are on huge pages and touched, as ours are.
inline uint64_t mapped_bytes = 0;

template <class T>
struct PageAllocator {
  using value_type = T;
  PageAllocator() = default;
  template <class U>
  PageAllocator(const PageAllocator<U>&) {}

  static constexpr size_t kHugePage = 2u << 20;
  static size_t mapping(size_t count) {
    const size_t bytes = count * sizeof(T);
    const size_t unit = bytes >= kHugePage ? kHugePage : 4096;
    return (bytes + unit - 1) / unit * unit;
  }

  T* allocate(size_t count) {
    const size_t bytes = mapping(count);
    const size_t slack = bytes >= kHugePage ? kHugePage : 0;
    void* raw =
        mmap(nullptr, bytes + slack, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (raw == MAP_FAILED) throw std::bad_alloc();
    auto start = reinterpret_cast<uintptr_t>(raw);
    if (slack > 0) {
      const uintptr_t aligned = (start + slack - 1) / slack * slack;
      if (aligned > start) munmap(raw, aligned - start);
      if (start + slack > aligned) {
        munmap(reinterpret_cast<void*>(aligned + bytes), start + slack - aligned);
      }
      start = aligned;
      madvise(reinterpret_cast<void*>(start), bytes, MADV_HUGEPAGE);
    }
    auto* memory = reinterpret_cast<uint8_t*>(start);
    for (size_t at = 0; at < bytes; at += 4096) memory[at] = 0;
    mapped_bytes += count * sizeof(T);
    return reinterpret_cast<T*>(memory);
  }
  void deallocate(T* memory, size_t count) {
    mapped_bytes -= count * sizeof(T);
    munmap(memory, mapping(count));
  }
  template <class U>
  bool operator==(const PageAllocator<U>&) const {
    return true;
  }
};

struct MapValue {
  uint32_t value;
  uint32_t last_seen;
};

template <uint32_t kBytes, class Map>
struct MapPeer {
  using Key = Bytes<kBytes>;
  Map map;
  typename Map::iterator next;
  uint64_t bytes = sizeof(MapPeer);

  static MapPeer& of(void* table) { return *static_cast<MapPeer*>(table); }
  static const Key* key(const void* keys, uint32_t i) { return static_cast<const Key*>(keys) + i; }

  static void* create(uint32_t flows) {
    auto* table = new MapPeer;
    const uint64_t before = mapped_bytes;
    table->map.reserve(flows);
    table->bytes += mapped_bytes - before;
    table->next = table->map.begin();
    return table;
  }
  static void destroy(void* table) { delete &of(table); }
  static uint64_t memory_bytes(void* table) { return of(table).bytes; }

  static uint32_t insert(void* table, const void* keys, const uint64_t* hashes, uint32_t n,
                         uint32_t* values) {
    uint32_t added = 0;
    const uint64_t before = mapped_bytes;
    for (uint32_t i = 0; i < n; ++i) {
      GivenHash<kBytes>::given = {key(keys, i), hashes[i]};
      added += of(table).map.try_emplace(*key(keys, i), MapValue{values[i], 0}).second;
    }
    GivenHash<kBytes>::given = {};
    of(table).bytes += mapped_bytes - before;
    // An insert may move everything.
    of(table).next = of(table).map.begin();
    return added;
  }

  static uint32_t erase(void* table, const void* keys, const uint64_t* hashes, uint32_t n) {
    uint32_t erased = 0;
    Map& map = of(table).map;
    for (uint32_t i = 0; i < n; ++i) {
      const auto found = map.find(Probe<kBytes>{key(keys, i), hashes[i]});
      if (found == map.end()) continue;
      map.erase(found);
      ++erased;
    }
    of(table).next = map.begin();
    return erased;
  }

  // Where a map can prefetch, it does so for the whole batch.
  static uint32_t lookup(void* table, const void* keys, const uint64_t* hashes, uint32_t n,
                         uint32_t now, uint32_t* values) {
    Map& map = of(table).map;
    uint32_t count = 0;
    if constexpr (requires(const Probe<kBytes>& probe) { map.prefetch(probe); }) {
      for (uint32_t i = 0; i < n; ++i) map.prefetch(Probe<kBytes>{key(keys, i), hashes[i]});
    }
    for (uint32_t i = 0; i < n; ++i) {
      const auto found = map.find(Probe<kBytes>{key(keys, i), hashes[i]});
      if (found == map.end()) continue;
      found->second.last_seen = now;
      values[i] = found->second.value;
      ++count;
    }
    return count;
  }

  static uint32_t sweep(void* table, uint32_t n, uint32_t now) {
    MapPeer& peer = of(table);
    uint32_t idle = 0;
    for (uint32_t i = 0; i < n; ++i) {
      if (peer.next == peer.map.end()) peer.next = peer.map.begin();
      idle += now - peer.next->second.last_seen > 1u << 30;
      ++peer.next;
    }
    asm volatile("" : : "r"(idle));
    return n;
  }

  static Peer peer(const char* name, const char* package) {
    return {name,         package, true,  kBytes, create, destroy,
            memory_bytes, insert,  erase, lookup, sweep};
  }
};

}  // namespace gwlb::bench
