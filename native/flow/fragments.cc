#include "flow/fragments.h"

#include <algorithm>
#include <cstring>
#include <new>
#include <utility>

#include "base/assert.h"

namespace gwlb::flow {

std::unique_ptr<FragmentTable> FragmentTable::create(uint32_t trains, uint32_t lifetime_ms,
                                                     base::HashKey key) {
  GWLB_ASSERT(trains >= 1 && trains <= 1u << 24 && lifetime_ms < 1u << 31);
  const uint32_t sets = (trains + kWays - 1) / kWays;
  Pages pages = Pages::map(size_t{sets} * (sizeof(Line) + kWays * sizeof(Train)));
  if (pages.data() == nullptr) return nullptr;
  return std::unique_ptr<FragmentTable>(
      new (std::nothrow) FragmentTable(sets, lifetime_ms, key, std::move(pages)));
}

FragmentTable::FragmentTable(uint32_t sets, uint32_t lifetime_ms, base::HashKey key, Pages pages)
    : lines_(static_cast<Line*>(pages.data())),
      trains_(reinterpret_cast<Train*>(lines_ + sets)),
      sets_(sets),
      lifetime_ms_(lifetime_ms),
      key_(key),
      pages_(std::move(pages)) {}

// A fragment of this train has come. Anything but the last one's length is a multiple of 8; of
// another one the rest is not counted, as nobody can use it (RFC 791 section 3.2).
void FragmentTable::Train::add(const wire::InnerPacket& fragment) {
  if ((state & (kComplete | kUncertain)) != 0) return;
  const uint32_t last_byte = fragment.fragment_offset + fragment.fragment_length;
  Stretch came{static_cast<uint16_t>(fragment.fragment_offset / 8),
               static_cast<uint16_t>(std::min(last_byte, uint32_t{1} << 16) / 8)};
  if (!fragment.more_fragments) {
    came.to = static_cast<uint16_t>((std::min(last_byte, uint32_t{1} << 16) + 7) / 8);
    if (end != 0 && end != came.to) state |= kUncertain;
    end = came.to;
  }
  uint32_t kept = 0;
  for (uint32_t k = 0; k < stretches; ++k) {
    const Stretch known = stretch[k];
    if (known.from <= came.to && came.from <= known.to) {
      came = {std::min(known.from, came.from), std::max(known.to, came.to)};
    } else {
      stretch[kept++] = known;
    }
  }
  if (kept == kStretches) {
    state |= kUncertain;
    return;
  }
  stretch[kept++] = came;
  stretches = static_cast<uint8_t>(kept);
  if (kept == 1 && came.from == 0 && came.to == end) state |= kComplete;
}

FragmentTable::Key FragmentTable::make_key(const wire::InnerPacket& packet, uint32_t id,
                                           uint16_t scope) {
  GWLB_ASSERT(packet.version == 4 || packet.version == 6);
  const size_t length = packet.version == 4 ? 4 : 16;
  Key key = {};
  std::memcpy(key.source, packet.source, length);
  std::memcpy(key.destination, packet.destination, length);
  key.id = id;
  key.scope = scope;
  key.protocol = packet.version == 4 ? packet.protocol : 0;
  key.version = packet.version;
  return key;
}

FragmentTable::Place FragmentTable::set_of(const Key& key) const {
  const uint64_t hash = base::siphash13<sizeof(Key)>(key_, &key);
  const auto tag = static_cast<uint16_t>(hash);
  return {static_cast<uint32_t>((hash >> 32) * sets_ >> 32), tag == 0 ? uint16_t{1} : tag, 0};
}

// Null where it is not known or not alive.
FragmentTable::Train* FragmentTable::train_of(const Key& key, Place place, Pass pass,
                                              uint32_t now_ms) const {
  const Line& line = lines_[place.set];
  Train* set = trains_ + size_t{place.set} * kWays;
  for (uint32_t way = 0; way < kWays; ++way) {
    if (line.tag[way] != place.tag || !alive(line, way, now_ms)) continue;
    if (set[way].pass == pass && std::memcmp(&set[way].key, &key, sizeof key) == 0) {
      return set + way;
    }
  }
  return nullptr;
}

// An empty train, in place of itself or of the one that gives way.
FragmentTable::Train* FragmentTable::begin(const Key& key, Pass pass, uint32_t now_ms) {
  Place place = set_of(key);
  Line& line = lines_[place.set];
  Train* train = train_of(key, place, pass, now_ms);
  if (train != nullptr) {
    place.way = static_cast<uint16_t>(train - (trains_ + size_t{place.set} * kWays));
  } else {
    uint32_t oldest = 0;
    for (uint16_t way = 0; way < kWays; ++way) {
      // What is dead counts as older than anything alive.
      const uint32_t age = alive(line, way, now_ms) ? now_ms - line.bound_ms[way] : 1u << 31;
      if (way != 0 && age <= oldest) continue;
      place.way = way;
      oldest = age;
    }
    train = trains_ + size_t{place.set} * kWays + place.way;
  }
  line.bound_ms[place.way] = now_ms;
  line.tag[place.way] = place.tag;
  *train = Train{};
  train->key = key;
  train->pass = pass;
  return train;
}

void FragmentTable::bind(const wire::InnerPacket& first, uint16_t scope, Pass pass,
                         uint32_t now_ms) {
  if ((first.flags & wire::kHasPorts) == 0) return;
  const Key key = make_key(first, first.fragment_id, scope);
  Train* known = train_of(key, set_of(key), pass, now_ms);
  if (known != nullptr && (known->state & (kGivenUp | kComplete)) == kGivenUp) {
    return known->add(first);
  }
  Train* train = begin(key, pass, now_ms);
  train->source_port = first.source_port;
  train->destination_port = first.destination_port;
  train->protocol = first.protocol;
  train->add(first);
}

void FragmentTable::bind_whole(const wire::InnerPacket& packet, uint32_t id, uint16_t scope,
                               uint32_t now_ms) {
  if ((packet.flags & wire::kHasPorts) == 0) return;
  Train* train = begin(make_key(packet, id, scope), Pass::entering, now_ms);
  train->source_port = packet.source_port;
  train->destination_port = packet.destination_port;
  train->protocol = packet.protocol;
  train->state = kComplete;
}

void FragmentTable::give_up(const wire::InnerPacket& later, uint16_t scope, uint32_t now_ms) {
  Train* train = begin(make_key(later, later.fragment_id, scope), Pass::entering, now_ms);
  train->protocol = later.protocol;
  train->state = kGivenUp;
}

namespace {

template <class Train>
void take_ports(const Train& train, wire::InnerPacket* later) {
  later->source_port = train.source_port;
  later->destination_port = train.destination_port;
  later->protocol = train.protocol;
  later->flags |= wire::kHasPorts;
}

}  // namespace

// `*own`: the train that the fragment is part of, or null.
FragmentTable::Found FragmentTable::search(wire::InnerPacket* later, uint16_t scope, Pass pass,
                                           uint32_t now_ms, Train** own) const {
  const Key key = make_key(*later, later->fragment_id, scope);
  const Place place = set_of(key);
  *own = train_of(key, place, pass, now_ms);
  const Train* train = *own;
  const bool over = train != nullptr && (train->state & kComplete) != 0;
  if (over) *own = nullptr;
  if (pass == Pass::returned && *own == nullptr) {
    const Train* entered = train_of(key, place, Pass::entering, now_ms);
    if (entered != nullptr) train = entered;
  }
  if (train == nullptr) return Found::unknown;
  const bool has_ports = (train->state & kGivenUp) == 0;
  if (has_ports) take_ports(*train, later);
  if (over && pass == Pass::entering) return Found::over;
  return has_ports ? Found::ports : Found::no_ports;
}

FragmentTable::Found FragmentTable::come(wire::InnerPacket* later, uint16_t scope, Pass pass,
                                         uint32_t now_ms) {
  Train* own;
  const Found found = search(later, scope, pass, now_ms, &own);
  if (own != nullptr) own->add(*later);
  return found;
}

FragmentTable::Found FragmentTable::find(wire::InnerPacket* later, uint16_t scope, Pass pass,
                                         uint32_t now_ms) const {
  Train* own;
  return search(later, scope, pass, now_ms, &own);
}

FragmentTable::Found FragmentTable::find_quoted(wire::InnerPacket* later, uint16_t scope,
                                                uint32_t now_ms) const {
  const Key key = make_key(*later, later->fragment_id, scope);
  const Place place = set_of(key);
  const Train* train = train_of(key, place, Pass::entering, now_ms);
  if (train == nullptr) train = train_of(key, place, Pass::returned, now_ms);
  if (train == nullptr) return Found::unknown;
  if ((train->state & kGivenUp) != 0) return Found::no_ports;
  take_ports(*train, later);
  return Found::ports;
}

uint32_t FragmentTable::size(uint32_t now_ms) const {
  uint32_t live = 0;
  for (uint32_t set = 0; set < sets_; ++set) {
    for (uint32_t way = 0; way < kWays; ++way) live += alive(lines_[set], way, now_ms);
  }
  return live;
}

}  // namespace gwlb::flow
