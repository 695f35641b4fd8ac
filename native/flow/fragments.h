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
#include <cstring>
#include <memory>

#include "base/bytes.h"
#include "base/cpu.h"
#include "base/prefetch.h"
#include "base/siphash.h"
#include "flow/pages.h"
#include "wire/inner.h"

namespace gwlb::flow {

// What names a train. Every byte is defined: hashed and compared as memory.
struct FragmentKey {
  uint8_t source[16];
  uint8_t destination[16];
  uint32_t id;
  uint16_t scope;
  uint8_t protocol;  // 0 for IPv6
  uint8_t version;   // 4 or 6

  // `id`: the packet's own, or that which its fragments will have.
  FragmentKey(const wire::InnerPacket& packet, uint32_t of_id, uint16_t of_scope)
      : id(of_id), scope(of_scope), protocol(0), version(packet.version) {
    if (version == 6) {
      std::memcpy(source, packet.source, sizeof source);
      std::memcpy(destination, packet.destination, sizeof destination);
    } else {
      std::memset(source, 0, sizeof source);
      std::memset(destination, 0, sizeof destination);
      std::memcpy(source, packet.source, 4);
      std::memcpy(destination, packet.destination, 4);
      protocol = packet.protocol;
    }
  }
  FragmentKey() = default;
};
static_assert(sizeof(FragmentKey) == 40);

inline uint64_t hash_key(const base::HashKey& key, const FragmentKey& train) {
  return base::siphash13<sizeof(FragmentKey)>(key, &train);
}
// hash_key() of `n` trains; several at once where the machine can.
void hash_keys(const base::HashKey& key, const FragmentKey* trains, uint32_t n, uint64_t* out);

class FragmentTable {
  static constexpr uint32_t kWays = 8;

 public:
  // Room for `trains` (at least 1; rounded up to a multiple of eight), each for `lifetime_ms` since
  // its first fragment. Null where memory is refused.
  static std::unique_ptr<FragmentTable> create(uint32_t trains, uint32_t lifetime_ms,
                                               base::HashKey key);

  // Which pass of the datagram it is.
  enum class Pass : uint8_t { entering, returned };

  // A train's key with its hash: name() where there is one train, with hash() where there are many.
  struct Name {
    const FragmentKey& key;
    uint64_t hash;
    uint32_t oldest = kWays;  // what prefetch_trains() said
  };
  Name name(const FragmentKey& key) const { return {key, hash_key(key_, key)}; }
  void hash(const FragmentKey* keys, uint32_t n, uint64_t* out) const {
    hash_keys(key_, keys, n, out);
  }
  // Asks for what a search of the train, or its beginning, will read; once more, when that may have
  // come and for `n` trains, for what it will read then. oldest[i] is the place that gives way if
  // the train begins soon.
  void prefetch(uint64_t hash) const { base::prefetch_to_write(set_ + set_of(hash)); }
  void prefetch_trains(const uint64_t* hash, uint32_t n, uint32_t* oldest) const {
    (this->*places_)(hash, n, oldest);
  }
  // The same as a machine of this level does it, for tests; this one has to have it.
  void prefetch_trains_with(base::Simd simd, const uint64_t* hash, uint32_t n,
                            uint32_t* oldest) const {
    (this->*places_version(simd))(hash, n, oldest);
  }

  // A first fragment comes: remembers its ports, and begins the train anew where it was known.
  // Without kHasPorts there is nothing to remember. An entering train that was given up stays so.
  void bind(const wire::InnerPacket& first, const Name& name, Pass pass, uint64_t now_ms);

  // A whole packet is going to be cut into fragments behind this point: where they come back, all
  // of them find its ports.
  void bind_whole(const wire::InnerPacket& packet, const Name& name, uint64_t now_ms);

  // Says that the later fragments of an entering train that is not known go without ports, as this
  // one is about to, which comes with it: nothing binds it to ports any more until it is complete,
  // or for its lifetime.
  void give_up(const wire::InnerPacket& later, const Name& name, uint64_t now_ms);

  // `ports`: filled packet->source_port, destination_port and protocol, and set kHasPorts.
  // `no_ports`: the train was given up. `unknown`: not known or too old. `over`: all of the
  // datagram has come, so that this fragment begins another one with the same identification, or
  // is a copy; the packet is filled with the ports that the complete train had, if any.
  enum class Found : uint8_t { unknown, ports, no_ports, over };

  // A later fragment comes, and is noted as part of its train. Where a returned one knows no train
  // that is not over, it has the ports of the one that entered, over or not; it is never `over`.
  Found come(wire::InnerPacket* later, const Name& name, Pass pass, uint64_t now_ms);
  // The same without noting it.
  Found find(wire::InnerPacket* later, const Name& name, Pass pass, uint64_t now_ms) const;
  // Of a fragment that an ICMP error quotes: it may be over, and have passed either way.
  Found find_quoted(wire::InnerPacket* later, const Name& name, uint64_t now_ms) const;

  // Trains that are alive, complete ones among them; walks the table.
  uint32_t size(uint64_t now_ms) const;
  uint32_t capacity() const { return sets_ * kWays; }
  size_t memory_bytes() const { return pages_.bytes() + sizeof *this; }

  // A datagram that has come in more stretches apart than that at one time is not seen complete.
  static constexpr uint32_t kStretches = 19;

 private:
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
    FragmentKey key;
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

    void begin(const FragmentKey& of, Pass which);
    void add(const wire::InnerPacket& fragment);
  };
  static_assert(sizeof(Train) == 128);
  // What a search reads first, of a set's trains: one line of memory.
  struct alignas(64) Set {
    static constexpr uint32_t kClockBytes = 6;
    // When each began, modulo 2^48 ms (8,900 years: nothing that is over comes to life again
    // because a clock came round), and one more: 0 where none did. What is over is older than what
    // is alive.
    uint8_t began[kWays * kClockBytes];
    uint16_t tag[kWays];  // of the key's hash; 0: never used

    // In the upper bits; what is behind them has been shifted out.
    uint64_t began_at(uint32_t way) const {
      return base::load<uint64_t>(began + way * kClockBytes) << kSpareBits;
    }
    void begin(uint32_t way, uint16_t with, uint64_t now_ms) {
      const uint64_t at = now_ms + 1;
      std::memcpy(began + way * kClockBytes, &at, kClockBytes);
      tag[way] = with;
    }
    bool has_begun(uint32_t way, uint64_t now_ms) const {
      return began_at(way) == (now_ms + 1) << kSpareBits;
    }
    bool alive(uint32_t way, uint64_t now_ms, uint32_t lifetime_ms) const {
      return tag[way] != 0 &&
             (((now_ms + 1) << kSpareBits) - began_at(way)) >> kSpareBits < lifetime_ms;
    }
    uint32_t oldest() const;
    // Bit i is set where tag[i] is this one.
    uint32_t ways_of(uint16_t one) const;

   private:
    static constexpr uint32_t kSpareBits = 64 - 8 * kClockBytes;
  };
  static_assert(sizeof(Set) == 64);

  FragmentTable(uint32_t sets, uint32_t lifetime_ms, base::HashKey key, Pages pages);
  static uint16_t tag_of(uint64_t hash) {
    const auto tag = static_cast<uint16_t>(hash);
    return tag == 0 ? uint16_t{1} : tag;
  }
  uint32_t set_of(uint64_t hash) const { return static_cast<uint32_t>((hash >> 32) * sets_ >> 32); }
  // Its set had no such tag when prefetch_trains() looked; who has begun there since took the place
  // that was the oldest.
  bool is_still_unknown(const Name& name, uint64_t now_ms) const {
    return name.oldest < kWays && !set_[set_of(name.hash)].has_begun(name.oldest, now_ms);
  }
  Train* trains_of(uint32_t set) const { return trains_ + size_t{set} * kWays; }
  // Of prefetch_trains().
  using Places = void (FragmentTable::*)(const uint64_t*, uint32_t, uint32_t*) const;
  static Places places_version(base::Simd simd);
  void places_portable(const uint64_t* hash, uint32_t n, uint32_t* oldest) const;
  void places_avx2(const uint64_t* hash, uint32_t n, uint32_t* oldest) const;
  // Null where it is not known or not alive.
  Train* train_of(const Name& name, Pass pass, uint64_t now_ms) const {
    return is_still_unknown(name, now_ms) ? nullptr : search_set(name, pass, now_ms);
  }
  Train* search_set(const Name& name, Pass pass, uint64_t now_ms) const;
  Train* begin(const Name& name, Train* known, Pass pass, uint64_t now_ms);
  Found search(wire::InnerPacket* later, const Name& name, Pass pass, uint64_t now_ms,
               Train** own) const;

  Places places_;
  Set* set_;
  Train* trains_;
  uint32_t sets_;
  uint32_t lifetime_ms_;
  base::HashKey key_;
  Pages pages_;
};

}  // namespace gwlb::flow
