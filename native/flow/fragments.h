// Which ports a later fragment belongs to.
//
// Only the first fragment of a datagram has its ports. It binds the train (source, destination,
// protocol, identification, scope; RFC 791: the four make a datagram; RFC 8200: without the
// protocol) to them, and later fragments read them back. The key is directional, as the datagram
// is. An identification is unique only while the datagram may be in flight and wraps fast
// (RFC 4963, 6864), so a train is over as soon as all of its datagram has come, and lives for a
// bounded time. A datagram passes twice where it goes to a target and comes back: each pass is a
// train of its own.
//
// A set-associative table: a keyed hash names a set of eight trains, one line of memory says which
// of them are worth a look. In a full set the oldest gives way, so a flood of first fragments costs
// others their trains but neither memory nor time. One thread owns it; nothing is allocated after
// create().
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

  // Which pass of the datagram it is.
  enum class Pass : uint8_t { entering, returned };

  // A first fragment comes: remembers its ports, and begins the train anew where it was known.
  // Without kHasPorts there is nothing to remember. An entering train that was given up stays so.
  void bind(const wire::InnerPacket& first, uint16_t scope, Pass pass, uint32_t now_ms);

  // A whole packet is going to be cut into fragments behind this point: where they come back, all
  // of them find its ports.
  void bind_whole(const wire::InnerPacket& packet, uint32_t id, uint16_t scope, uint32_t now_ms);

  // Says that the later fragments of an entering train go without ports, as one of them is about
  // to: nothing binds it to ports any more until it is complete, or for its lifetime.
  void give_up(const wire::InnerPacket& later, uint16_t scope, uint32_t now_ms);

  // `ports`: filled packet->source_port, destination_port and protocol, and set kHasPorts.
  // `no_ports`: the train was given up. `unknown`: not known or too old. `over`: all of the
  // datagram has come, so that this fragment begins another one with the same identification, or
  // is a copy; the packet is filled with the ports that the complete train had, if any. Times are
  // modulo 2^32.
  enum class Found : uint8_t { unknown, ports, no_ports, over };

  // A later fragment comes, and is noted as part of its train. Where a returned one knows no train
  // that is not over, it has the ports of the one that entered, over or not; it is never `over`.
  Found come(wire::InnerPacket* later, uint16_t scope, Pass pass, uint32_t now_ms);
  // The same without noting it.
  Found find(wire::InnerPacket* later, uint16_t scope, Pass pass, uint32_t now_ms) const;
  // Of a fragment that an ICMP error quotes: it may be over, and have passed either way.
  Found find_quoted(wire::InnerPacket* later, uint16_t scope, uint32_t now_ms) const;

  // Trains that are alive, complete ones among them; walks the table.
  uint32_t size(uint32_t now_ms) const;
  uint32_t capacity() const { return sets_ * kWays; }
  size_t memory_bytes() const { return pages_.bytes() + sizeof *this; }

  // A datagram that has come in more stretches apart than that at one time is not seen complete.
  static constexpr uint32_t kStretches = 19;

 private:
  static constexpr uint32_t kWays = 8;

  // Every byte is defined: hashed and compared as memory.
  struct Key {
    uint8_t source[16];
    uint8_t destination[16];
    uint32_t id;
    uint16_t scope;
    uint8_t protocol;  // 0 for IPv6
    uint8_t version;   // 4 or 6
  };
  static_assert(sizeof(Key) == 40);

  enum State : uint8_t {
    kGivenUp = 1,
    kComplete = 2,
    kUncertain = 4,  // what has come of it is not known any more: it ends by its lifetime
  };
  // Part of a datagram, in units of 8 bytes.
  struct Stretch {
    uint16_t from;
    uint16_t to;
  };
  struct Train {
    Key key;
    uint16_t source_port;
    uint16_t destination_port;
    // Behind the first fragment's extension headers, which later ones do not show.
    uint8_t protocol;
    uint8_t state;      // State
    uint8_t stretches;  // that have come
    Pass pass;
    uint16_t end;  // in units of 8 bytes; 0: the last fragment has not come
    uint16_t spare;
    Stretch stretch[kStretches];

    void add(const wire::InnerPacket& fragment);
  };
  static_assert(sizeof(Train) == 128);
  // What a search reads first, of a set's trains.
  struct alignas(64) Line {
    uint32_t bound_ms[kWays];
    uint16_t tag[kWays];  // of the key's hash; 0: never used
  };
  static_assert(sizeof(Line) == 64);
  struct Place {
    uint32_t set;
    uint16_t tag;
    uint16_t way;
  };

  FragmentTable(uint32_t sets, uint32_t lifetime_ms, base::HashKey key, Pages pages);
  static Key make_key(const wire::InnerPacket& packet, uint32_t id, uint16_t scope);
  Place set_of(const Key& key) const;
  Train* train_of(const Key& key, Place place, Pass pass, uint32_t now_ms) const;
  Train* begin(const Key& key, Pass pass, uint32_t now_ms);
  Found search(wire::InnerPacket* later, uint16_t scope, Pass pass, uint32_t now_ms,
               Train** own) const;
  bool alive(const Line& line, uint32_t way, uint32_t now_ms) const {
    return line.tag[way] != 0 && now_ms - line.bound_ms[way] < lifetime_ms_;
  }

  Line* lines_;
  Train* trains_;
  uint32_t sets_;
  uint32_t lifetime_ms_;
  base::HashKey key_;
  Pages pages_;
};

}  // namespace gwlb::flow
