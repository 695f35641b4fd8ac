// The 32-bit flow cookie: slot 12 | incarnation 4 | keyed tag 16.
//
// It is the same in both directions and for the flow's life at its target. The tag lets a gateway
// that has lost its table (restart, full table) tell a cookie of its own from anything else; it
// detects misdelivery and stale peers and is no authentication.
#pragma once

#include <cstdint>

#include "base/limits.h"
#include "base/siphash.h"

namespace gwlb::gateway {

inline constexpr uint32_t kIncarnations = 16;

inline uint16_t cookie_slot(uint32_t cookie) { return static_cast<uint16_t>(cookie >> 20); }
inline uint8_t cookie_incarnation(uint32_t cookie) { return cookie >> 16 & 0xf; }
inline uint16_t cookie_tag(uint32_t cookie) { return static_cast<uint16_t>(cookie); }

static_assert(base::kTargetsMax == 1u << 12, "the slot has 12 bits of the cookie");

// Makes the cookies of one endpoint. `flow_hash` stands for the canonical flow key: it is a keyed
// 64-bit hash of it.
class CookieSigner {
 public:
  CookieSigner() = default;
  CookieSigner(const base::HashKey& key, uint64_t endpoint_id, uint64_t attachment_id)
      : tag_(key, endpoint_id, attachment_id) {}
  uint32_t sign(uint64_t flow_hash, uint16_t slot, uint8_t incarnation) const {
    const uint64_t tag = tag_.hash(flow_hash, uint64_t{slot} << 8 | incarnation);
    return uint32_t{slot} << 20 | uint32_t{incarnation} << 16 | static_cast<uint16_t>(tag);
  }

 private:
  base::SipHashOfFour tag_;
};

}  // namespace gwlb::gateway
