// The gateway's endpoints: by index, by the id that the GENEVE option carries, and, for remote
// GENEVE peers, by (address, VNI). The maps are open-addressed and rebuilt when an endpoint comes
// or goes, so that a packet's lookup never allocates.
#pragma once

#include <cstdint>
#include <vector>

#include "base/limits.h"
#include "gateway/gateway.h"

namespace gwlb::gateway {

class Endpoints {
 public:
  Endpoints() : specs_(base::kEndpointsMax), macs_(base::kEndpointsMax) { rebuild(); }

  void set(uint16_t index, const EndpointSpec& spec) {
    specs_[index] = spec;
    macs_[index] = Macs{};
    rebuild();
  }
  void remove(uint16_t index) { set(index, EndpointSpec{}); }

  bool exists(uint16_t index) const {
    return index < base::kEndpointsMax && specs_[index].kind != EndpointKind::none;
  }
  const EndpointSpec& at(uint16_t index) const { return specs_[index]; }

  uint16_t by_id(uint64_t id) const { return find(ids_, id); }
  uint16_t by_peer(uint32_t address, uint32_t vni) const {
    return find(peers_, peer_key(address, vni));
  }
  bool is_peer(uint32_t address) const { return find(addresses_, address) != base::kNoEndpoint; }

  // A peer with inner Ethernet is answered with the addresses of its last frame, swapped, unless
  // the endpoint's specification says which.
  struct Macs {
    uint8_t source[6] = {};
    uint8_t destination[6] = {};
  };
  Macs& macs(uint16_t index) { return macs_[index]; }

 private:
  struct Entry {
    uint64_t key = 0;
    uint16_t index = base::kNoEndpoint;
  };
  using Map = std::vector<Entry>;

  static uint64_t peer_key(uint32_t address, uint32_t vni) { return uint64_t{address} << 32 | vni; }
  static size_t place(const Map& map, uint64_t key) {
    return (key * 0x9e3779b97f4a7c15u >> 32) & (map.size() - 1);
  }
  static uint16_t find(const Map& map, uint64_t key) {
    for (size_t at = place(map, key);; at = (at + 1) & (map.size() - 1)) {
      if (map[at].index == base::kNoEndpoint) return base::kNoEndpoint;
      if (map[at].key == key) return map[at].index;
    }
  }
  static void put(Map& map, uint64_t key, uint16_t index) {
    size_t at = place(map, key);
    while (map[at].index != base::kNoEndpoint && map[at].key != key) {
      at = (at + 1) & (map.size() - 1);
    }
    map[at] = {key, index};
  }
  void rebuild() {
    size_t used = 0;
    for (const auto& spec : specs_) used += spec.kind != EndpointKind::none;
    size_t size = 8;
    while (size < used * 2 + 1) size *= 2;
    ids_.assign(size, Entry{});
    peers_.assign(size, Entry{});
    addresses_.assign(size, Entry{});
    for (uint16_t i = 0; i < base::kEndpointsMax; ++i) {
      if (specs_[i].kind == EndpointKind::none) continue;
      put(ids_, specs_[i].id, i);
      if (specs_[i].kind != EndpointKind::geneve) continue;
      put(peers_, peer_key(specs_[i].peer, specs_[i].vni), i);
      put(addresses_, specs_[i].peer, i);
    }
  }

  std::vector<EndpointSpec> specs_;
  std::vector<Macs> macs_;
  Map ids_, peers_, addresses_;
};

}  // namespace gwlb::gateway
