// Keys of any two ends: both directions give one key, one hash and one owner, opposite directions
// unless the ends are the same; the key's fields are the packet's, and what does not count does
// not.
#include <cstring>
#include <utility>

#include "flow/flow_key.h"
#include "test/fuzz/fuzz.h"

using namespace gwlb;
using flow::Stickiness;

namespace {

constexpr size_t kHeader = 2 + 1 + 1 + 4 + 2;  // scope, protocol, flags, ports, workers

template <class Key>
void check(const wire::InnerPacket& packet, uint16_t scope, uint32_t workers) {
  constexpr size_t kAddress = sizeof(Key::low);
  constexpr base::HashKey kKey{0xd1310ba698dfb5ac, 0x2ffd72dbd01adfb7};
  wire::InnerPacket back = packet;
  std::swap(back.source, back.destination);
  std::swap(back.source_port, back.destination_port);

  for (Stickiness stickiness :
       {Stickiness::five_tuple, Stickiness::three_tuple, Stickiness::two_tuple}) {
    Key key;
    Key other;
    std::memset(static_cast<void*>(&key), 0x00, sizeof key);
    std::memset(static_cast<void*>(&other), 0xff, sizeof other);
    const bool forward = make_key(packet, stickiness, scope, &key);
    const bool backward = make_key(back, stickiness, scope, &other);
    FUZZ_CHECK(std::memcmp(&key, &other, sizeof key) == 0);
    FUZZ_CHECK(hash_key(kKey, key) == hash_key(kKey, other));

    const bool ports =
        stickiness == Stickiness::five_tuple && (packet.flags & wire::kHasPorts) != 0;
    const uint16_t low_port = base::load_be16(key.low_port);
    const uint16_t high_port = base::load_be16(key.high_port);
    FUZZ_CHECK(std::memcmp(key.low, forward ? packet.source : packet.destination, kAddress) == 0);
    FUZZ_CHECK(std::memcmp(key.high, forward ? packet.destination : packet.source, kAddress) == 0);
    FUZZ_CHECK(low_port == (ports ? (forward ? packet.source_port : packet.destination_port) : 0));
    FUZZ_CHECK(high_port == (ports ? (forward ? packet.destination_port : packet.source_port) : 0));
    FUZZ_CHECK(key.scope == scope);
    FUZZ_CHECK(key.protocol == (stickiness == Stickiness::two_tuple ? 0 : packet.protocol));
    const bool is_three = stickiness == Stickiness::five_tuple && !ports;
    FUZZ_CHECK(key.kind == (is_three ? 3 : static_cast<uint8_t>(stickiness)));

    const int order = std::memcmp(key.low, key.high, kAddress);
    FUZZ_CHECK(order < 0 || (order == 0 && low_port <= high_port));
    const bool one_end = order == 0 && low_port == high_port;
    FUZZ_CHECK(one_end ? forward && backward : forward != backward);
  }
  const uint32_t owner = flow::owner_of(kKey, packet, workers);
  FUZZ_CHECK(owner < workers && owner == flow::owner_of(kKey, back, workers));
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size < kHeader + 8) return 0;
  const uint16_t scope = base::load_be16(data);
  wire::InnerPacket packet;
  packet.protocol = data[2];
  packet.flags = data[3];
  packet.source_port = base::load_be16(data + 4);
  packet.destination_port = base::load_be16(data + 6);
  const uint32_t workers = base::load_be16(data + 8) % base::kWorkersMax + 1u;
  const bool ipv6 = size >= kHeader + 32;
  packet.version = ipv6 ? 6 : 4;
  packet.source = data + kHeader;
  packet.destination = data + kHeader + (ipv6 ? 16 : 4);
  if (ipv6) {
    check<flow::FlowKey6>(packet, scope, workers);
  } else {
    check<flow::FlowKey4>(packet, scope, workers);
  }
  return 0;
}
