// A second reading of an inner packet, written from RFC 791, 8200, 1858, 3128, 6946 and 7112 and
// not from native/wire. It says what a packet is or why it is refused; not where.
#pragma once

#include <algorithm>
#include <cstdint>
#include <map>
#include <vector>

#include "base/drop_reason.h"
#include "wire/inner.h"

namespace gwlb::test {

struct ModelInner {
  base::DropReason reason = base::DropReason::none;
  std::vector<uint8_t> source;
  std::vector<uint8_t> destination;
  size_t total = 0;
  size_t transport = 0;
  uint32_t fragment_id = 0;
  uint32_t fragment_offset = 0;
  size_t fragment_length = 0;
  int version = 0;
  int protocol = 0;
  int source_port = 0;
  int destination_port = 0;
  int tcp_flags = 0;
  int icmp_type = 0;
  int icmp_code = 0;
  bool first = false;
  bool later = false;
  bool more = false;
  bool ports = false;
  bool icmp_error = false;
};

namespace inner_model {

inline ModelInner refused(base::DropReason reason) {
  ModelInner out;
  out.reason = reason;
  return out;
}

inline ModelInner transport(ModelInner packet, const std::vector<uint8_t>& p) {
  using base::DropReason;
  // protocol -> bytes of a whole header, bytes of an IPv4 first fragment
  static const std::map<int, std::pair<size_t, size_t>> kNeeds = {
      {6, {20, 16}}, {17, {8, 8}}, {136, {8, 8}}, {132, {12, 8}}};
  const bool icmp = packet.protocol == (packet.version == 4 ? 1 : 58);
  const auto known = kNeeds.find(packet.protocol);
  if (!icmp && known == kNeeds.end()) return packet;
  size_t needs = icmp ? 8 : known->second.first;
  if (packet.first && packet.version == 4) needs = icmp ? 8 : known->second.second;
  if (packet.total - packet.transport < needs) {
    return refused(packet.first ? DropReason::inner_bad_fragment : DropReason::inner_truncated);
  }
  const size_t t = packet.transport;
  if (icmp) {
    packet.icmp_type = p[t];
    packet.icmp_code = p[t + 1];
    static const std::vector<int> kErrors = {3, 4, 5, 11, 12};
    packet.icmp_error = packet.version == 6 ? packet.icmp_type <= 127
                                            : std::find(kErrors.begin(), kErrors.end(),
                                                        packet.icmp_type) != kErrors.end();
    return packet;
  }
  packet.ports = true;
  packet.source_port = p[t] * 256 + p[t + 1];
  packet.destination_port = p[t + 2] * 256 + p[t + 3];
  if (packet.protocol == 6) packet.tcp_flags = p[t + 13];
  return packet;
}

inline ModelInner ipv4(const std::vector<uint8_t>& p) {
  using base::DropReason;
  if (p.size() < 20) return refused(DropReason::inner_truncated);
  ModelInner out;
  out.version = 4;
  out.transport = static_cast<size_t>(p[0] % 16) * 4;
  out.total = p[2] * 256u + p[3];
  if (out.transport < 20) return refused(DropReason::inner_bad_header_length);
  if (out.total < out.transport) return refused(DropReason::inner_bad_total_length);
  if (out.total > p.size()) return refused(DropReason::inner_truncated);
  out.source.assign(p.begin() + 12, p.begin() + 16);
  out.destination.assign(p.begin() + 16, p.begin() + 20);
  out.protocol = p[9];
  out.fragment_offset = (p[6] % 32 * 256u + p[7]) * 8;
  const bool more = p[6] / 32 % 2 == 1;
  out.first = more && out.fragment_offset == 0;
  out.later = out.fragment_offset != 0;
  if (out.first || out.later) {
    out.fragment_id = p[4] * 256u + p[5];
    out.fragment_length = out.total - out.transport;
    out.more = more;
  }
  if (out.later) {
    const bool attack = out.protocol == 6 && out.fragment_offset == 8;
    return attack ? refused(DropReason::inner_bad_fragment) : out;
  }
  return transport(out, p);
}

inline ModelInner ipv6(const std::vector<uint8_t>& p) {
  using base::DropReason;
  if (p.size() < 40) return refused(DropReason::inner_truncated);
  ModelInner out;
  out.version = 6;
  out.total = 40u + p[4] * 256u + p[5];
  out.protocol = p[6];
  if (out.total == 40 && out.protocol == 0) return refused(DropReason::inner_bad_total_length);
  if (out.total > p.size()) return refused(DropReason::inner_truncated);
  out.source.assign(p.begin() + 8, p.begin() + 24);
  out.destination.assign(p.begin() + 24, p.begin() + 40);
  out.transport = 40;
  static const std::vector<int> kExtensions = {0, 43, 44, 51, 60, 135, 139, 140};
  int headers = 0;
  int fragment_headers = 0;
  while (std::find(kExtensions.begin(), kExtensions.end(), out.protocol) != kExtensions.end()) {
    if (++headers > 8) return refused(DropReason::inner_too_many_extensions);
    const auto cut = out.first ? DropReason::inner_bad_fragment : DropReason::inner_truncated;
    const size_t at = out.transport;
    if (out.total - at < 8) return refused(cut);
    if (out.protocol == 44) {
      if (++fragment_headers > 1) return refused(DropReason::inner_bad_fragment);
      out.fragment_offset = (p[at + 2] * 256u + p[at + 3]) / 8 * 8;
      out.later = out.fragment_offset != 0;
      out.first = !out.later && p[at + 3] % 2 == 1;
      if (out.first || out.later) {
        for (size_t i = 4; i < 8; ++i) out.fragment_id = out.fragment_id * 256 + p[at + i];
      }
      out.transport += 8;
      if (out.first || out.later) {
        out.fragment_length = out.total - out.transport;
        out.more = p[at + 3] % 2 == 1;
      }
    } else {
      const size_t size = out.protocol == 51 ? (p[at + 1] + 2u) * 4 : (p[at + 1] + 1u) * 8;
      if (out.total - at < size) return refused(cut);
      out.transport += size;
    }
    out.protocol = p[at];
    if (out.later) {
      const bool attack = out.protocol == 6 && out.fragment_offset == 8;
      return attack ? refused(DropReason::inner_bad_fragment) : out;
    }
  }
  return transport(out, p);
}

}  // namespace inner_model

inline ModelInner model_inner(const uint8_t* data, size_t size) {
  const std::vector<uint8_t> p(data, data + size);
  if (p.empty()) return inner_model::refused(base::DropReason::inner_truncated);
  if (p[0] / 16 == 4) return inner_model::ipv4(p);
  if (p[0] / 16 == 6) return inner_model::ipv6(p);
  return inner_model::refused(base::DropReason::inner_bad_version);
}

// "" where `packet`, parsed from `data`, is what the model says; else what differs.
inline const char* inner_difference(const ModelInner& model, const wire::InnerPacket& packet,
                                    const uint8_t* data, int extra_flags = 0) {
  const bool four = model.version == 4;
  if (packet.version != model.version) return "version";
  if (packet.source != data + (four ? 12 : 8)) return "source";
  if (!std::equal(model.source.begin(), model.source.end(), packet.source)) return "source bytes";
  if (packet.destination != data + (four ? 16 : 24)) return "destination";
  if (packet.total_length != model.total) return "total_length";
  if (packet.transport_offset != model.transport) return "transport_offset";
  if (packet.protocol != model.protocol) return "protocol";
  if (packet.fragment_id != model.fragment_id) return "fragment_id";
  if (packet.fragment_offset != model.fragment_offset) return "fragment_offset";
  const bool quote = (extra_flags & wire::kQuote) != 0;
  if (packet.fragment_length != (quote ? 0 : model.fragment_length)) return "fragment_length";
  if (packet.more_fragments != (!quote && model.more)) return "more_fragments";
  if (packet.source_port != model.source_port) return "source_port";
  if (packet.destination_port != model.destination_port) return "destination_port";
  if (packet.tcp_flags != model.tcp_flags) return "tcp_flags";
  if (packet.icmp_type != model.icmp_type) return "icmp_type";
  if (packet.icmp_code != model.icmp_code) return "icmp_code";
  const int flags = (model.ports ? wire::kHasPorts : 0) | (model.first ? wire::kFirstFragment : 0) |
                    (model.later ? wire::kLaterFragment : 0) |
                    (model.icmp_error ? wire::kIcmpError : 0) | extra_flags;
  if (packet.flags != flags) return "flags";
  return "";
}

}  // namespace gwlb::test
