#include "appliance/appliance.h"

#include <algorithm>
#include <cstring>

#include "base/assert.h"
#include "base/bytes.h"
#include "wire/answer.h"
#include "wire/ecn.h"
#include "wire/geneve.h"

namespace gwlb::appliance {
namespace {

using base::DropReason;
using batch::PacketBatch;
using batch::Verdict;

constexpr uint32_t kProtocolTypeAt = 2;  // in the GENEVE header
constexpr uint32_t kEtherTypeBytes = 2;  // the last bytes of an Ethernet header, tags or not

uint16_t ether_type(uint8_t version) {
  return version == 4 ? wire::kEtherTypeIpv4 : wire::kEtherTypeIpv6;
}

// What is in front of the inner IP packet: *ip_offset from the payload's start, *type the EtherType
// that announces it.
DropReason find_inner(const uint8_t* payload, uint32_t length, const wire::GeneveHeader& header,
                      uint32_t* ip_offset, uint16_t* type) {
  *ip_offset = header.header_length();
  *type = header.protocol_type;
  if (header.protocol_type == wire::kEtherTypeEthernet) {
    wire::EthernetFrame frame;
    const wire::ParseError error =
        wire::parse_ethernet(payload + *ip_offset, length - *ip_offset, &frame);
    if (!error.ok()) return error.reason;
    *ip_offset += frame.header_length;
    *type = frame.ether_type;
  }
  const bool is_ip = *type == wire::kEtherTypeIpv4 || *type == wire::kEtherTypeIpv6;
  return is_ip ? DropReason::none : DropReason::geneve_bad_protocol;
}

DropReason open_packet(uint8_t* payload, uint32_t length, uint8_t outer_tos, uint16_t option_class,
                       Opened* out) {
  wire::GeneveHeader header;
  wire::ParseError error =
      wire::parse_gateway_header(payload, length, option_class, &header, &out->options);
  if (!error.ok()) return error.reason;
  uint32_t ip_offset = 0;
  uint16_t type = 0;
  const DropReason reason = find_inner(payload, length, header, &ip_offset, &type);
  if (reason != DropReason::none) return reason;
  error = wire::parse_inner(payload + ip_offset, length - ip_offset, &out->inner);
  if (!error.ok()) return error.reason;
  if (ether_type(out->inner.version) != type) return DropReason::inner_bad_version;
  out->header_bytes = ip_offset;
  out->vni = header.vni;
  out->length = out->inner.total_length;
  out->tail = length - ip_offset - out->length;
  return wire::carry_congestion(payload + ip_offset, outer_tos) ? DropReason::none
                                                                : DropReason::ecn_not_capable;
}

bool prefix_matches(const uint8_t* rule, const uint8_t* address, uint32_t bits) {
  const uint32_t bytes = bits / 8;
  if (std::memcmp(rule, address, bytes) != 0) return false;
  const uint32_t rest = bits % 8;
  return rest == 0 || ((rule[bytes] ^ address[bytes]) >> (8 - rest)) == 0;
}

}  // namespace

bool matches(const DropRule& rule, const wire::InnerPacket& packet) {
  if (rule.protocol != 0 && rule.protocol != packet.protocol) return false;
  if (rule.port != 0) {
    if ((packet.flags & wire::kHasPorts) == 0) return false;
    if (rule.port != packet.source_port && rule.port != packet.destination_port) return false;
  }
  if (rule.version == 0) return true;
  if (rule.version != packet.version) return false;
  const uint32_t bits = std::min<uint32_t>(rule.prefix, rule.version == 4 ? 32 : 128);
  return prefix_matches(rule.address, packet.source, bits) ||
         prefix_matches(rule.address, packet.destination, bits);
}

void Appliance::open(PacketBatch& batch) {
  for (uint32_t i = 0; i < batch.count; ++i) {
    Opened& opened = opened_[i];
    if (batch.verdict[i] == static_cast<uint8_t>(Verdict::drop)) {
      drop(batch, i, static_cast<DropReason>(batch.reason[i]));
      continue;
    }
    opened.rewritten = opened.rejected = opened.direct = false;
    opened.reason = DropReason::none;
    opened.port = batch.port[i];
    const DropReason reason =
        open_packet(batch.packet(i), batch.length[i], batch.tos[i], config_.option_class, &opened);
    if (reason != DropReason::none) {
      drop(batch, i, reason);
      continue;
    }
    opened.offset = batch.offset[i] + opened.header_bytes;
    batch.offset[i] = opened.offset;
    batch.length[i] = opened.length;
  }
}

void Appliance::drop(PacketBatch& batch, uint32_t i, DropReason why) {
  opened_[i] = Opened();
  opened_[i].reason = why;
  batch.drop(i, why);
}

bool Appliance::take(PacketBatch& batch, Appliance& from, PacketBatch& source, uint32_t i) {
  GWLB_ASSERT(i < source.count);
  const Opened& there = from.opened_[i];
  GWLB_ASSERT(there.is_open());
  const uint32_t n = batch.count;
  const uint32_t bytes = there.header_bytes + there.length + there.tail;
  if (n == batch.capacity() || bytes > batch.slot_bytes()) return false;
  batch.reset(n, bytes);
  ++batch.count;
  const uint8_t* ip = source.block() + there.offset;
  std::memcpy(batch.packet(n), ip - there.header_bytes, bytes);
  batch.address[n] = source.address[i];
  batch.port[n] = source.port[i];
  batch.tos[n] = source.tos[i];
  if (batch.paths != nullptr && source.paths != nullptr) batch.paths[n] = source.paths[i];

  Opened& here = opened_[n];
  here = there;
  here.offset = batch.offset[n] + there.header_bytes;
  here.inner.source = batch.block() + here.offset + (there.inner.source - ip);
  here.inner.destination = batch.block() + here.offset + (there.inner.destination - ip);
  batch.offset[n] = here.offset;
  batch.length[n] = here.length;
  source.verdict[i] = static_cast<uint8_t>(Verdict::moved);
  return true;
}

bool Appliance::rewrite(PacketBatch& batch, uint32_t i, const uint8_t* bytes, uint32_t length) {
  GWLB_ASSERT(i < batch.count);
  Opened& opened = opened_[i];
  if (!opened.is_open()) return false;
  if (length > batch.end[i] - opened.offset) return false;
  wire::InnerPacket inner;
  if (!wire::parse_inner(bytes, length, &inner).ok() || inner.total_length != length) return false;

  uint8_t* ip = batch.block() + opened.offset;
  inner.source = ip + (inner.source - bytes);
  inner.destination = ip + (inner.destination - bytes);
  std::memmove(ip, bytes, length);
  replaced(batch, i, inner, length);
  return true;
}

void Appliance::replaced(PacketBatch& batch, uint32_t i, const wire::InnerPacket& inner,
                         uint32_t length) {
  Opened& opened = opened_[i];
  uint8_t* ip = batch.block() + opened.offset;
  if (inner.version != opened.inner.version) {
    uint8_t* type = ip - opened.header_bytes + kProtocolTypeAt;
    if (base::load_be16(type) == wire::kEtherTypeEthernet) type = ip - kEtherTypeBytes;
    base::store_be16(type, ether_type(inner.version));
  }
  opened.inner = inner;
  opened.length = length;
  opened.tail = 0;
  opened.rewritten = true;
  batch.offset[i] = opened.offset;
  batch.length[i] = length;
}

bool Appliance::reject(PacketBatch& batch, uint32_t i) {
  GWLB_ASSERT(i < batch.count);
  Opened& opened = opened_[i];
  if (!opened.is_open()) return false;
  uint8_t* ip = batch.block() + opened.offset;
  wire::InnerPacket inner = opened.inner;
  if (!wire::can_answer(ip, inner) ||
      (inner.flags & (wire::kIcmpError | wire::kLaterFragment)) != 0) {
    return false;
  }
  uint32_t length;
  if (inner.protocol == wire::kTcp && (inner.flags & wire::kFirstFragment) == 0) {
    if ((inner.tcp_flags & wire::kRst) != 0) return false;
    length = wire::write_reset(ip, inner);
  } else {
    const uint32_t headers = wire::too_big_header_bytes(inner.version);
    if (headers + inner.total_length > batch.end[i] - opened.offset) return false;
    std::memmove(ip + headers, ip, inner.total_length);
    inner.source += headers;
    inner.destination += headers;
    length = wire::write_prohibited(ip, inner);
  }
  const wire::ParseError error = wire::parse_inner(ip, length, &inner);
  GWLB_ASSERT(error.ok());
  replaced(batch, i, inner, length);
  opened.rejected = true;
  return true;
}

void Appliance::close(PacketBatch& batch, uint16_t gateway_port) {
  for (uint32_t i = 0; i < batch.count; ++i) {
    const Opened& opened = opened_[i];
    if (batch.verdict[i] == static_cast<uint8_t>(Verdict::moved)) continue;
    if (!opened.is_open()) {
      batch.drop(i, opened.reason);
    } else if (batch.verdict[i] == static_cast<uint8_t>(Verdict::drop)) {
      batch.drop(i, DropReason::appliance_verdict);
    } else {
      batch.offset[i] = opened.offset - opened.header_bytes;
      batch.length[i] = opened.header_bytes + opened.length + opened.tail;
      batch.source_port[i] = opened.port;
      batch.port[i] = gateway_port;
      batch.verdict[i] = static_cast<uint8_t>(Verdict::forward);
    }
  }
}

}  // namespace gwlb::appliance
