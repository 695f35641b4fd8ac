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

constexpr Verdict kDrop = Verdict::drop, kReply = Verdict::reply;

}  // namespace

const std::vector<Kind>& kinds() {
  const std::vector<MakePacket> known4(4, udp4), known6(4, udp6);  // and confirmed
  static const std::vector<Kind> all = {
      {.name = "plain", .before = known4, .packet = udp4},
      {.name = "plain, returned", .before = known4, .packet = udp4, .returned = true},
      {.name = "plain ipv6", .before = known6, .packet = udp6},
      {.name = "not confirmed yet", .before = {udp4}, .packet = udp4},
      {.name = "not confirmed yet, returned", .before = {udp4}, .packet = udp4, .returned = true},
      {.name = "ip options", .before = known4, .packet = options4},
      {.name = "udp, new flow", .packet = udp4},
      {.name = "udp ipv6, new flow", .packet = udp6},
      {.name = "udp, new flow, evicts", .packet = udp4, .flood = Flood::evicts},
      {.name = "udp, new flow, table full", .packet = udp4, .flood = Flood::refused},
      {.name = "echo, new flow", .packet = echo},
      {.name = "gre, new flow", .packet = tunnel},
      {.name = "syn, new flow", .packet = syn},
      {.name = "syn ipv6, new flow", .packet = syn6},
      {.name = "syn, new flow, evicts", .packet = syn, .flood = Flood::evicts},
      {.name = "syn, returned", .packet = syn, .returned = true},
      {.name = "syn again", .before = {syn}, .packet = syn},
      {.name = "syn, new connection", .before = {syn, syn_ack, ack, rst}, .packet = syn},
      {.name = "syn-ack", .before = {syn}, .packet = syn_ack},
      {.name = "syn-ack, returned", .before = {syn}, .packet = syn_ack, .returned = true},
      {.name = "ack of syn-ack", .before = {syn, syn_ack}, .packet = ack},
      {.name = "fin", .before = {syn, syn_ack, ack}, .packet = fin},
      {.name = "rst", .before = {syn, syn_ack, ack}, .packet = rst},
      {.name = "tcp in mid-stream",
       .before = {udp4},
       .packet = ack,
       .verdict = kDrop,
       .reason = DropReason::tcp_not_syn},
      {.name = "tcp in mid-stream, answered",
       .before = {udp4},
       .packet = ack,
       .verdict = kReply,
       .reason = DropReason::tcp_not_syn,
       .configure = reset_idle},
      {.name = "first fragment", .before = known4, .packet = first4},
      {.name = "first fragment, new flow", .packet = first4},
      {.name = "first fragment ipv6", .before = known6, .packet = first6},
      {.name = "first fragment ipv6, longest chain", .before = known6, .packet = first6_chain},
      {.name = "first fragment ipv6, longest chain, new flow", .packet = first6_chain},
      {.name = "later fragment", .before = {udp4, udp4, udp4, first4}, .packet = later4},
      {.name = "later fragment, returned",
       .before = {udp4, udp4, udp4, first4},
       .packet = later4,
       .returned = true},
      {.name = "middle fragment", .before = {udp4, udp4, udp4, first4}, .packet = middle4},
      {.name = "middle fragment, most holes",
       .before = {first4, with_hole4<1>, with_hole4<2>, with_hole4<3>, with_hole4<4>, with_hole4<5>,
                  with_hole4<6>, with_hole4<7>, with_hole4<8>, with_hole4<9>, with_hole4<10>,
                  with_hole4<11>, with_hole4<12>, with_hole4<13>, with_hole4<14>, with_hole4<15>,
                  with_hole4<16>},
       .packet = with_hole4<17>},
      {.name = "later fragment, unknown train", .before = {udp4, later4}, .packet = later4_same},
      {.name = "later fragment, unknown train, new flow", .packet = later4},
      {.name = "later fragment, unknown train, evicts", .packet = later4, .flood = Flood::evicts},
      {.name = "later fragment, unknown train, returned",
       .before = {udp4},
       .packet = udp4,
       .verdict = kDrop,
       .reason = DropReason::no_flow,
       .returned = true,
       .reply = later4},
      {.name = "later fragment ipv6", .before = {udp6, udp6, udp6, first6}, .packet = later6},
      {.name = "later fragment ipv6, longest chain",
       .before = {udp6, udp6, udp6, first6_chain},
       .packet = later6_chain},
      {.name = "later fragment ipv6, longest chain, unknown train, new flow",
       .packet = later6_chain},
      {.name = "later fragment ipv6, longest chain, unknown train, returned",
       .before = {udp6},
       .packet = udp6,
       .verdict = kDrop,
       .reason = DropReason::no_flow,
       .returned = true,
       .reply = later6_chain},
      {.name = "whole ipv6, longest chain with a fragment header",
       .before = known6,
       .packet = atomic6_chain},
      {.name = "whole ipv6, longest chain with a fragment header, new flow",
       .packet = atomic6_chain},
      {.name = "whole ipv6, longest chain with a fragment header, returned",
       .before = known6,
       .packet = atomic6_chain,
       .returned = true},
      {.name = "icmp error", .before = known4, .packet = error4},
      {.name = "icmp error, returned", .before = known4, .packet = error4, .returned = true},
      {.name = "icmp error about a later fragment",
       .before = {udp4, udp4, udp4, first4},
       .packet = error_about_fragment},
      {.name = "icmp error of no flow",
       .before = {udp4},
       .packet = error_about_fragment,
       .verdict = kDrop,
       .reason = DropReason::icmp_no_flow},
      {.name = "icmp error ipv6, longest chain, of no flow",
       .before = {udp6},
       .packet = error6,
       .verdict = kDrop,
       .reason = DropReason::icmp_no_flow},
      {.name = "cut short",
       .before = {udp4},
       .packet = cut_short,
       .verdict = kDrop,
       .reason = DropReason::inner_truncated},
      {.name = "cut short ipv6, longest chain",
       .before = {udp6},
       .packet = cut_short6,
       .verdict = kDrop,
       .reason = DropReason::inner_bad_fragment},
      {.name = "too many ipv6 extension headers",
       .before = {udp6},
       .packet = long_chain6,
       .verdict = kDrop,
       .reason = DropReason::inner_too_many_extensions},
      {.name = "multicast of a link",
       .before = {udp4},
       .packet = multicast,
       .verdict = kDrop,
       .reason = DropReason::never_forwarded},
      {.name = "too big",
       .before = {udp4},
       .packet = too_big,
       .verdict = kDrop,
       .reason = DropReason::inner_too_big,
       .configure = no_answers},
      {.name = "too big, cut", .before = known4, .packet = too_big_to_cut},
      {.name = "wrong cookie",
       .before = {udp4},
       .packet = udp4,
       .verdict = kDrop,
       .reason = DropReason::wrong_cookie,
       .returned = true,
       .spoil = wrong_cookie},
      {.name = "of no flow, returned",
       .before = {udp4},
       .packet = udp4,
       .verdict = kDrop,
       .reason = DropReason::no_flow,
       .returned = true,
       .reply = other4},
      {.name = "from a stranger",
       .before = {udp4},
       .packet = udp4,
       .verdict = kDrop,
       .reason = DropReason::unknown_source,
       .returned = true,
       .spoil = stranger},
      {.name = "no geneve",
       .before = {udp4},
       .packet = udp4,
       .verdict = kDrop,
       .reason = DropReason::geneve_bad_version,
       .returned = true,
       .spoil = no_geneve},
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
      if (batch->verdict[i] != static_cast<uint8_t>(Verdict::forward)) continue;
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
          (verdict == Verdict::forward || batch->reason[i] == static_cast<uint8_t>(kind_.reason));
      others += !is_it;
    }
  }
  // A few trains have given way to others of their set.
  prove(others <= kRound / 128, (kind_.name + ": nearly every packet is one").c_str());
}

}  // namespace gwlb::bench
