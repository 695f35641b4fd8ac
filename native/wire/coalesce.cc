#include "wire/coalesce.h"

#include "base/assert.h"
#include "base/bytes.h"
#include "wire/checksum.h"
#include "wire/inner.h"
#include "wire/ip.h"
#include "wire/ipv6_chain.h"

namespace gwlb::wire {
namespace {

constexpr uint8_t kUrg = 0x20;

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

// `bytes` is a multiple of 4.
inline bool same_words(const uint8_t* a, const uint8_t* b, uint32_t bytes) {
  for (; bytes >= 8; a += 8, b += 8, bytes -= 8) {
    if (load<uint64_t>(a) != load<uint64_t>(b)) return false;
  }
  return bytes == 0 || load<uint32_t>(a) == load<uint32_t>(b);
}

inline bool same_addresses(const uint8_t* a, const uint8_t* b) {
  if (((a[0] ^ b[0]) & 0xf0) != 0) return false;
  return a[0] >> 4 == 4 ? load<uint64_t>(a + 12) == load<uint64_t>(b + 12)
                        : same_words(a + 8, b + 8, 32);
}

// What segmentation copies into all packets, as masks of little-endian words: the first byte is the
// lowest.
constexpr uint64_t kIpv4Copied = 0xffff00000000ffff;  // not total length and identification
constexpr uint64_t kIpv6Copied = 0xffff0000ffffffff;  // not payload length
constexpr uint64_t kTcpCopied = ~(uint64_t{kFin | kPsh | kCwr} << 40);

// Headers up to the transport, of the first packet of a run and of another one.
inline bool same_ipv4(const uint8_t* first, const uint8_t* other) {
  const uint64_t difference = load<uint64_t>(first) ^ load<uint64_t>(other);
  return (difference & kIpv4Copied) == 0 &&
         load<uint16_t>(first + 8) == load<uint16_t>(other + 8) &&
         load<uint64_t>(first + 12) == load<uint64_t>(other + 12);
}

inline bool same_ipv6(const uint8_t* first, const uint8_t* other) {
  const uint64_t difference = load<uint64_t>(first) ^ load<uint64_t>(other);
  return (difference & kIpv6Copied) == 0 && same_words(first + 8, other + 8, 32);
}

// The first one's header has `bytes` bytes; that the other's has is among what is compared.
inline bool same_tcp(const uint8_t* first, const uint8_t* other, uint32_t bytes) {
  // Acknowledgment number, header length and flags, window.
  const uint64_t difference = load<uint64_t>(first + 8) ^ load<uint64_t>(other + 8);
  if ((difference & kTcpCopied) != 0 || (other[13] & kCwr) != 0) return false;
  return load<uint16_t>(first + 18) == load<uint16_t>(other + 18) &&
         same_words(first + kTcpHeaderBytes, other + kTcpHeaderBytes, bytes - kTcpHeaderBytes);
}

// Of 20 bytes, written the way segmentation writes it: not as 0xffff, the other zero.
inline bool ipv4_checksum_right(const uint8_t* bytes) {
  const auto a = load<uint64_t>(bytes);
  const auto b = load<uint64_t>(bytes + 8);
  const uint64_t sum =
      (a & 0xffffffff) + (a >> 32) + (b & 0xffffffff) + (b >> 32) + load<uint32_t>(bytes + 16);
  return checksum_finish(sum) == 0 && load<uint16_t>(bytes + 10) != 0xffff;
}

// The addresses lie directly in front of the transport header: one pass over both.
bool checksums_right(const uint8_t* bytes, uint32_t length) {
  if (bytes[0] >> 4 == 4) {
    const uint64_t pseudo = uint64_t{bytes[9]} + (length - kIpv4HeaderBytes);
    return ipv4_checksum_right(bytes) &&
           checksum_finish(checksum_add(bytes + 12, length - 12, pseudo)) == 0;
  }
  const uint64_t pseudo = uint64_t{bytes[6]} + (length - kIpv6HeaderBytes);
  return checksum_finish(checksum_add(bytes + 8, length - 8, pseudo)) == 0;
}

}  // namespace

// All rules but the checksums', for any packet: one that is like the first of a run, which was
// read, need not be read.
inline bool Coalescer::follows(const OpenRun& run, const PacketSpan& packet) {
  const uint8_t* first = run.first;
  const uint8_t* other = packet.bytes;
  if (packet.length <= run.headers || packet.length > run.longest) return false;
  if (run.length + packet.length - run.headers > kRunBytesMax) return false;
  if (run.version == 4) {
    if (!same_ipv4(first, other) || base::load_be16(other + 2) != packet.length) return false;
    if (base::load_be16(other + 4) != run.id) return false;
  } else {
    if (!same_ipv6(first, other)) return false;
    if (base::load_be16(other + 4) + kIpv6HeaderBytes != packet.length) return false;
  }
  first += run.transport;
  other += run.transport;
  if (load<uint32_t>(first) != load<uint32_t>(other)) return false;  // ports
  if (run.protocol == kTcp) {
    return base::load_be32(other + 4) == run.sequence && load<uint16_t>(other + 16) != 0xffff &&
           same_tcp(first, other, run.headers - run.transport);
  }
  return base::load_be16(other + 4) == packet.length - run.transport &&
         load<uint16_t>(other + 6) != 0;
}

uint32_t Coalescer::find(const CoalesceCandidate& packet) const {
  for (uint32_t slot = 0; slot < open_count_; ++slot) {
    const OpenRun& run = open_[slot];
    if (run.key == packet.key && same_addresses(run.first, packet.bytes)) return slot;
  }
  return kOpenRuns;
}

void Coalescer::close_between_addresses(const uint8_t* packet) {
  for (uint32_t slot = open_count_; slot-- > 0;) {
    if (same_addresses(open_[slot].first, packet)) close(slot);
  }
}

// Where a packet belonged: what comes next is guessed from that. The slots may have moved since; a
// guess is only where to look first.
inline void Coalescer::came(uint32_t slot) {
  open_[newest_].then = static_cast<uint8_t>(slot);
  newest_ = slot;
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
  OpenRun& run = open_[slot];
  run.then = static_cast<uint8_t>(slot);
  came(slot);
  run.key = packet.key;
  run.first = packet.bytes;
  run.longest = run.length = packet.length;
  run.sequence = packet.protocol == kTcp ? base::load_be32(header + 4) + packet.payload() : 0;
  run.id = static_cast<uint16_t>(base::load_be16(packet.bytes + 4) + 1);
  run.headers = packet.headers;
  run.run = static_cast<uint16_t>(run_count_ - 1);
  run.last = i;
  run.version = packet.version;
  run.protocol = packet.protocol;
  run.transport = static_cast<uint8_t>(packet.transport);
  run.checked = false;
}

// A packet that follows joins the run, unless checksums are wrong.
inline bool Coalescer::join(uint32_t slot, const PacketSpan& packet, uint16_t i) {
  OpenRun& run = open_[slot];
  CoalescedRun& out = runs_[run.run];
  if (!run.checked) {
    if (!checksums_right(run.first, run.longest)) return false;
    run.checked = true;
  }
  if (!checksums_right(packet.bytes, packet.length)) return false;
  const bool tcp = run.protocol == kTcp;
  if (out.count == 1) {
    out.headers = run.headers;
    out.transport = run.transport;
    out.segment = static_cast<uint16_t>(run.longest - run.headers);
    out.version = run.version;
    out.protocol = run.protocol;
    out.congestion_window_reduced = tcp && (run.first[run.transport + 13] & kCwr) != 0;
  }
  const uint32_t payload = packet.length - run.headers;
  ++out.count;
  run.length += payload;
  out.length = run.length;
  next_[run.last] = i;
  run.last = i;
  run.sequence += payload;
  ++run.id;
  came(slot);
  const bool ends = tcp && (packet.bytes[run.transport + 13] & (kFin | kPsh)) != 0;
  if (ends || packet.length < run.longest) close(slot);
  return true;
}

// Joins the run of its flow, or ends it.
bool Coalescer::join_any(const CoalesceCandidate& packet, const PacketSpan& span, uint16_t i) {
  if (packet.kind == Kind::addresses) close_between_addresses(packet.bytes);
  if (packet.kind < Kind::flow) return false;
  const uint32_t slot = find(packet);
  if (slot == kOpenRuns) return false;
  if (follows(open_[slot], span) && join(slot, span, i)) return true;
  close(slot);
  return false;
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
  newest_ = 0;
  open_[0].then = 0;
  for (uint32_t k = 0; k < n; ++k) {
    const auto i = static_cast<uint16_t>(k);
    next_[i] = kEnd;
    const uint32_t guess = open_[newest_].then;
    if (guess < open_count_ && follows(open_[guess], packets[i]) && join(guess, packets[i], i)) {
      continue;
    }
    const CoalesceCandidate packet = read(packets[i], udp);
    if (join_any(packet, packets[i], i)) continue;
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
