#include "wire/coalesce.h"

#include "base/assert.h"
#include "base/bytes.h"
#include "wire/checksum.h"
#include "wire/inner.h"
#include "wire/ipv6_chain.h"

namespace gwlb::wire {
namespace {

constexpr uint32_t kIpv4HeaderBytes = 20;
constexpr uint32_t kIpv6HeaderBytes = 40;
constexpr uint32_t kTcpHeaderBytes = 20;
constexpr uint32_t kUdpHeaderBytes = 8;

constexpr uint8_t kUrg = 0x20;
constexpr uint8_t kCwr = 0x80;

constexpr uint16_t kEnd = 0xffff;
static_assert(base::kBatchPacketsMax < kEnd);

enum class Kind : uint8_t {
  other,      // no flow that has a run
  addresses,  // may be of any flow between its addresses
  flow,       // of a flow that is known, but goes alone
  joins,
};

using base::load;

}  // namespace

struct CoalesceCandidate {
  const uint8_t* bytes;
  uint32_t length;
  uint64_t key;  // of Kind::flow or better: ports, protocol and version
  uint16_t transport;
  uint16_t headers;
  uint8_t version;
  uint8_t protocol;
  Kind kind;

  const uint8_t* header() const { return bytes + transport; }
  uint32_t payload() const { return length - headers; }
};

namespace {

Kind read_tcp(CoalesceCandidate* packet, uint32_t left) {
  if (left < kTcpHeaderBytes) return Kind::addresses;
  const uint8_t* header = packet->header();
  const uint32_t bytes = (header[12] >> 4) * 4u;
  if (bytes < kTcpHeaderBytes || bytes >= left) return Kind::flow;  // pure acknowledgments too
  packet->headers = static_cast<uint16_t>(packet->transport + bytes);
  if ((header[13] & (kSyn | kRst | kUrg | kAck)) != kAck) return Kind::flow;
  // Right, but segmentation writes the other zero.
  return load<uint16_t>(header + 16) == 0xffff ? Kind::flow : Kind::joins;
}

Kind read_udp(CoalesceCandidate* packet, uint32_t left) {
  if (left < kUdpHeaderBytes) return Kind::addresses;
  const uint8_t* header = packet->header();
  packet->headers = static_cast<uint16_t>(packet->transport + kUdpHeaderBytes);
  if (left == kUdpHeaderBytes || base::load_be16(header + 4) != left) return Kind::flow;
  return load<uint16_t>(header + 6) == 0 ? Kind::flow : Kind::joins;
}

Kind read_transport(CoalesceCandidate* packet, uint32_t left) {
  const Kind kind = packet->protocol == kTcp ? read_tcp(packet, left) : read_udp(packet, left);
  if (kind == Kind::addresses) return kind;
  packet->key = uint64_t{packet->version} << 40 | uint64_t{packet->protocol} << 32 |
                load<uint32_t>(packet->header());
  return kind;
}

Kind read_ipv4(CoalesceCandidate* packet, bool udp) {
  const uint8_t* bytes = packet->bytes;
  if (packet->length < kIpv4HeaderBytes) return Kind::other;
  packet->protocol = bytes[9];
  if (packet->protocol != kTcp && !(packet->protocol == kUdp && udp)) return Kind::other;
  packet->transport = kIpv4HeaderBytes;
  if (bytes[0] != 0x45 || base::load_be16(bytes + 2) != packet->length) return Kind::addresses;
  if ((base::load_be16(bytes + 6) & 0x3fff) != 0) return Kind::addresses;
  return read_transport(packet, packet->length - kIpv4HeaderBytes);
}

Kind read_ipv6(CoalesceCandidate* packet, bool udp) {
  const uint8_t* bytes = packet->bytes;
  if (packet->length < kIpv6HeaderBytes) return Kind::other;
  packet->protocol = bytes[6];
  if (is_ipv6_extension(packet->protocol)) return Kind::addresses;
  if (packet->protocol != kTcp && !(packet->protocol == kUdp && udp)) return Kind::other;
  packet->transport = kIpv6HeaderBytes;
  const uint32_t left = packet->length - kIpv6HeaderBytes;
  if (base::load_be16(bytes + 4) != left) return Kind::addresses;
  return read_transport(packet, left);
}

CoalesceCandidate read(const PacketSpan& span, bool udp) {
  CoalesceCandidate packet{};
  packet.bytes = span.bytes;
  packet.length = span.length;
  packet.kind = Kind::other;
  if (span.length == 0) return packet;
  packet.version = span.bytes[0] >> 4;
  if (packet.version == 4) packet.kind = read_ipv4(&packet, udp);
  if (packet.version == 6) packet.kind = read_ipv6(&packet, udp);
  return packet;
}

bool same_words(const uint8_t* a, const uint8_t* b, uint32_t bytes) {
  for (uint32_t i = 0; i < bytes; i += 4) {
    if (load<uint32_t>(a + i) != load<uint32_t>(b + i)) return false;
  }
  return true;
}

bool same_addresses(const uint8_t* a, const uint8_t* b) {
  if (((a[0] ^ b[0]) & 0xf0) != 0) return false;
  return a[0] >> 4 == 4 ? load<uint64_t>(a + 12) == load<uint64_t>(b + 12)
                        : same_words(a + 8, b + 8, 32);
}

// Between the first packet of a run and a later one: what segmentation copies.
bool same_ip(const uint8_t* first, const uint8_t* later) {
  if (first[0] >> 4 == 4) {
    return first[1] == later[1] && first[8] == later[8] &&
           load<uint16_t>(first + 6) == load<uint16_t>(later + 6);
  }
  return load<uint32_t>(first) == load<uint32_t>(later) && first[7] == later[7];
}

// The header's length (of the later one, `bytes`) is among what is compared.
bool same_tcp(const uint8_t* first, const uint8_t* later, uint32_t bytes) {
  constexpr uint8_t kMayDiffer = kFin | kPsh | kCwr;
  if (((first[13] ^ later[13]) & ~kMayDiffer) != 0 || (later[13] & kCwr) != 0) return false;
  return load<uint32_t>(first + 8) == load<uint32_t>(later + 8) && first[12] == later[12] &&
         load<uint16_t>(first + 14) == load<uint16_t>(later + 14) &&
         load<uint16_t>(first + 18) == load<uint16_t>(later + 18) &&
         same_words(first + kTcpHeaderBytes, later + kTcpHeaderBytes, bytes - kTcpHeaderBytes);
}

// The addresses lie directly in front of the transport header: one pass over both.
bool checksums_right(const uint8_t* bytes, uint32_t length) {
  uint32_t from = 8;
  uint32_t transport = kIpv6HeaderBytes;
  uint8_t protocol = bytes[6];
  if (bytes[0] >> 4 == 4) {
    if (load<uint16_t>(bytes + 10) == 0xffff) return false;  // segmentation writes the other zero
    if (checksum_finish(checksum_add(bytes, kIpv4HeaderBytes)) != 0) return false;
    from = 12;
    transport = kIpv4HeaderBytes;
    protocol = bytes[9];
  }
  const uint64_t pseudo = uint64_t{protocol} + (length - transport);
  return checksum_finish(checksum_add(bytes + from, length - from, pseudo)) == 0;
}

}  // namespace

uint32_t Coalescer::find(const CoalesceCandidate& packet) const {
  const auto is_it = [&](uint32_t slot) {
    return open_[slot].key == packet.key && same_addresses(open_[slot].first, packet.bytes);
  };
  if (newest_ < open_count_ && is_it(newest_)) return newest_;
  for (uint32_t slot = 0; slot < open_count_; ++slot) {
    if (is_it(slot)) return slot;
  }
  return kOpenRuns;
}

void Coalescer::close_between_addresses(const CoalesceCandidate& packet) {
  for (uint32_t slot = open_count_; slot-- > 0;) {
    if (same_addresses(open_[slot].first, packet.bytes)) close(slot);
  }
}

// Begins a run that others may join.
void Coalescer::open(const CoalesceCandidate& packet, uint16_t i) {
  const uint8_t* header = packet.header();
  if (packet.protocol == kTcp && (header[13] & (kFin | kPsh)) != 0) return;
  uint32_t slot = open_count_;
  if (slot == kOpenRuns) {
    slot = 0;
    for (uint32_t k = 1; k < kOpenRuns; ++k) {
      if (open_[k].last < open_[slot].last) slot = k;
    }
  } else {
    ++open_count_;
  }
  newest_ = slot;
  OpenRun& run = open_[slot];
  run.key = packet.key;
  run.first = packet.bytes;
  run.length = packet.length;
  run.sequence = packet.protocol == kTcp ? base::load_be32(header + 4) + packet.payload() : 0;
  run.id = static_cast<uint16_t>(base::load_be16(packet.bytes + 4) + 1);
  run.segment = static_cast<uint16_t>(packet.payload());
  run.run = static_cast<uint16_t>(run_count_ - 1);
  run.last = i;
  run.checked = false;
}

// False where the rules say no; the run is then over.
bool Coalescer::join(uint32_t slot, const CoalesceCandidate& packet, uint16_t i) {
  OpenRun& run = open_[slot];
  const uint8_t* header = packet.header();
  const uint32_t payload = packet.payload();
  const bool tcp = packet.protocol == kTcp;
  bool may = payload <= run.segment && run.length + payload <= kRunBytesMax &&
             same_ip(run.first, packet.bytes);
  if (packet.version == 4) may = may && base::load_be16(packet.bytes + 4) == run.id;
  if (tcp) {
    may = may && base::load_be32(header + 4) == run.sequence &&
          same_tcp(run.first + packet.transport, header, packet.headers - packet.transport);
  }
  CoalescedRun& out = runs_[run.run];
  // The first packet of a run of one is as long as the run.
  if (may && !run.checked) run.checked = may = checksums_right(run.first, run.length);
  if (!may || !checksums_right(packet.bytes, packet.length)) {
    close(slot);
    return false;
  }
  if (out.count == 1) {
    out.headers = packet.headers;
    out.transport = packet.transport;
    out.segment = run.segment;
    out.version = packet.version;
    out.protocol = packet.protocol;
    out.congestion_window_reduced = tcp && (run.first[packet.transport + 13] & kCwr) != 0;
  }
  ++out.count;
  run.length += payload;
  out.length = run.length;
  next_[run.last] = i;
  run.last = i;
  run.sequence += payload;
  ++run.id;
  newest_ = slot;
  if (payload < run.segment || (tcp && (header[13] & (kFin | kPsh)) != 0)) close(slot);
  return true;
}

// From the chains of packets to the order in which they go out.
void Coalescer::put_in_order() {
  uint16_t at = 0;
  for (uint32_t k = 0; k < run_count_; ++k) {
    uint16_t i = runs_[k].first;
    runs_[k].first = at;
    for (; i != kEnd; i = next_[i]) order_[at++] = i;
  }
}

void Coalescer::plan(const PacketSpan* packets, uint32_t n, bool udp) {
  GWLB_ASSERT(n <= base::kBatchPacketsMax);
  run_count_ = 0;
  open_count_ = 0;
  for (uint32_t k = 0; k < n; ++k) {
    const auto i = static_cast<uint16_t>(k);
    const CoalesceCandidate packet = read(packets[i], udp);
    next_[i] = kEnd;
    if (packet.kind >= Kind::flow) {
      const uint32_t slot = find(packet);
      if (slot != kOpenRuns) {
        if (packet.kind == Kind::joins && join(slot, packet, i)) continue;
        if (packet.kind == Kind::flow) close(slot);
      }
    } else if (packet.kind == Kind::addresses) {
      close_between_addresses(packet);
    }
    CoalescedRun& run = runs_[run_count_++];
    run = CoalescedRun{};
    run.first = i;
    run.count = 1;
    run.length = packet.length;
    if (packet.kind == Kind::joins) open(packet, i);
  }
  put_in_order();
}

void Coalescer::write_headers(const CoalescedRun& run, const PacketSpan& first,
                              const PacketSpan& last) {
  GWLB_ASSERT(run.count > 1);
  uint8_t* ip = first.bytes;
  uint32_t addresses = 8;
  if (run.version == 4) {
    addresses = 12;
    base::store_be16(ip + 2, static_cast<uint16_t>(run.length));
    base::store_be16(ip + 10, ipv4_header_checksum(ip, kIpv4HeaderBytes));
  } else {
    base::store_be16(ip + 4, static_cast<uint16_t>(run.length - kIpv6HeaderBytes));
  }
  uint8_t* header = ip + run.transport;
  const uint32_t length = run.length - run.transport;
  const uint64_t sum =
      checksum_add(ip + addresses, run.transport - addresses, uint64_t{run.protocol} + length);
  const auto pseudo = static_cast<uint16_t>(~checksum_finish(sum));
  if (run.protocol == kTcp) {
    header[13] |= last.bytes[run.transport + 13] & (kFin | kPsh);
    base::store_be16(header + 16, pseudo);
  } else {
    base::store_be16(header + 4, static_cast<uint16_t>(length));
    base::store_be16(header + 6, pseudo);
  }
}

}  // namespace gwlb::wire
