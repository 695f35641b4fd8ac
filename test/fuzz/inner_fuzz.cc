// The inner parser and the ICMP quote parser against a second reading of the RFCs; a packet that
// was accepted comes back from encapsulation as it was; ECN marks keep the IPv4 checksum.
#include <cstring>
#include <vector>

#include "test/fuzz/fuzz.h"
#include "test/native/oracle/quote_model.h"
#include "wire/checksum.h"
#include "wire/ecn.h"
#include "wire/frame.h"

namespace {

using namespace gwlb;
using base::DropReason;

void check_error(const wire::ParseError& error, size_t size, uint32_t base_offset) {
  FUZZ_CHECK(error.offset >= base_offset && error.offset - base_offset <= size);
  FUZZ_CHECK(error.layer < wire::Layer::count);
  if (error.reason == DropReason::inner_truncated) FUZZ_CHECK(error.needed > error.had);
}

void check_quote(const uint8_t* data, size_t size, const wire::InnerPacket& packet,
                 const test::ModelInner& model) {
  wire::InnerPacket quote;
  const wire::ParseError error = wire::parse_icmp_quote(data, packet, &quote, 7);
  const test::ModelInner expected = test::model_quote(data, model);
  FUZZ_CHECK(error.reason == expected.reason);
  if (!error.ok()) {
    check_error(error, size, 7);
    return;
  }
  const uint8_t* start = data + packet.transport_offset + 8;
  const char* difference = test::inner_difference(expected, quote, start, wire::kQuote);
  if (*difference != '\0') std::fprintf(stderr, "quote differs: %s\n", difference);
  FUZZ_CHECK(*difference == '\0');
}

// Any cut of a capture either says so or tells what the whole packet tells.
void check_captured(const uint8_t* data, size_t size, const wire::InnerPacket& whole) {
  for (size_t captured = 0; captured < size; captured += 1 + captured / 16) {
    const std::vector<uint8_t> cut(data, data + captured);
    wire::InnerPacket part;
    const wire::ParseError error = wire::parse_captured_inner(cut.data(), captured, size, &part, 3);
    if (!error.ok()) {
      FUZZ_CHECK(error.reason == DropReason::inner_truncated);
      check_error(error, captured, 3);
      continue;
    }
    if (part.total_length != whole.total_length) continue;  // a payload length of 0: to the end
    FUZZ_CHECK(part.protocol == whole.protocol && part.flags == whole.flags);
    FUZZ_CHECK(part.transport_offset == whole.transport_offset);
    FUZZ_CHECK(part.source_port == whole.source_port);
    FUZZ_CHECK(part.destination_port == whole.destination_port);
    FUZZ_CHECK(part.tcp_flags == whole.tcp_flags && part.fragment_id == whole.fragment_id);
  }
}

void check_round_trip(const uint8_t* data, const wire::InnerPacket& packet) {
  constexpr uint32_t kOverhead = wire::kOuterHeaderBytes + wire::kGatewayHeaderBytes;
  const uint32_t length = packet.total_length;
  if (length > 9000) return;
  std::vector<uint8_t> frame(kOverhead + length);
  std::memcpy(frame.data() + kOverhead, data, length);
  const wire::GatewayOptions options{0x0123456789abcdef, length, 0xc00c1e00 + data[0]};
  wire::write_gateway_header(frame.data() + wire::kOuterHeaderBytes,
                             packet.version == 4 ? wire::kEtherTypeIpv4 : wire::kEtherTypeIpv6,
                             wire::kOptionClassAws, options);
  wire::OuterHeader outer;
  outer.source = 0x0a000005;
  outer.destination = 0x0a00010a;
  outer.source_port = static_cast<uint16_t>(32768 + length);
  outer.checksum = true;
  wire::write_outer_header(frame.data(), outer, wire::kGatewayHeaderBytes + length);

  wire::Frame got;
  const wire::ParseError error = wire::parse_frame(frame.data(), frame.size(), frame.size(), 101,
                                                   wire::kOptionClassAws, 6081, &got);
  FUZZ_CHECK(error.ok() && got.has_inner && got.has_gateway_options);
  FUZZ_CHECK(got.checksum == wire::ChecksumState::ok);
  FUZZ_CHECK(got.inner_offset == kOverhead && got.inner.total_length == length);
  FUZZ_CHECK(std::memcmp(frame.data() + got.inner_offset, data, length) == 0);
  FUZZ_CHECK(got.gateway.endpoint_id == options.endpoint_id);
  FUZZ_CHECK(got.gateway.attachment_id == options.attachment_id);
  FUZZ_CHECK(got.gateway.cookie == options.cookie);
  FUZZ_CHECK(got.inner.flags == packet.flags && got.inner.protocol == packet.protocol);
}

// The short way takes what is plain, and nothing else.
void check_plain(const uint8_t* data, size_t size, bool ok, const wire::InnerPacket& packet) {
  wire::PlainInner four, six;
  const bool took4 = wire::parse_plain_ipv4(data, size, &four);
  const bool took6 = wire::parse_plain_ipv6(data, size, &six);
  const uint32_t header = packet.version == 4 ? 20 : 40;
  const bool plain = ok && packet.transport_offset == header && packet.flags == wire::kHasPorts &&
                     (packet.protocol == wire::kTcp || packet.protocol == wire::kUdp);
  FUZZ_CHECK(took4 == (plain && packet.version == 4));
  FUZZ_CHECK(took6 == (plain && packet.version == 6));
  if (!plain) return;
  const wire::PlainInner& taken = took4 ? four : six;
  FUZZ_CHECK(taken.total_length == packet.total_length && taken.protocol == packet.protocol);
  FUZZ_CHECK(taken.tcp_flags == packet.tcp_flags);
}

void check_ecn(const uint8_t* data, const wire::InnerPacket& packet) {
  const uint32_t header = packet.version == 4 ? (data[0] & 0xfu) * 4 : 40;
  std::vector<uint8_t> bytes(data, data + header);
  if (packet.version == 4) {
    const uint16_t sum = wire::ipv4_header_checksum(bytes.data(), header);
    bytes[10] = static_cast<uint8_t>(sum >> 8);
    bytes[11] = static_cast<uint8_t>(sum);
  }
  const std::vector<uint8_t> before = bytes;
  const wire::Ecn ecn = wire::inner_ecn(bytes.data());
  for (const wire::Ecn mark : {wire::Ecn::ce, wire::Ecn::not_ect, wire::Ecn::ect0, ecn}) {
    wire::set_inner_ecn(bytes.data(), mark);
    FUZZ_CHECK(wire::inner_ecn(bytes.data()) == mark);
    if (packet.version != 4) continue;
    const uint16_t sum = wire::ipv4_header_checksum(bytes.data(), header);
    FUZZ_CHECK(bytes[10] == sum >> 8 && bytes[11] == (sum & 0xff));
  }
  FUZZ_CHECK(bytes == before);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const test::ModelInner model = test::model_inner(data, size);
  wire::InnerPacket packet;
  const wire::ParseError error = wire::parse_inner(data, size, &packet, 11);
  FUZZ_CHECK(error.reason == model.reason);
  check_plain(data, size, error.ok(), packet);
  if (!error.ok()) {
    check_error(error, size, 11);
    return 0;
  }
  const char* difference = test::inner_difference(model, packet, data);
  if (*difference != '\0') std::fprintf(stderr, "packet differs: %s\n", difference);
  FUZZ_CHECK(*difference == '\0');
  if ((packet.flags & wire::kIcmpError) != 0) check_quote(data, size, packet, model);
  check_captured(data, size, packet);
  check_round_trip(data, packet);
  check_ecn(data, packet);
  return 0;
}
