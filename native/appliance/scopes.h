// Which endpoint a flow belongs to, as a number that fits a flow's key. Endpoints may have equal
// addresses behind them, so flows are told apart by the endpoint's id and the VNI as well.
//
// A set-associative table. A place whose endpoint has no flow, and has been quiet for as long as a
// fragment train may live, is given to the next one. One thread owns it.
#pragma once

#include <cstdint>
#include <vector>

#include "base/siphash.h"

namespace gwlb::appliance {

class Scopes {
 public:
  static constexpr uint16_t kNone = 0xffff;
  static constexpr uint32_t kSets = 512;
  static constexpr uint32_t kWays = 8;
  static constexpr uint32_t kQuietMs = 30'000;

  explicit Scopes(const base::HashKey& key) : key_(key), places_(kSets * kWays) {}

  // kNone where all places of its set are in use.
  uint16_t find(uint64_t endpoint_id, uint32_t vni, uint64_t now_ms) {
    const uint64_t words[2] = {endpoint_id, vni};
    Place* const set = &places_[base::siphash13<sizeof words>(key_, words) % kSets * kWays];
    Place* free = nullptr;
    for (Place* place = set; place != set + kWays; ++place) {
      if (place->used && place->endpoint_id == endpoint_id && place->vni == vni) {
        place->seen_ms = now_ms;
        return number_of(place);
      }
      if (free == nullptr && is_free(*place, now_ms)) free = place;
    }
    if (free == nullptr) return kNone;
    *free = {endpoint_id, now_ms, vni, 0, true};
    return number_of(free);
  }

  // A flow of the scope came or went.
  void enter(uint16_t scope) { ++places_[scope].flows; }
  void leave(uint16_t scope) { --places_[scope].flows; }

 private:
  struct Place {
    uint64_t endpoint_id = 0;
    uint64_t seen_ms = 0;
    uint32_t vni = 0;
    uint32_t flows = 0;
    bool used = false;
  };
  static_assert(kSets * kWays < kNone);

  bool is_free(const Place& place, uint64_t now_ms) const {
    return !place.used || (place.flows == 0 && now_ms - place.seen_ms >= kQuietMs);
  }
  uint16_t number_of(const Place* place) const {
    return static_cast<uint16_t>(place - places_.data());
  }

  base::HashKey key_;
  std::vector<Place> places_;
};

}  // namespace gwlb::appliance
