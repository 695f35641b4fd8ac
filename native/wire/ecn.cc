#include "wire/ecn.h"

#include "base/bytes.h"
#include "wire/checksum.h"

namespace gwlb::wire {
namespace {

// [inner][outer], each by its code point: not_ect, ect1, ect0, ce.
// clang-format off
constexpr EcnDecision kDecapsulate[4][4] = {
    {{Ecn::not_ect, false, false}, {Ecn::not_ect, false, true},
     {Ecn::not_ect, false, true},  {Ecn::not_ect, true, true}},
    {{Ecn::ect1, false, false}, {Ecn::ect1, false, false},
     {Ecn::ect1, false, false}, {Ecn::ce, false, false}},
    {{Ecn::ect0, false, false}, {Ecn::ect1, false, false},
     {Ecn::ect0, false, false}, {Ecn::ce, false, false}},
    {{Ecn::ce, false, false}, {Ecn::ce, false, true},
     {Ecn::ce, false, false}, {Ecn::ce, false, false}},
};
// clang-format on

constexpr uint32_t kIpv4ChecksumOffset = 10;

}  // namespace

EcnDecision ecn_decapsulate(Ecn inner, Ecn outer) {
  return kDecapsulate[static_cast<uint8_t>(inner) & 3][static_cast<uint8_t>(outer) & 3];
}

// IPv4 has its traffic class in the second byte; IPv6's follows the four version bits.
Ecn inner_ecn(const uint8_t* ip_header) {
  const bool v4 = ip_header[0] >> 4 == 4;
  return static_cast<Ecn>((v4 ? ip_header[1] : ip_header[1] >> 4) & 3);
}

void set_inner_ecn(uint8_t* ip_header, Ecn ecn) {
  const auto bits = static_cast<uint8_t>(ecn);
  if (ip_header[0] >> 4 != 4) {
    ip_header[1] = static_cast<uint8_t>((ip_header[1] & 0xcf) | (bits << 4));
    return;
  }
  const uint16_t before = base::load_be16(ip_header);
  ip_header[1] = static_cast<uint8_t>((ip_header[1] & 0xfc) | bits);
  const uint16_t after = base::load_be16(ip_header);
  uint8_t* field = ip_header + kIpv4ChecksumOffset;
  base::store_be16(field, checksum_update(base::load_be16(field), before, after));
}

bool carry_congestion(uint8_t* ip_header, uint8_t outer_tos) {
  const auto outer = static_cast<Ecn>(outer_tos & 3);
  if (outer == Ecn::not_ect) return true;
  const Ecn inner = inner_ecn(ip_header);
  const EcnDecision decision = ecn_decapsulate(inner, outer);
  if (decision.drop) return false;
  if (decision.inner != inner) set_inner_ecn(ip_header, decision.inner);
  return true;
}

}  // namespace gwlb::wire
