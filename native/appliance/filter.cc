#include "appliance/filter.h"

#include <utility>

#include "base/bytes.h"

namespace gwlb::appliance {

bool Filter::read_test(const uint32_t* words, size_t at, size_t tests, Test* out) {
  const uint32_t kind = words[0] & 0xff;
  const uint32_t direction = words[0] >> 8 & 0xff;
  const uint32_t version = words[0] >> 16;
  if (kind > static_cast<uint32_t>(Kind::port)) return false;
  const bool of_ends = kind >= static_cast<uint32_t>(Kind::address);
  if (of_ends ? direction < 1 || direction > 4 : direction != 0) return false;
  const bool of_version =
      kind == static_cast<uint32_t>(Kind::version) || kind == static_cast<uint32_t>(Kind::address);
  if (of_version ? version != 4 && version != 6 : version != 0) return false;
  *out = {};
  out->kind = static_cast<Kind>(kind);
  out->direction = static_cast<Direction>(direction);
  out->version = static_cast<uint8_t>(version);
  out->on_true = static_cast<uint16_t>(words[1]);
  out->on_false = static_cast<uint16_t>(words[1] >> 16);
  for (const uint16_t next : {out->on_true, out->on_false}) {
    if (next != kAccept && next != kReject && (next <= at || next >= tests)) return false;
  }
  out->low = static_cast<uint16_t>(words[2]);
  out->high = static_cast<uint16_t>(words[2] >> 16);
  for (uint32_t k = 0; k < 4; ++k) {
    out->address[k] = words[4 + k];
    out->mask[k] = words[8 + k];
  }
  return true;
}

bool Filter::read(const uint32_t* words, size_t count, Filter* out) {
  const size_t tests = count / kWords;
  if (count % kWords != 0 || tests > kTestsMax) return false;
  std::vector<Test> read(tests);
  for (size_t at = 0; at < tests; ++at) {
    if (!read_test(words + at * kWords, at, tests, &read[at])) return false;
  }
  out->tests_ = std::move(read);
  return true;
}

bool Filter::Test::has_address(const uint8_t* bytes) const {
  const uint32_t words = version == 4 ? 1 : 4;
  uint32_t different = 0;
  for (uint32_t k = 0; k < words; ++k) {
    different |= (base::load_be32(bytes + 4 * k) ^ address[k]) & mask[k];
  }
  return different == 0;
}

bool Filter::Test::of_ends(bool source, bool destination) const {
  switch (direction) {
    case Direction::source:
      return source;
    case Direction::destination:
      return destination;
    case Direction::either:
      return source || destination;
    default:
      return source && destination;
  }
}

bool Filter::Test::holds(const wire::InnerPacket& packet) const {
  const auto in_range = [this](uint16_t port) { return low <= port && port <= high; };
  switch (kind) {
    case Kind::version:
      return packet.version == version;
    case Kind::protocol:
      return in_range(packet.protocol);
    case Kind::address:
      return packet.version == version &&
             of_ends(has_address(packet.source), has_address(packet.destination));
    default:
      return (packet.flags & wire::kHasPorts) != 0 &&
             of_ends(in_range(packet.source_port), in_range(packet.destination_port));
  }
}

bool Filter::matches(const wire::InnerPacket& packet) const {
  uint16_t at = tests_.empty() ? kAccept : 0;
  while (at < kReject) at = tests_[at].holds(packet) ? tests_[at].on_true : tests_[at].on_false;
  return at == kAccept;
}

}  // namespace gwlb::appliance
