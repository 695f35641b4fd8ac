#include "bench/native/peers/peer.h"

#if __has_include(<boost/unordered/unordered_flat_map.hpp>)
#include <boost/unordered/unordered_flat_map.hpp>

#include "bench/native/peers/map_peer.h"

namespace gwlb::bench {

template <uint32_t kBytes>
using FlatMap =
    boost::unordered_flat_map<Bytes<kBytes>, MapValue, GivenHash<kBytes>, SameBytes<kBytes>,
                              PageAllocator<std::pair<const Bytes<kBytes>, MapValue>>>;

const Peer& boost_flat_map(uint32_t key_bytes) {
  static const Peer peer16 = MapPeer<16, FlatMap<16>>::peer("boost", "libboost1.81-dev");
  static const Peer peer40 = MapPeer<40, FlatMap<40>>::peer("boost", "libboost1.81-dev");
  return key_bytes == 16 ? peer16 : peer40;
}

}  // namespace gwlb::bench
#else
namespace gwlb::bench {
const Peer& boost_flat_map(uint32_t) {
  static const Peer missing{"boost", "libboost1.81-dev"};
  return missing;
}
}  // namespace gwlb::bench
#endif
