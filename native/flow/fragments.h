// Which ports a later fragment belongs to.
//
// Only the first fragment of a datagram has its ports. It binds the train (source, destination,
// protocol, identification, scope; RFC 791: the four make a datagram; RFC 8200: without the
// protocol) to them, and later fragments read them back. The key is directional, as the datagram
// is. An identification is unique only while the datagram may be in flight and wraps fast
// (RFC 4963, 6864), so a train lives for a bounded time.
//
// A set-associative table: a keyed hash names a set of eight trains, searched one by one. In a full
// set the oldest gives way, so a flood of first fragments costs others their trains but neither
// memory nor time. One thread owns it; nothing is allocated after create().
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>

#include "base/siphash.h"
#include "flow/pages.h"
#include "wire/inner.h"

namespace gwlb::flow {

class FragmentTable {
 public:
  // Room for `trains` (at least 1; rounded up to a multiple of eight), each for `lifetime_ms` since
  // its first fragment. Null where memory is refused.
  static std::unique_ptr<FragmentTable> create(uint32_t trains, uint32_t lifetime_ms,
                                               base::HashKey key);

  // Remembers the ports of a first fragment; again: replaces them and starts the lifetime anew.
  // Without kHasPorts there is nothing to remember.
  void bind(const wire::InnerPacket& first, uint16_t scope, uint32_t now_ms);

  // Says that the later fragments of a train go without ports, as one of them did already: nothing
  // binds it to ports any more for its lifetime.
  void give_up(const wire::InnerPacket& later, uint16_t scope, uint32_t now_ms);

  // `ports`: filled packet->source_port, destination_port and protocol, and set kHasPorts.
  // `no_ports`: the train was given up. `unknown`: not known or too old. Times are modulo 2^32.
  enum class Found : uint8_t { unknown, ports, no_ports };
  Found find(wire::InnerPacket* later, uint16_t scope, uint32_t now_ms) const;

  // Trains that are alive; walks the table.
  uint32_t size(uint32_t now_ms) const;
  uint32_t capacity() const { return sets_ * kWays; }
  size_t memory_bytes() const { return pages_.bytes() + sizeof *this; }

 private:
  static constexpr uint32_t kWays = 8;

  // Every byte is defined: hashed and compared as memory.
  struct Key {
    uint8_t source[16];
    uint8_t destination[16];
    uint32_t id;
    uint16_t scope;
    uint8_t protocol;  // 0 for IPv6
    uint8_t version;   // 4 or 6; 0: never used
  };
  static_assert(sizeof(Key) == 40);
  struct Train {
    Key key;
    uint16_t source_port;
    uint16_t destination_port;
    uint32_t bound_ms;
    // Behind the first fragment's extension headers, which later ones do not show.
    uint8_t protocol;
    bool given_up;
  };
  static_assert(sizeof(Train) == 52);

  FragmentTable(uint32_t sets, uint32_t lifetime_ms, base::HashKey key, Pages pages);
  static Key make_key(const wire::InnerPacket& packet, uint16_t scope);
  Train* set_of(const Key& key) const;
  Train* place_for(const Key& key, uint32_t now_ms) const;
  bool alive(const Train& train, uint32_t now_ms) const {
    return train.key.version != 0 && now_ms - train.bound_ms < lifetime_ms_;
  }

  Train* trains_;
  uint32_t sets_;
  uint32_t lifetime_ms_;
  base::HashKey key_;
  Pages pages_;
};

}  // namespace gwlb::flow
