// DPDK's cuckoo hash table, once with its own CRC32 hash, which it computes in each call, and once
// with the hash that ours gets. Compiled for a newer instruction set than ours, this file must not
// leave a template or an inline function behind that the linker could take for everyone.
#include "bench/native/peers/peer.h"

#if defined(GWLB_BENCH_DPDK)
#include <rte_eal.h>
#include <rte_errno.h>
#include <rte_hash.h>
#include <rte_hash_crc.h>
#include <rte_malloc.h>
#include <rte_memory.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

namespace gwlb::bench {
namespace {

struct Table {
  rte_hash* hash;
  uint32_t* last_seen;  // by position
  uint32_t entries;
  uint32_t cursor;
  uint64_t heap_bytes;
};

int advise(const rte_memseg_list* list, void*) {
  if (list->external == 0) madvise(list->base_va, list->len, MADV_HUGEPAGE);
  return 0;
}

// Ordinary memory and no devices: works for every user. The folder that DPDK wants for itself is
// temporary, but for root's, which is always the same.
void start() {
  static bool started = false;
  if (started) return;
  started = true;
  char core[32];
  snprintf(core, sizeof core, "0@%d", sched_getcpu());
  const char* arguments[] = {
      "bench",       "--no-huge", "--no-shconf",    "--no-pci", "-m", "2560",
      "--iova-mode", "va",        "--no-telemetry", "--lcores", core, "--log-level=lib.eal:error"};
  constexpr int kArguments = sizeof arguments / sizeof *arguments;
  char* argv[kArguments + 1] = {};
  for (int i = 0; i < kArguments; ++i) argv[i] = const_cast<char*>(arguments[i]);
  char folder[] = "/tmp/gwlb-bench-XXXXXX";
  if (mkdtemp(folder) != nullptr) setenv("XDG_RUNTIME_DIR", folder, 1);
  const int result = rte_eal_init(kArguments, argv);
  const char* const made[] = {"/dpdk/rte", "/dpdk", ""};
  for (const char* below : made) {
    char path[64];
    snprintf(path, sizeof path, "%s%s", folder, below);
    rmdir(path);
  }
  if (result < 0) {
    fprintf(stderr, "rte_eal_init: %s\n", rte_strerror(rte_errno));
    exit(1);
  }
  rte_memseg_list_walk(advise, nullptr);
}

uint64_t heap_bytes() {
  uint64_t bytes = 0;
  for (int socket = 0; socket < RTE_MAX_NUMA_NODES; ++socket) {
    rte_malloc_socket_stats stats;
    if (rte_malloc_get_socket_stats(socket, &stats) == 0) bytes += stats.heap_allocsz_bytes;
  }
  return bytes;
}

uint32_t tables = 0;

Table& of(void* table) { return *static_cast<Table*>(table); }

template <uint32_t kBytes>
void* create(uint32_t flows) {
  start();
  auto* table = static_cast<Table*>(calloc(1, sizeof(Table)));
  if (table == nullptr) return nullptr;
  table->entries = flows + flows / 4;  // as full as ours
  const uint64_t before = heap_bytes();
  rte_hash_parameters parameters = {};
  char name[32];  // no two tables have the same one
  snprintf(name, sizeof name, "flows %u", ++tables);
  parameters.name = name;
  parameters.entries = table->entries;
  parameters.key_len = kBytes;
  parameters.hash_func = rte_hash_crc;
  parameters.socket_id = SOCKET_ID_ANY;
  table->hash = rte_hash_create(&parameters);
  table->last_seen = static_cast<uint32_t*>(
      rte_zmalloc("last_seen", size_t{table->entries} * sizeof(uint32_t), 64));
  if (table->hash == nullptr || table->last_seen == nullptr) return nullptr;
  table->heap_bytes = heap_bytes() - before;
  return table;
}

void destroy(void* table) {
  rte_hash_free(of(table).hash);
  rte_free(of(table).last_seen);
  free(table);
}

uint64_t memory_bytes(void* table) { return of(table).heap_bytes; }

template <uint32_t kBytes>
const void* key(const void* keys, uint32_t i) {
  return static_cast<const uint8_t*>(keys) + size_t{kBytes} * i;
}

hash_sig_t signature(uint64_t hash) { return static_cast<hash_sig_t>(hash >> 32); }

template <uint32_t kBytes, bool kGiven>
uint32_t insert(void* table, const void* keys, const uint64_t* hashes, uint32_t n,
                uint32_t* values) {
  const rte_hash* hash = of(table).hash;
  uint32_t added = 0;
  for (uint32_t i = 0; i < n; ++i) {
    const void* one = key<kBytes>(keys, i);
    const int32_t position = kGiven ? rte_hash_add_key_with_hash(hash, one, signature(hashes[i]))
                                    : rte_hash_add_key(hash, one);
    if (position < 0) continue;
    of(table).last_seen[position] = 0;
    values[i] = static_cast<uint32_t>(position);
    ++added;
  }
  return added;
}

template <uint32_t kBytes, bool kGiven>
uint32_t erase(void* table, const void* keys, const uint64_t* hashes, uint32_t n) {
  const rte_hash* hash = of(table).hash;
  uint32_t erased = 0;
  for (uint32_t i = 0; i < n; ++i) {
    const void* one = key<kBytes>(keys, i);
    erased += (kGiven ? rte_hash_del_key_with_hash(hash, one, signature(hashes[i]))
                      : rte_hash_del_key(hash, one)) >= 0;
  }
  return erased;
}

uint32_t take(Table& table, const int32_t* positions, uint32_t n, uint32_t now, uint32_t* values) {
  uint32_t found = 0;
  for (uint32_t i = 0; i < n; ++i) {
    if (positions[i] < 0) continue;
    table.last_seen[positions[i]] = now;
    values[i] = static_cast<uint32_t>(positions[i]);
    ++found;
  }
  return found;
}

template <uint32_t kBytes, bool kGiven>
uint32_t lookup(void* table, const void* keys, const uint64_t* hashes, uint32_t n, uint32_t now,
                uint32_t* values) {
  const rte_hash* hash = of(table).hash;
  const void* each[RTE_HASH_LOOKUP_BULK_MAX];
  hash_sig_t signatures[RTE_HASH_LOOKUP_BULK_MAX];
  int32_t positions[RTE_HASH_LOOKUP_BULK_MAX];
  for (uint32_t i = 0; i < n; ++i) each[i] = key<kBytes>(keys, i);
  if constexpr (kGiven) {
    for (uint32_t i = 0; i < n; ++i) signatures[i] = signature(hashes[i]);
    if (rte_hash_lookup_with_hash_bulk(hash, each, signatures, n, positions) != 0) return 0;
  } else {
    if (rte_hash_lookup_bulk(hash, each, n, positions) != 0) return 0;
  }
  return take(of(table), positions, n, now, values);
}

uint32_t sweep(void* table, uint32_t n, uint32_t now) {
  uint32_t idle = 0;
  for (uint32_t i = 0; i < n; ++i) {
    const void* at;
    void* data;
    int32_t position = rte_hash_iterate(of(table).hash, &at, &data, &of(table).cursor);
    if (position < 0) {
      of(table).cursor = 0;
      position = rte_hash_iterate(of(table).hash, &at, &data, &of(table).cursor);
      if (position < 0) return i;
    }
    idle += now - of(table).last_seen[position] > 1u << 30;
  }
  asm volatile("" : : "r"(idle));
  return n;
}

template <uint32_t kBytes, bool kGiven>
constexpr Peer peer() {
  return {kGiven ? "rte_hash, hash given" : "rte_hash",
          "libdpdk-dev",
          true,
          kBytes,
          create<kBytes>,
          destroy,
          memory_bytes,
          insert<kBytes, kGiven>,
          erase<kBytes, kGiven>,
          lookup<kBytes, kGiven>,
          sweep};
}
constexpr Peer kPeer16 = peer<16, false>();
constexpr Peer kPeer40 = peer<40, false>();
constexpr Peer kGiven16 = peer<16, true>();
constexpr Peer kGiven40 = peer<40, true>();

}  // namespace

const Peer& rte_hash_bulk(uint32_t key_bytes) { return key_bytes == 16 ? kPeer16 : kPeer40; }
const Peer& rte_hash_with_hash_bulk(uint32_t key_bytes) {
  return key_bytes == 16 ? kGiven16 : kGiven40;
}

}  // namespace gwlb::bench
#else
namespace gwlb::bench {
namespace {
constexpr Peer kMissing{"rte_hash", "libdpdk-dev"};
constexpr Peer kGivenMissing{"rte_hash, hash given", "libdpdk-dev"};
}  // namespace
const Peer& rte_hash_bulk(uint32_t) { return kMissing; }
const Peer& rte_hash_with_hash_bulk(uint32_t) { return kGivenMissing; }
}  // namespace gwlb::bench
#endif
