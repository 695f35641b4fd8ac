#include "bench/native/peers/peer.h"

// The Makefile says whether it found the library too.
#if defined(GWLB_BENCH_ABSL)
#include <absl/container/flat_hash_map.h>

#include "bench/native/peers/map_peer.h"

namespace gwlb::bench {

template <uint32_t kBytes>
using FlatHashMap =
    absl::flat_hash_map<Bytes<kBytes>, MapValue, GivenHash<kBytes>, SameBytes<kBytes>,
                        PageAllocator<std::pair<const Bytes<kBytes>, MapValue>>>;

const Peer& absl_flat_hash_map(uint32_t key_bytes) {
  static const Peer peer16 = MapPeer<16, FlatHashMap<16>>::peer("absl", "libabsl-dev");
  static const Peer peer40 = MapPeer<40, FlatHashMap<40>>::peer("absl", "libabsl-dev");
  return key_bytes == 16 ? peer16 : peer40;
}

}  // namespace gwlb::bench
#else
namespace gwlb::bench {
const Peer& absl_flat_hash_map(uint32_t) {
  static const Peer missing{"absl", "libabsl-dev"};
  return missing;
}
}  // namespace gwlb::bench
#endif
