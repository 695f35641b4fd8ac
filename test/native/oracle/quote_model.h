// A second reading of the packet quoted by an ICMP error (RFC 792, 1122, 4443, 4884).
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include "test/native/oracle/inner_model.h"

namespace gwlb::test {

namespace quote_model {

// Where the transport header of a quoted IPv6 packet is; `*end` where the quote ends before it.
inline bool walk(const std::vector<uint8_t>& q, ModelInner* out, size_t end) {
  static const std::vector<int> kExtensions = {0, 43, 44, 51, 60, 135, 139, 140};
  int headers = 0;
  bool fragment = false;
  size_t at = 40;
  while (std::find(kExtensions.begin(), kExtensions.end(), out->protocol) != kExtensions.end()) {
    if (++headers > 8) return false;
    if (end - at < 8) {
      at = end;
      break;
    }
    size_t size = (q[at + 1] + 1u) * 8;
    if (out->protocol == 51) size = (q[at + 1] + 2u) * 4;
    if (out->protocol == 44) {
      if (fragment) return false;
      fragment = true;
      size = 8;
      out->fragment_offset = (q[at + 2] * 256u + q[at + 3]) / 8 * 8;
      out->later = out->fragment_offset != 0;
      out->first = !out->later && q[at + 3] % 2 == 1;
      for (size_t i = 4; i < 8 && (out->first || out->later); ++i) {
        out->fragment_id = out->fragment_id * 256 + q[at + i];
      }
    }
    if (end - at < size) {
      at = end;
      break;
    }
    out->protocol = q[at];
    at += size;
    if (out->later) break;
  }
  out->transport = at;
  return true;
}

inline ModelInner bad() { return inner_model::refused(base::DropReason::icmp_bad_quote); }

inline ModelInner finish(ModelInner out, const std::vector<uint8_t>& q) {
  const size_t left = out.total - out.transport;
  const size_t t = out.transport;
  if (out.later) return out;
  static const std::vector<int> kWithPorts = {6, 17, 132, 136};
  if (std::find(kWithPorts.begin(), kWithPorts.end(), out.protocol) != kWithPorts.end()) {
    out.ports = left >= 4;
    if (out.ports) {
      out.source_port = q[t] * 256 + q[t + 1];
      out.destination_port = q[t + 2] * 256 + q[t + 3];
    }
  } else if (out.protocol == (out.version == 4 ? 1 : 58) && left > 0) {
    out.icmp_type = q[t];
    out.icmp_code = left > 1 ? q[t + 1] : 0;
    static const std::vector<int> kErrors = {3, 4, 5, 11, 12};
    const bool listed = std::find(kErrors.begin(), kErrors.end(), out.icmp_type) != kErrors.end();
    if (out.version == 6 ? out.icmp_type <= 127 : listed) return bad();
  }
  return out;
}

}  // namespace quote_model

// `error` is the model of the error packet in `data`.
inline ModelInner model_quote(const uint8_t* data, const ModelInner& error) {
  const uint8_t* icmp = data + error.transport;
  std::vector<uint8_t> q(icmp + 8, data + error.total);
  size_t limit = q.size();
  const int type = icmp[0];
  if (error.version == 4 && (type == 3 || type == 11 || type == 12)) limit = icmp[5] * 4u;
  if (error.version == 6 && (type == 1 || type == 3)) limit = icmp[4] * 8u;
  if (limit != 0 && limit < q.size()) q.resize(limit);
  if (q.empty() || q[0] / 16 != error.version) return quote_model::bad();
  ModelInner out;
  out.version = error.version;
  if (out.version == 4) {
    if (q.size() < 20) return quote_model::bad();
    const size_t header = static_cast<size_t>(q[0] % 16) * 4;
    const size_t total = q[2] * 256u + q[3];
    if (header < 20 || total < header) return quote_model::bad();
    out.total = std::min(total, q.size());
    out.transport = std::min(header, out.total);
    out.protocol = q[9];
    out.source.assign(q.begin() + 12, q.begin() + 16);
    out.destination.assign(q.begin() + 16, q.begin() + 20);
    out.fragment_offset = (q[6] % 32 * 256u + q[7]) * 8;
    out.later = out.fragment_offset != 0;
    out.first = !out.later && q[6] / 32 % 2 == 1;
    if (out.first || out.later) out.fragment_id = q[4] * 256u + q[5];
  } else {
    if (q.size() < 40) return quote_model::bad();
    out.total = std::min<size_t>(40u + q[4] * 256u + q[5], q.size());
    out.protocol = q[6];
    out.source.assign(q.begin() + 8, q.begin() + 24);
    out.destination.assign(q.begin() + 24, q.begin() + 40);
    if (!quote_model::walk(q, &out, out.total)) return quote_model::bad();
  }
  return quote_model::finish(out, q);
}

}  // namespace gwlb::test
