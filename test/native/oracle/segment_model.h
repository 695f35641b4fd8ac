// Segmentation read a second time, from what a sender without offload would have sent: each
// segment is built from scratch as a packet of its own (RFC 9293, 768, 791, 8200; CWR by RFC 3168).
#pragma once

#include <vector>

#include "test/native/bulk_rig.h"

namespace gwlb::test {

struct ModelSuper {
  bool ok = false;
  bool tcp = false;
  size_t transport = 0;
  size_t headers = 0;
};

// Where the transport header of a whole IP packet is; 0 where it has none or is a fragment.
inline size_t model_super_transport(const Bytes& p, int* protocol) {
  if (p.size() >= 20 && p[0] >> 4 == 4) {
    const size_t header = (p[0] & 15u) * 4u;
    const bool whole = p[2] * 256u + p[3] == p.size() && (p[6] & 0x3f) == 0 && p[7] == 0;
    *protocol = p[9];
    return header >= 20 && header <= p.size() && whole ? header : 0;
  }
  if (p.size() < 40 || p[0] >> 4 != 6 || p[4] * 256u + p[5] + 40 != p.size()) return 0;
  size_t at = 40;
  int next = p[6];
  for (int headers = 0; next == 0 || next == 43 || next == 60; ++headers) {
    if (headers == 8 || at + 8 > p.size()) return 0;
    if (next == 43 && p[at + 3] > 0) return 0;
    next = p[at];
    at += 8 * (p[at + 1] + size_t{1});
    if (at > p.size() || at > 256) return 0;
  }
  *protocol = next;
  return at;
}

inline ModelSuper model_super(const Bytes& p, size_t segment) {
  ModelSuper out;
  int protocol = 0;
  out.transport = model_super_transport(p, &protocol);
  if (segment == 0 || out.transport == 0 || (protocol != 6 && protocol != 17)) return out;
  out.tcp = protocol == 6;
  const size_t left = p.size() - out.transport;
  if (left < (out.tcp ? 20u : 8u)) return out;
  const uint8_t* header = p.data() + out.transport;
  if (!out.tcp && header[4] * 256u + header[5] != left) return out;
  if (out.tcp && header[12] < 0x50) return out;
  out.headers = out.transport + (out.tcp ? (header[12] >> 4) * size_t{4} : 8);
  out.ok = out.headers < p.size() && out.headers <= 256;
  return out;
}

inline size_t model_segment_count(const Bytes& p, size_t segment) {
  const ModelSuper super = model_super(p, segment);
  return super.ok ? (p.size() - super.headers + segment - 1) / segment : 0;
}

inline Bytes model_segment(const Bytes& p, size_t segment, size_t k) {
  const ModelSuper super = model_super(p, segment);
  const size_t from = super.headers + k * segment;
  const size_t to = from + segment < p.size() ? from + segment : p.size();
  const bool last = to == p.size();
  Bytes s(p.begin(), p.begin() + static_cast<std::ptrdiff_t>(super.headers));
  append(s, Bytes(p.begin() + static_cast<std::ptrdiff_t>(from),
                  p.begin() + static_cast<std::ptrdiff_t>(to)));
  if (s[0] >> 4 == 4) {
    put16(s, 2, static_cast<uint16_t>(s.size()));
    put16(s, 4, static_cast<uint16_t>(p[4] * 256u + p[5] + k));
  } else {
    put16(s, 4, static_cast<uint16_t>(s.size() - 40));
  }
  const size_t t = super.transport;
  if (super.tcp) {
    const uint32_t sequence = uint32_t{p[t + 4]} << 24 | uint32_t{p[t + 5]} << 16 |
                              uint32_t{p[t + 6]} << 8 | uint32_t{p[t + 7]};
    put32(s, t + 4, static_cast<uint32_t>(sequence + k * segment));
    if (k > 0) s[t + 13] &= 0x7f;
    if (!last) s[t + 13] &= 0xf6;
  } else {
    put16(s, t + 4, static_cast<uint16_t>(s.size() - t));
  }
  fix_checksums(s, t, super.tcp ? 6 : 17);
  return s;
}

inline std::vector<Bytes> model_segments(const Bytes& p, size_t segment) {
  std::vector<Bytes> out(model_segment_count(p, segment));
  for (size_t k = 0; k < out.size(); ++k) out[k] = model_segment(p, segment, k);
  return out;
}

}  // namespace gwlb::test
