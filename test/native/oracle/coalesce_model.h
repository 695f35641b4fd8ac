// Coalescing read a second time, from what it is for: a packet joins those of its flow if the
// super-packet of all of them, cut by the model of segmentation, is these packets again.
#pragma once

#include <algorithm>
#include <array>
#include <vector>

#include "test/native/oracle/segment_model.h"

namespace gwlb::test {

struct ModelGroup {
  std::vector<size_t> packets;  // their numbers
  bool open = false;
};

namespace coalesce_model {

inline bool is(const Bytes& p, int version) {
  return p.size() >= (version == 4 ? 20u : 40u) && p[0] >> 4 == version;
}
inline Bytes part(const Bytes& p, size_t from, size_t to) {
  return Bytes(p.begin() + static_cast<std::ptrdiff_t>(from),
               p.begin() + static_cast<std::ptrdiff_t>(to));
}
inline Bytes addresses(const Bytes& p) {
  Bytes out = is(p, 4) ? part(p, 12, 20) : part(p, 8, 40);
  out.push_back(p[0] >> 4);
  return out;
}
// The offset of TCP or UDP in a packet of the plainest shape; 0 for others.
inline size_t plain(const Bytes& p, bool udp) {
  if (!is(p, 4) && !is(p, 6)) return 0;
  const size_t at = is(p, 4) ? 20 : 40;
  const uint8_t protocol = is(p, 4) ? p[9] : p[6];
  if (protocol != 6 && (protocol != 17 || !udp)) return 0;
  if (at == 20 && (p[0] != 0x45 || (p[6] & 0x3f) != 0 || p[7] != 0)) return 0;
  const size_t length = at == 20 ? p[2] * 256u + p[3] : 40 + p[4] * 256u + p[5];
  return length == p.size() && length >= at + (protocol == 6 ? 20 : 8) ? at : 0;
}
// May hide the ports of one that is plain.
inline bool hides(const Bytes& p, bool udp) {
  constexpr std::array<int, 8> kExtensions = {0, 43, 44, 51, 60, 135, 139, 140};
  if (plain(p, udp) != 0) return false;
  if (is(p, 4)) return p[9] == 6 || (p[9] == 17 && udp);
  if (!is(p, 6)) return false;
  const bool extended =
      std::find(kExtensions.begin(), kExtensions.end(), p[6]) != kExtensions.end();
  return extended || p[6] == 6 || (p[6] == 17 && udp);
}
inline Bytes flow(const Bytes& p, size_t at) {
  Bytes out = addresses(p);
  out.push_back(is(p, 4) ? p[9] : p[6]);
  append(out, part(p, at, at + 4));
  return out;
}
inline size_t headers(const Bytes& p, size_t at) {
  const bool tcp = (at == 20 ? p[9] : p[6]) == 6;
  return at + (tcp ? (p[at + 12] >> 4) * size_t{4} : 8);
}
// Could it be one of several?
inline bool mergeable(const Bytes& p, size_t at) {
  const bool tcp = (at == 20 ? p[9] : p[6]) == 6;
  if (headers(p, at) >= p.size() || (tcp && p[at + 12] < 0x50)) return false;
  if (tcp) return (p[at + 13] & 0x36) == 0x10 && !(p[at + 16] == 0xff && p[at + 17] == 0xff);
  return (p[at + 6] != 0 || p[at + 7] != 0) && p[at + 4] * 256u + p[at + 5] == p.size() - at;
}

}  // namespace coalesce_model

// The super-packet of these, with its transport checksum left at 0; nothing where it is too long.
inline Bytes model_merge(const std::vector<Bytes>& packets) {
  using namespace coalesce_model;
  Bytes out = packets[0];
  const size_t at = plain(out, true);
  const bool tcp = (at == 20 ? out[9] : out[6]) == 6;
  for (size_t i = 1; i < packets.size(); ++i) {
    append(out, part(packets[i], headers(packets[i], at), packets[i].size()));
  }
  if (out.size() > 65535) return {};
  put16(out, at == 20 ? 2 : 4, static_cast<uint16_t>(out.size() - (at == 20 ? 0 : 40)));
  if (tcp) {
    out[at + 13] |= packets.back()[at + 13] & 9;
  } else {
    put16(out, at + 4, static_cast<uint16_t>(out.size() - at));
  }
  fix_checksums(out, at, tcp ? 6 : 17);
  put16(out, at + (tcp ? 16 : 6), 0);
  return out;
}

inline bool model_may_join(std::vector<Bytes> group, const Bytes& packet) {
  const size_t at = coalesce_model::plain(group[0], true);
  const size_t segment = group[0].size() - coalesce_model::headers(group[0], at);
  group.push_back(packet);
  const Bytes merged = model_merge(group);
  return !merged.empty() && model_segments(merged, segment) == group;
}

// Whether nothing can follow the last packet of the group.
inline bool model_ended(const std::vector<Bytes>& packets, const std::vector<size_t>& group) {
  using namespace coalesce_model;
  const Bytes& last = packets[group.back()];
  const size_t at = plain(last, true);
  const bool tcp = (at == 20 ? last[9] : last[6]) == 6;
  return last.size() < packets[group[0]].size() || (tcp && (last[at + 13] & 9) != 0);
}

inline std::vector<std::vector<size_t>> model_plan(const std::vector<Bytes>& packets, bool udp,
                                                   size_t open_max) {
  using namespace coalesce_model;
  std::vector<ModelGroup> groups;
  const auto members = [&](const ModelGroup& group) {
    std::vector<Bytes> out;
    for (const size_t k : group.packets) out.push_back(packets[k]);
    return out;
  };
  for (size_t i = 0; i < packets.size(); ++i) {
    const Bytes& p = packets[i];
    const size_t at = plain(p, udp);
    bool joined = false;
    for (ModelGroup& group : groups) {
      if (!group.open) continue;
      const Bytes& first = packets[group.packets[0]];
      if (hides(p, udp) && addresses(p) == addresses(first)) group.open = false;
      if (at == 0 || plain(first, udp) != at || flow(first, at) != flow(p, at)) continue;
      joined = mergeable(p, at) && model_may_join(members(group), p);
      if (joined) group.packets.push_back(i);
      group.open = joined && !model_ended(packets, group.packets);
    }
    if (joined) continue;
    const auto open =
        std::count_if(groups.begin(), groups.end(), [](const auto& g) { return g.open; });
    groups.push_back({{i}, at != 0 && mergeable(p, at) && !model_ended(packets, {i})});
    if (!groups.back().open || open < static_cast<std::ptrdiff_t>(open_max)) continue;
    ModelGroup* oldest = nullptr;
    for (ModelGroup& group : groups) {
      if (!group.open) continue;
      if (oldest == nullptr || group.packets.back() < oldest->packets.back()) oldest = &group;
    }
    oldest->open = false;
  }
  std::vector<std::vector<size_t>> out;
  for (const ModelGroup& group : groups) out.push_back(group.packets);
  return out;
}

}  // namespace gwlb::test
