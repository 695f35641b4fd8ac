// Canonical flow keys: both directions of a flow have the same key, and the same hash.
#pragma once

#include <cstdint>

#include "base/bytes.h"
#include "base/limits.h"
#include "base/siphash.h"
#include "wire/inner.h"

namespace gwlb::flow {

// What makes packets one flow. Protocols without ports have the 3-tuple also under `five_tuple`.
enum class Stickiness : uint8_t { five_tuple = 5, three_tuple = 3, two_tuple = 2 };

// The lower (address, port) end comes first, compared as big-endian numbers, address before port.
// Fields keep network order; `scope` is the endpoint's index, or 0xffff where flows of all
// endpoints are one space. Every byte is defined: keys are hashed and compared as memory.
struct FlowKey4 {
  uint8_t low[4];
  uint8_t high[4];
  uint8_t low_port[2];
  uint8_t high_port[2];
  uint8_t protocol;  // 0 under two_tuple
  uint8_t kind;      // Stickiness of this key: 5, 3 or 2
  uint16_t scope;
};
static_assert(sizeof(FlowKey4) == 16);

struct FlowKey6 {
  uint8_t low[16];
  uint8_t high[16];
  uint8_t low_port[2];
  uint8_t high_port[2];
  uint8_t protocol;
  uint8_t kind;
  uint16_t scope;
};
static_assert(sizeof(FlowKey6) == 40);

inline constexpr uint16_t kScopeGateway = 0xffff;

// What of a packet makes its key, as masks and constants.
struct KeyRule {
  uint32_t port_mask;  // of both ports as they lie in a header
  uint8_t protocol_mask;
  uint8_t kind;           // of packets with ports
  uint8_t portless_kind;  // without, there is nothing of a 5-tuple left but its 3-tuple

  KeyRule(Stickiness stickiness)  // NOLINT: a stickiness is a rule
      : port_mask(stickiness == Stickiness::five_tuple ? 0xffffffff : 0),
        protocol_mask(stickiness == Stickiness::two_tuple ? 0 : 0xff),
        kind(static_cast<uint8_t>(stickiness)),
        portless_kind(stickiness == Stickiness::five_tuple
                          ? static_cast<uint8_t>(Stickiness::three_tuple)
                          : kind) {}
};

// Builds the key and says whether the packet runs from the low end to the high end (true) or the
// other way (false). For a fragment or quote whose ports are needed but not there, the caller
// supplies them in `packet` (from the fragment table) or accepts the 3-tuple.
bool make_key(const wire::InnerPacket& packet, const KeyRule& rule, uint16_t scope, FlowKey4* out);
bool make_key(const wire::InnerPacket& packet, const KeyRule& rule, uint16_t scope, FlowKey6* out);

// Kind and scope in a key's last word.
inline uint64_t key_tail(uint8_t kind, uint16_t scope) {
  return uint64_t{kind} << 40 | uint64_t{scope} << 48;
}

inline uint32_t swap_ports(uint32_t ports) { return ports << 16 | ports >> 16; }
inline bool ports_in_order(uint32_t ports) {
  return __builtin_bswap16(static_cast<uint16_t>(ports)) <=
         __builtin_bswap16(static_cast<uint16_t>(ports >> 16));
}

// A key of what lies in the headers, source before destination: `addresses` is as many bytes as the
// key has of them, `ports` four as loaded. Written as whole words, since it is read as such a
// moment later. Returns whether the source is the low end.
inline bool write_key(const uint8_t* addresses, uint32_t ports, uint8_t protocol, uint64_t tail,
                      FlowKey4* out) {
  const auto both = base::load<uint64_t>(addresses);
  const uint32_t source = __builtin_bswap32(static_cast<uint32_t>(both));
  const uint32_t destination = __builtin_bswap32(static_cast<uint32_t>(both >> 32));
  bool forward = source < destination;
  if (__builtin_expect(source == destination, 0)) forward = ports_in_order(ports);
  auto* words = reinterpret_cast<uint8_t*>(out);
  base::store(words, forward ? both : both << 32 | both >> 32);
  base::store(words + 8, (forward ? ports : swap_ports(ports)) | uint64_t{protocol} << 32 | tail);
  return forward;
}
inline bool write_key(const uint8_t* addresses, uint32_t ports, uint8_t protocol, uint64_t tail,
                      FlowKey6* out) {
  const auto from0 = base::load<uint64_t>(addresses), from1 = base::load<uint64_t>(addresses + 8);
  const auto to0 = base::load<uint64_t>(addresses + 16);
  const auto to1 = base::load<uint64_t>(addresses + 24);
  __extension__ typedef unsigned __int128 Wide;
  const Wide from = static_cast<Wide>(__builtin_bswap64(from0)) << 64 | __builtin_bswap64(from1);
  const Wide to = static_cast<Wide>(__builtin_bswap64(to0)) << 64 | __builtin_bswap64(to1);
  bool forward = from < to;
  if (__builtin_expect(from == to, 0)) forward = ports_in_order(ports);
  // No branch: who is lower is as good as random.
  const uint64_t swap = static_cast<uint64_t>(forward) - 1;
  const uint64_t swap0 = (from0 ^ to0) & swap;
  const uint64_t swap1 = (from1 ^ to1) & swap;
  auto* words = reinterpret_cast<uint8_t*>(out);
  base::store(words, from0 ^ swap0);
  base::store(words + 8, from1 ^ swap1);
  base::store(words + 16, to0 ^ swap0);
  base::store(words + 24, to1 ^ swap1);
  base::store(words + 32, (forward ? ports : swap_ports(ports)) | uint64_t{protocol} << 32 | tail);
  return forward;
}

// hash_key() of `n` keys; several at once where the machine can.
void hash_keys(const base::HashKey& key, const FlowKey4* flows, uint32_t n, uint64_t* out);
void hash_keys(const base::HashKey& key, const FlowKey6* flows, uint32_t n, uint64_t* out);

inline uint64_t hash_key(const base::HashKey& key, const FlowKey4& flow) {
  return base::siphash13<sizeof(FlowKey4)>(key, &flow);
}
inline uint64_t hash_key(const base::HashKey& key, const FlowKey6& flow) {
  return base::siphash13<sizeof(FlowKey6)>(key, &flow);
}

// One hash, four uses, on bits that do not overlap where it matters:
//   row 0..17   source port 18..33   bucket 16..47 (multiply-shift)   tag 48..63
inline uint32_t hash_row(uint64_t hash, uint32_t row_bits) {
  return static_cast<uint32_t>(hash) & ((1u << row_bits) - 1);
}
inline uint16_t hash_source_port(uint64_t hash) { return static_cast<uint16_t>(hash >> 18); }
inline uint32_t hash_bucket(uint64_t hash, uint32_t buckets) {
  return static_cast<uint32_t>(((hash >> 16 & 0xffffffff) * buckets) >> 32);
}
inline uint16_t hash_tag(uint64_t hash) { return static_cast<uint16_t>(hash >> 48); }

// The worker that owns a packet's flow: from the two addresses alone, so that fragments and ICMP
// errors land on the worker that has their flow without anyone asking around.
uint32_t owner_of(const base::HashKey& key, const wire::InnerPacket& packet, uint32_t workers);

}  // namespace gwlb::flow
