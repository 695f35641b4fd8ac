#include "flow/fragments.h"

#include <cstring>
#include <new>
#include <utility>

#include "base/assert.h"

namespace gwlb::flow {

std::unique_ptr<FragmentTable> FragmentTable::create(uint32_t trains, uint32_t lifetime_ms,
                                                     base::HashKey key) {
  GWLB_ASSERT(trains >= 1 && trains <= 1u << 24 && lifetime_ms < 1u << 31);
  const uint32_t sets = (trains + kWays - 1) / kWays;
  Pages pages = Pages::map(size_t{sets} * kWays * sizeof(Train));
  if (pages.data() == nullptr) return nullptr;
  return std::unique_ptr<FragmentTable>(
      new (std::nothrow) FragmentTable(sets, lifetime_ms, key, std::move(pages)));
}

FragmentTable::FragmentTable(uint32_t sets, uint32_t lifetime_ms, base::HashKey key, Pages pages)
    : trains_(static_cast<Train*>(pages.data())),
      sets_(sets),
      lifetime_ms_(lifetime_ms),
      key_(key),
      pages_(std::move(pages)) {}

FragmentTable::Key FragmentTable::make_key(const wire::InnerPacket& packet, uint16_t scope) {
  GWLB_ASSERT(packet.version == 4 || packet.version == 6);
  const size_t length = packet.version == 4 ? 4 : 16;
  Key key = {};
  std::memcpy(key.source, packet.source, length);
  std::memcpy(key.destination, packet.destination, length);
  key.id = packet.fragment_id;
  key.scope = scope;
  key.protocol = packet.version == 4 ? packet.protocol : 0;
  key.version = packet.version;
  return key;
}

FragmentTable::Train* FragmentTable::set_of(const Key& key) const {
  const uint64_t hash = base::siphash13<sizeof(Key)>(key_, &key);
  return trains_ + ((hash >> 32) * sets_ >> 32) * kWays;
}

// The train itself, or whose place a new one takes.
FragmentTable::Train* FragmentTable::place_for(const Key& key, uint32_t now_ms) const {
  Train* set = set_of(key);
  Train* place = nullptr;
  uint32_t place_age = 0;
  for (uint32_t way = 0; way < kWays; ++way) {
    Train& train = set[way];
    if (std::memcmp(&train.key, &key, sizeof key) == 0) return &train;
    // What is dead counts as older than anything alive.
    const uint32_t age = alive(train, now_ms) ? now_ms - train.bound_ms : 1u << 31;
    if (place == nullptr || age > place_age) {
      place = &train;
      place_age = age;
    }
  }
  return place;
}

void FragmentTable::bind(const wire::InnerPacket& first, uint16_t scope, uint32_t now_ms) {
  if ((first.flags & wire::kHasPorts) == 0) return;
  const Key key = make_key(first, scope);
  Train* place = place_for(key, now_ms);
  const bool same = std::memcmp(&place->key, &key, sizeof key) == 0;
  if (same && place->given_up && alive(*place, now_ms)) return;
  *place = Train{key, first.source_port, first.destination_port, now_ms, first.protocol, false};
}

void FragmentTable::give_up(const wire::InnerPacket& later, uint16_t scope, uint32_t now_ms) {
  const Key key = make_key(later, scope);
  *place_for(key, now_ms) = Train{key, 0, 0, now_ms, later.protocol, true};
}

FragmentTable::Found FragmentTable::find(wire::InnerPacket* later, uint16_t scope,
                                         uint32_t now_ms) const {
  const Key key = make_key(*later, scope);
  const Train* set = set_of(key);
  for (uint32_t way = 0; way < kWays; ++way) {
    const Train& train = set[way];
    if (std::memcmp(&train.key, &key, sizeof key) != 0) continue;
    if (!alive(train, now_ms)) return Found::unknown;
    if (train.given_up) return Found::no_ports;
    later->source_port = train.source_port;
    later->destination_port = train.destination_port;
    later->protocol = train.protocol;
    later->flags |= wire::kHasPorts;
    return Found::ports;
  }
  return Found::unknown;
}

uint32_t FragmentTable::size(uint32_t now_ms) const {
  uint32_t live = 0;
  for (uint32_t i = 0; i < capacity(); ++i) live += alive(trains_[i], now_ms);
  return live;
}

}  // namespace gwlb::flow
