#include "bench/native/kinds.h"

#include <cstring>

#include "bench/native/gateway_rig.h"
#include "wire/gwlb_options.h"

namespace gwlb::bench {
namespace {

using base::DropReason;
using batch::PacketBatch;
using batch::Verdict;
using test::Bytes;

constexpr uint32_t kBatches = 16;
constexpr uint32_t kRound = kBatches * kRigBatch;
constexpr uint32_t kCapacity = 4 * kRound;
constexpr uint32_t kDestination = 0x0a000001;
constexpr uint32_t kMtu = 1500;
constexpr uint16_t kMore = 0x2000, kLater = 2;
constexpr uint8_t kFragmentHeader = 44, kDestinationOptions = 60;

uint32_t source_of(uint32_t n) { return 0x0b000000 + n; }

Bytes from4(uint32_t n, uint8_t protocol, const Bytes& transport, uint16_t fragment = 0) {
  return test::ipv4(source_of(n), kDestination, protocol, transport, fragment,
                    static_cast<uint16_t>(n));
}
Bytes back4(uint32_t n, uint8_t protocol, const Bytes& transport) {
  return test::ipv4(kDestination, source_of(n), protocol, transport);
}
Bytes from6(uint32_t n, uint8_t next, const Bytes& payload) {
  Bytes packet = test::ipv6(1, 2, next, payload);
  test::put32(packet, 16, source_of(n));
  return packet;
}

// `extensions` headers of 8 bytes, then a fragment header, then the payload.
Bytes chain6(uint32_t n, uint32_t extensions, uint16_t fragment, uint8_t next,
             const Bytes& payload) {
  Bytes chain;
  for (uint32_t k = 0; k < extensions; ++k) {
    const uint8_t behind = k + 1 < extensions ? kDestinationOptions : kFragmentHeader;
    test::append(chain, {behind, 0, 1, 4, 0, 0, 0, 0});  // PadN
  }
  Bytes header(8);
  header[0] = next;
  test::put16(header, 2, fragment);
  test::put32(header, 4, n);
  test::append(chain, header);
  test::append(chain, payload);
  return from6(n, extensions == 0 ? kFragmentHeader : kDestinationOptions, chain);
}
constexpr uint32_t kExtensions = base::kIpv6ExtensionHeadersMax - 1;

Bytes udp4(uint32_t n) { return from4(n, 17, test::udp(5000, 53)); }
Bytes other4(uint32_t n) { return from4(n, 17, test::udp(5001, 53)); }
Bytes udp6(uint32_t n) { return from6(n, 17, test::udp(5000, 53)); }
Bytes syn(uint32_t n) { return from4(n, 6, test::tcp(5000, 443, wire::kSyn)); }
Bytes syn6(uint32_t n) { return from6(n, 6, test::tcp(5000, 443, wire::kSyn)); }
Bytes syn_ack(uint32_t n) { return back4(n, 6, test::tcp(443, 5000, wire::kSyn | wire::kAck)); }
Bytes ack(uint32_t n) { return from4(n, 6, test::tcp(5000, 443, wire::kAck)); }
Bytes fin(uint32_t n) { return from4(n, 6, test::tcp(5000, 443, wire::kFin | wire::kAck)); }
Bytes rst(uint32_t n) { return from4(n, 6, test::tcp(5000, 443, wire::kRst)); }
Bytes echo(uint32_t n) { return from4(n, 1, test::icmp_echo(false, 1)); }
Bytes tunnel(uint32_t n) { return from4(n, 47, Bytes(16)); }
Bytes options4(uint32_t n) {
  Bytes packet = udp4(n);
  packet.resize(packet.size() + 40);
  std::memmove(packet.data() + 60, packet.data() + 20, packet.size() - 60);
  std::memset(packet.data() + 20, 1, 40);  // no operation
  packet[0] = 0x4f;
  test::put16(packet, 2, static_cast<uint16_t>(packet.size()));
  return packet;
}

Bytes first4(uint32_t n) { return from4(n, 17, test::udp(5000, 53), kMore); }
Bytes later4(uint32_t n) { return from4(n, 17, Bytes(16), kLater); }
Bytes middle4(uint32_t n) { return from4(n, 17, Bytes(16), kMore | kLater); }
// Another train each, of one flow.
Bytes later4_same(uint32_t n) {
  return test::ipv4(source_of(n), kDestination, 17, Bytes(16), kLater,
                    static_cast<uint16_t>(n ^ 0x8000));
}
// The k-th of those that leave a hole in front of each.
template <uint32_t k>
Bytes with_hole4(uint32_t n) {
  return from4(n, 17, Bytes(8), static_cast<uint16_t>(kMore | (kLater + 2 * k)));
}
Bytes first6(uint32_t n) { return chain6(n, 0, 1, 17, test::udp(5000, 53)); }
Bytes later6(uint32_t n) { return chain6(n, 0, 16, 17, Bytes(16)); }
Bytes first6_chain(uint32_t n) { return chain6(n, kExtensions, 1, 17, test::udp(5000, 53)); }
Bytes later6_chain(uint32_t n) { return chain6(n, kExtensions, 16, 17, Bytes(16)); }
Bytes atomic6_chain(uint32_t n) { return chain6(n, kExtensions, 0, 17, test::udp(5000, 53)); }
Bytes long_chain6(uint32_t n) { return chain6(n, kExtensions + 1, 0, 17, test::udp(5000, 53)); }

Bytes error4(uint32_t n) { return back4(n, 1, test::icmp_unreachable(udp4(n), 28)); }
Bytes error_about_fragment(uint32_t n) {
  return back4(n, 1, test::icmp_unreachable(later4(n), 28));
}
Bytes error6(uint32_t n) {
  Bytes error(8);
  error[0] = 1;
  test::append(error, chain6(n, kExtensions, 16, 17, Bytes(16)));
  Bytes packet = test::ipv6(2, 1, 58, error);
  test::put32(packet, 32, source_of(n));
  return packet;
}

Bytes cut_short(uint32_t n) {
  Bytes packet = udp4(n);
  test::put16(packet, 2, 1000);
  return packet;
}
Bytes cut_short6(uint32_t n) {
  Bytes packet = chain6(n, kExtensions, 1, 6, Bytes(8));
  return packet;
}
Bytes multicast(uint32_t n) {
  Bytes packet = udp4(n);
  test::put32(packet, 16, 0xe0000001);
  packet[8] = 1;
  return packet;
}
Bytes too_big(uint32_t n) { return from4(n, 17, test::udp(5000, 53, kMtu), 0x4000); }
Bytes too_big_to_cut(uint32_t n) { return from4(n, 17, test::udp(5000, 53, kMtu)); }

void wrong_cookie(PacketBatch& batch, uint32_t i) { batch.packet(i)[36] ^= 0x55; }
void stranger(PacketBatch& batch, uint32_t i) { batch.address[i] = 0xc0000201; }
void no_geneve(PacketBatch& batch, uint32_t i) { batch.packet(i)[0] = 0xff; }
void reset_idle(gateway::GatewayConfig& config) { config.reset_on_idle = true; }
void no_answers(gateway::GatewayConfig& config) { config.path_mtu_discovery = false; }

constexpr Verdict kForward = Verdict::forward, kDrop = Verdict::drop, kReply = Verdict::reply;
constexpr DropReason kNone = DropReason::none;

}  // namespace

const std::vector<Kind>& kinds() {
  static const std::vector<Kind> all = {
      {"plain", {udp4, udp4, udp4, udp4}, udp4},
      {"plain, returned", {udp4, udp4, udp4, udp4}, udp4, kForward, kNone, true},
      {"plain ipv6", {udp6, udp6, udp6, udp6}, udp6},
      {"not confirmed yet", {udp4}, udp4},
      {"not confirmed yet, returned", {udp4}, udp4, kForward, kNone, true},
      {"ip options", {udp4, udp4, udp4, udp4}, options4},
      {"udp, new flow", {}, udp4},
      {"udp ipv6, new flow", {}, udp6},
      {"udp, new flow, evicts",
       {},
       udp4,
       kForward,
       kNone,
       false,
       nullptr,
       nullptr,
       nullptr,
       Flood::evicts},
      {"udp, new flow, table full",
       {},
       udp4,
       kForward,
       kNone,
       false,
       nullptr,
       nullptr,
       nullptr,
       Flood::refused},
      {"echo, new flow", {}, echo},
      {"gre, new flow", {}, tunnel},
      {"syn, new flow", {}, syn},
      {"syn ipv6, new flow", {}, syn6},
      {"syn, new flow, evicts",
       {},
       syn,
       kForward,
       kNone,
       false,
       nullptr,
       nullptr,
       nullptr,
       Flood::evicts},
      {"syn, returned", {}, syn, kForward, kNone, true},
      {"syn again", {syn}, syn},
      {"syn, new connection", {syn, syn_ack, ack, rst}, syn},
      {"syn-ack", {syn}, syn_ack},
      {"syn-ack, returned", {syn}, syn_ack, kForward, kNone, true},
      {"ack of syn-ack", {syn, syn_ack}, ack},
      {"fin", {syn, syn_ack, ack}, fin},
      {"rst", {syn, syn_ack, ack}, rst},
      {"tcp in mid-stream", {udp4}, ack, kDrop, DropReason::tcp_not_syn},
      {"tcp in mid-stream, answered",
       {udp4},
       ack,
       kReply,
       DropReason::tcp_not_syn,
       false,
       nullptr,
       nullptr,
       reset_idle},
      {"first fragment", {udp4, udp4, udp4, udp4}, first4},
      {"first fragment, new flow", {}, first4},
      {"first fragment ipv6", {udp6, udp6, udp6, udp6}, first6},
      {"first fragment ipv6, longest chain", {udp6, udp6, udp6, udp6}, first6_chain},
      {"first fragment ipv6, longest chain, new flow", {}, first6_chain},
      {"later fragment", {udp4, udp4, udp4, first4}, later4},
      {"later fragment, returned", {udp4, udp4, udp4, first4}, later4, kForward, kNone, true},
      {"middle fragment", {udp4, udp4, udp4, first4}, middle4},
      {"middle fragment, most holes",
       {first4, with_hole4<1>, with_hole4<2>, with_hole4<3>, with_hole4<4>, with_hole4<5>,
        with_hole4<6>, with_hole4<7>, with_hole4<8>, with_hole4<9>, with_hole4<10>, with_hole4<11>,
        with_hole4<12>, with_hole4<13>, with_hole4<14>, with_hole4<15>, with_hole4<16>},
       with_hole4<17>},
      {"later fragment, unknown train", {udp4, later4}, later4_same},
      {"later fragment, unknown train, new flow", {}, later4},
      {"later fragment, unknown train, evicts",
       {},
       later4,
       kForward,
       kNone,
       false,
       nullptr,
       nullptr,
       nullptr,
       Flood::evicts},
      {"later fragment, unknown train, returned",
       {udp4},
       udp4,
       kDrop,
       DropReason::no_flow,
       true,
       later4},
      {"later fragment ipv6", {udp6, udp6, udp6, first6}, later6},
      {"later fragment ipv6, longest chain", {udp6, udp6, udp6, first6_chain}, later6_chain},
      {"later fragment ipv6, longest chain, unknown train, new flow", {}, later6_chain},
      {"later fragment ipv6, longest chain, unknown train, returned",
       {udp6},
       udp6,
       kDrop,
       DropReason::no_flow,
       true,
       later6_chain},
      {"whole ipv6, longest chain with a fragment header", {udp6, udp6, udp6, udp6}, atomic6_chain},
      {"whole ipv6, longest chain with a fragment header, new flow", {}, atomic6_chain},
      {"whole ipv6, longest chain with a fragment header, returned",
       {udp6, udp6, udp6, udp6},
       atomic6_chain,
       kForward,
       kNone,
       true},
      {"icmp error", {udp4, udp4, udp4, udp4}, error4},
      {"icmp error, returned", {udp4, udp4, udp4, udp4}, error4, kForward, kNone, true},
      {"icmp error about a later fragment", {udp4, udp4, udp4, first4}, error_about_fragment},
      {"icmp error of no flow", {udp4}, error_about_fragment, kDrop, DropReason::icmp_no_flow},
      {"icmp error ipv6, longest chain, of no flow",
       {udp6},
       error6,
       kDrop,
       DropReason::icmp_no_flow},
      {"cut short", {udp4}, cut_short, kDrop, DropReason::inner_truncated},
      {"cut short ipv6, longest chain", {udp6}, cut_short6, kDrop, DropReason::inner_bad_fragment},
      {"too many ipv6 extension headers",
       {udp6},
       long_chain6,
       kDrop,
       DropReason::inner_too_many_extensions},
      {"multicast of a link", {udp4}, multicast, kDrop, DropReason::never_forwarded},
      {"too big",
       {udp4},
       too_big,
       kDrop,
       DropReason::inner_too_big,
       false,
       nullptr,
       nullptr,
       no_answers},
      {"too big, cut", {udp4, udp4, udp4, udp4}, too_big_to_cut},
      {"wrong cookie", {udp4}, udp4, kDrop, DropReason::wrong_cookie, true, nullptr, wrong_cookie},
      {"of no flow, returned", {udp4}, udp4, kDrop, DropReason::no_flow, true, other4, nullptr},
      {"from a stranger", {udp4}, udp4, kDrop, DropReason::unknown_source, true, nullptr, stranger},
      {"no geneve", {udp4}, udp4, kDrop, DropReason::geneve_bad_version, true, nullptr, no_geneve},
  };
  return all;
}

KindRig::KindRig(const Kind& kind) : kind_(kind) {
  gateway::GatewayConfig config;
  config.hash_key = {1, 2};
  config.cookie_key = {3, 4};
  config.flows_ipv4 = config.flows_ipv6 = kCapacity;
  config.mtu = kMtu;
  config.events = 0;
  if (kind.configure != nullptr) kind.configure(config);
  gateway_ = gateway::Gateway::create(config);
  gateway::EndpointSpec endpoint;
  endpoint.kind = gateway::EndpointKind::batch;
  endpoint.id = 1;
  endpoint.cuts = true;
  gateway_->set_endpoint(0, endpoint);
  gateway_->set_targets(select::TargetTable::build(ten_targets(), 1, false, 1));
  for (uint32_t k = 0; k < kBatches; ++k) {
    batches_.push_back(PacketBatch::create(kRigBatch, base::kSlotStrideStandard));
  }
  round_trip(udp4, 0);  // the learning window begins
  if (kind.flood == Flood::refused) establish_all();
}

uint32_t KindRig::packets() const { return kRound; }

void KindRig::fill(MakePacket make, uint32_t from) {
  for (uint32_t n = 0; n < kRound; ++n) {
    PacketBatch& batch = *batches_[n / kRigBatch];
    const uint32_t i = n % kRigBatch;
    const Bytes bytes = make(from + n);
    batch.count = kRigBatch;
    batch.reset(i, static_cast<uint32_t>(bytes.size()));
    batch.endpoint[i] = 0;
    std::memcpy(batch.packet(i), bytes.data(), bytes.size());
  }
}
void KindRig::enter() {
  for (auto& batch : batches_) gateway_->to_targets(*batch, now_ms_);
}
void KindRig::come_back() {
  for (auto& batch : batches_) gateway_->from_targets(*batch, now_ms_);
}
// What a target returns; nothing is expected of packets that were held.
void KindRig::turn() {
  for (auto& batch : batches_) {
    for (uint32_t i = 0; i < kRigBatch; ++i) {
      if (batch->verdict[i] != static_cast<uint8_t>(kForward)) continue;
      batch->make_ordinary(i);
      batch->verdict[i] = static_cast<uint8_t>(Verdict::pending);
    }
  }
}
void KindRig::round_trip(MakePacket make, uint32_t from) {
  fill(make, from);
  enter();
  turn();
  come_back();
}

// Numbers of other flows than those that are measured.
constexpr uint32_t kEstablished = 1u << 22;

void KindRig::establish_all() {
  for (uint32_t at = 0; at < kCapacity; at += kRound) {
    for (uint32_t k = 0; k < base::kOneSidedPackets; ++k) round_trip(udp4, kEstablished + at);
  }
}

void KindRig::prepare() {
  constexpr uint64_t kLongMs = 1'000'000;  // more than any flow or train lives
  next_ = (next_ + kRound) % kEstablished;
  const uint32_t from = next_;
  if (kind_.flood == Flood::fresh) {
    now_ms_ += kLongMs;
    gateway_->sweep(now_ms_, ~0u);
  }
  for (MakePacket make : kind_.before) round_trip(make, from);
  fill(kind_.packet, from);
  if (!kind_.returned) return;
  enter();
  turn();
  for (auto& batch : batches_) {
    for (uint32_t i = 0; i < kRigBatch; ++i) {
      if (kind_.spoil != nullptr) kind_.spoil(*batch, i);
      if (kind_.reply == nullptr) continue;
      const uint32_t n = static_cast<uint32_t>(&batch - batches_.data()) * kRigBatch + i;
      const Bytes bytes = kind_.reply(from + n);
      std::memcpy(batch->packet(i) + wire::kGatewayHeaderBytes, bytes.data(), bytes.size());
      batch->length[i] = wire::kGatewayHeaderBytes + static_cast<uint32_t>(bytes.size());
    }
  }
}

void KindRig::run() { kind_.returned ? come_back() : enter(); }

void KindRig::check() const {
  uint32_t others = 0;
  for (const auto& batch : batches_) {
    for (uint32_t i = 0; i < kRigBatch; ++i) {
      const auto verdict = static_cast<Verdict>(batch->verdict[i]);
      const bool is_it =
          verdict == kind_.verdict &&
          (verdict == kForward || batch->reason[i] == static_cast<uint8_t>(kind_.reason));
      others += !is_it;
    }
  }
  // A few trains have given way to others of their set.
  prove(others <= kRound / 128, (kind_.name + ": nearly every packet is one").c_str());
}

}  // namespace gwlb::bench
