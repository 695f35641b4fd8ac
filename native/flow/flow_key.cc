#include "flow/flow_key.h"

#include <cstring>
#include <initializer_list>

#include "base/assert.h"
#include "base/bytes.h"

namespace gwlb::flow {
namespace {

template <class Key>
bool make_canonical(const wire::InnerPacket& packet, const KeyRule& rule, uint16_t scope,
                    Key* out) {
  const bool has_ports = (packet.flags & wire::kHasPorts) != 0;
  uint8_t addresses[2 * sizeof out->low];
  std::memcpy(addresses, packet.source, sizeof out->low);
  std::memcpy(addresses + sizeof out->low, packet.destination, sizeof out->low);
  const uint32_t ports = __builtin_bswap16(packet.source_port) |
                         uint32_t{__builtin_bswap16(packet.destination_port)} << 16;
  return write_key(addresses, has_ports ? ports & rule.port_mask : 0,
                   packet.protocol & rule.protocol_mask,
                   key_tail(has_ports ? rule.kind : rule.portless_kind, scope), out);
}

// Both halves of the 128-bit product, folded: every bit of both factors reaches every bit.
uint64_t multiply_fold(uint64_t a, uint64_t b) {
  __extension__ typedef unsigned __int128 Wide;
  const Wide product = static_cast<Wide>(a) * b;
  return static_cast<uint64_t>(product) ^ static_cast<uint64_t>(product >> 64);
}

constexpr uint64_t kOdd = 0x9e3779b97f4a7c15;  // 2^64 divided by the golden ratio

uint64_t address_hash4(const base::HashKey& key, const wire::InnerPacket& packet) {
  const uint64_t source = base::load_be32(packet.source);
  const uint64_t destination = base::load_be32(packet.destination);
  const uint64_t both =
      source < destination ? source << 32 | destination : destination << 32 | source;
  return multiply_fold(multiply_fold(both ^ key.k0, key.k1 | 1), kOdd ^ key.k0);
}

uint64_t address_hash6(const base::HashKey& key, const wire::InnerPacket& packet) {
  const bool forward = std::memcmp(packet.source, packet.destination, 16) <= 0;
  const uint8_t* low = forward ? packet.source : packet.destination;
  const uint8_t* high = forward ? packet.destination : packet.source;
  uint64_t hash = key.k0;
  for (const uint8_t* part : {low, low + 8, high, high + 8}) {
    hash = multiply_fold(base::load_be64(part) ^ hash, key.k1 | 1) + kOdd;
  }
  return multiply_fold(hash, kOdd ^ key.k0);
}

}  // namespace

bool make_key(const wire::InnerPacket& packet, const KeyRule& rule, uint16_t scope, FlowKey4* out) {
  GWLB_ASSERT(packet.version == 4);
  return make_canonical(packet, rule, scope, out);
}

bool make_key(const wire::InnerPacket& packet, const KeyRule& rule, uint16_t scope, FlowKey6* out) {
  GWLB_ASSERT(packet.version == 6);
  return make_canonical(packet, rule, scope, out);
}

uint32_t owner_of(const base::HashKey& key, const wire::InnerPacket& packet, uint32_t workers) {
  if (workers <= 1) return 0;
  const uint64_t hash =
      packet.version == 4 ? address_hash4(key, packet) : address_hash6(key, packet);
  return static_cast<uint32_t>(((hash >> 32) * workers) >> 32);
}

}  // namespace gwlb::flow
