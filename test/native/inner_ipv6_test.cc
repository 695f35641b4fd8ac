// The extension header chain.
#include "base/limits.h"
#include "test/native/oracle/inner_model.h"
#include "test/native/wire_rig.h"
#include "wire/inner.h"

namespace gwlb::test {
namespace {

using base::DropReason;
using wire::InnerPacket;
using wire::Layer;
using wire::ParseError;

ParseError parse(const Bytes& bytes, InnerPacket* out) {
  Exact exact(bytes);
  const ParseError error = wire::parse_inner(exact.data(), exact.size(), out);
  const ModelInner model = model_inner(exact.data(), exact.size());
  CHECK_EQ(error.reason, model.reason);
  if (error.ok()) CHECK_EQ(inner_difference(model, *out, exact.data()), "");
  out->source = out->destination = nullptr;  // the block goes
  return error;
}

// An extension header of 8 x (1 + extra) bytes.
Bytes extension(uint8_t next, size_t extra = 0) {
  Bytes b(8 * (1 + extra), 0xee);
  b[0] = next;
  b[1] = static_cast<uint8_t>(extra);
  return b;
}

Bytes fragment(uint8_t next, uint16_t offset_bytes, bool more, uint32_t id = 0xcafe0001) {
  Bytes b(8);
  b[0] = next;
  put16(b, 2, static_cast<uint16_t>(offset_bytes | (more ? 1 : 0)));
  put32(b, 4, id);
  return b;
}

Bytes authentication(uint8_t next, uint8_t words_less_two) {
  Bytes b((words_less_two + 2u) * 4, 0xaa);
  b[0] = next;
  b[1] = words_less_two;
  return b;
}

TEST(plain_packets) {
  InnerPacket packet;
  CHECK(parse(ipv6(1, 2, 6, tcp(1024, 80, 0x02)), &packet).ok());
  CHECK_EQ(packet.version, 6);
  CHECK_EQ(packet.total_length, 60);
  CHECK_EQ(packet.transport_offset, 40);
  CHECK_EQ(packet.source_port, 1024);
  CHECK_EQ(packet.tcp_flags, 0x02);
  CHECK_EQ(packet.flags, wire::kHasPorts);
  CHECK(parse(ipv6(1, 2, 17, udp(5, 6)) + Bytes(10, 1), &packet).ok());  // padding
  CHECK_EQ(packet.total_length, 56);
}

TEST(each_extension_header_is_walked) {
  for (const uint8_t kind : {0, 43, 60, 135, 139, 140}) {
    for (size_t extra = 0; extra < 4; ++extra) {
      InnerPacket packet;
      CHECK(parse(ipv6(1, 2, kind, extension(17, extra) + udp(5, 6)), &packet).ok());
      CHECK_EQ(packet.protocol, 17);
      CHECK_EQ(packet.transport_offset, 48 + 8 * extra);
      CHECK_EQ(packet.destination_port, 6);
    }
  }
}

TEST(authentication_header_counts_in_words) {
  for (uint8_t words = 0; words < 9; ++words) {
    InnerPacket packet;
    CHECK(parse(ipv6(1, 2, 51, authentication(6, words) + tcp(7, 8, 2)), &packet).ok());
    CHECK_EQ(packet.transport_offset, 40 + (words + 2) * 4);
    CHECK_EQ(packet.source_port, 7);
  }
}

TEST(esp_and_no_next_header_end_the_chain) {
  InnerPacket packet;
  CHECK(parse(ipv6(1, 2, 60, extension(50) + Bytes(3, 1)), &packet).ok());
  CHECK_EQ(packet.protocol, 50);
  CHECK_EQ(packet.flags, 0);
  CHECK(parse(ipv6(1, 2, 59, {}), &packet).ok());
  CHECK_EQ(packet.protocol, 59);
}

TEST(a_chain_of_every_kind) {
  const Bytes chain = extension(60) + extension(43, 1) + extension(51, 2) + authentication(135, 4) +
                      extension(139) + extension(140) + extension(17);
  InnerPacket packet;
  CHECK(parse(ipv6(1, 2, 0, chain + udp(5, 6)), &packet).ok());
  CHECK_EQ(packet.transport_offset, 40 + chain.size());
  CHECK_EQ(packet.source_port, 5);
}

TEST(the_chain_is_bounded) {
  Bytes chain;
  InnerPacket packet;
  for (uint32_t headers = 1; headers <= base::kIpv6ExtensionHeadersMax + 2; ++headers) {
    chain = extension(headers == 1 ? 17 : 60) + chain;
    const ParseError error = parse(ipv6(1, 2, 60, chain + udp(5, 6)), &packet);
    if (headers <= base::kIpv6ExtensionHeadersMax) {
      CHECK(error.ok());
      continue;
    }
    CHECK_EQ(error.reason, DropReason::inner_too_many_extensions);
    CHECK_EQ(error.layer, Layer::inner_ipv6_extension);
    CHECK_EQ(error.needed, base::kIpv6ExtensionHeadersMax);
  }
}

TEST(every_cut_inside_the_chain) {
  const Bytes chain = extension(51, 2) + authentication(60, 3) + extension(6, 1) + tcp(1, 2, 2);
  const auto inner = [](const uint8_t* data, size_t length) {
    InnerPacket packet;
    return wire::parse_inner(data, length, &packet);
  };
  const Bytes whole = ipv6(1, 2, 0, chain);
  check_every_cut(whole, whole.size(), DropReason::inner_truncated, inner);
  // The same with a payload length that agrees with the cut: now the chain itself is too long.
  for (size_t length = 41; length < whole.size(); ++length) {
    Bytes cut(whole.begin(), whole.begin() + static_cast<std::ptrdiff_t>(length));
    put16(cut, 4, static_cast<uint16_t>(length - 40));
    InnerPacket packet;
    const ParseError error = parse(cut, &packet);
    CHECK_EQ(error.reason, DropReason::inner_truncated);
    CHECK(error.needed > error.had);
    CHECK(error.layer == Layer::inner_ipv6_extension || error.layer == Layer::inner_tcp);
    CHECK(error.offset >= 40 && error.offset + error.had == length);
  }
}

TEST(a_length_of_255_units_stays_inside) {
  Bytes chain = extension(17, 255);
  InnerPacket packet;
  CHECK(parse(ipv6(1, 2, 0, chain + udp(1, 2)), &packet).ok());
  chain.pop_back();
  CHECK_EQ(parse(ipv6(1, 2, 0, chain), &packet).reason, DropReason::inner_truncated);
}

TEST(a_jumbogram_is_refused) {
  InnerPacket packet;
  Bytes bytes = ipv6(1, 2, 0, extension(6) + tcp(1, 2, 2));
  put16(bytes, 4, 0);
  CHECK_EQ(parse(bytes, &packet).reason, DropReason::inner_bad_total_length);
}

TEST(fragments) {
  InnerPacket packet;
  CHECK(parse(ipv6(1, 2, 44, fragment(17, 0, true) + udp(5, 6)), &packet).ok());
  CHECK_EQ(packet.flags, wire::kHasPorts | wire::kFirstFragment);
  CHECK_EQ(packet.fragment_id, 0xcafe0001);
  CHECK_EQ(packet.source_port, 5);
  for (const bool more : {false, true}) {
    CHECK(parse(ipv6(1, 2, 44, fragment(17, 1448, more) + udp(5, 6)), &packet).ok());
    CHECK_EQ(packet.flags, wire::kLaterFragment);
    CHECK_EQ(packet.fragment_id, 0xcafe0001);
    CHECK_EQ(packet.fragment_offset, 1448);
    CHECK_EQ(packet.protocol, 17);
    CHECK_EQ(packet.source_port, 0);
    CHECK_EQ(packet.transport_offset, 48);
  }
  // What follows a later fragment header is data, also where it says "extension header".
  CHECK(parse(ipv6(1, 2, 44, fragment(60, 8, false) + Bytes(1)), &packet).ok());
  CHECK_EQ(packet.protocol, 60);
  CHECK_EQ(packet.flags, wire::kLaterFragment);
}

TEST(rfc_6946_atomic_fragment_is_a_whole_packet) {
  InnerPacket packet;
  CHECK(parse(ipv6(1, 2, 44, fragment(6, 0, false) + tcp(5, 6, 2)), &packet).ok());
  CHECK_EQ(packet.flags, wire::kHasPorts);
  CHECK_EQ(packet.fragment_id, 0);
  CHECK_EQ(packet.source_port, 5);
  CHECK_EQ(parse(ipv6(1, 2, 44, fragment(6, 0, false) + Bytes(16)), &packet).reason,
           DropReason::inner_truncated);
}

TEST(rfc_7112_first_fragment_holds_the_whole_chain) {
  InnerPacket packet;
  const Bytes first = fragment(60, 0, true);
  CHECK(parse(ipv6(1, 2, 44, first + extension(6) + tcp(1, 2, 2, 4)), &packet).ok());
  CHECK_EQ(packet.flags, wire::kHasPorts | wire::kFirstFragment);
  CHECK_EQ(parse(ipv6(1, 2, 44, first), &packet).reason, DropReason::inner_bad_fragment);
  CHECK_EQ(parse(ipv6(1, 2, 44, first + extension(6)), &packet).reason,
           DropReason::inner_bad_fragment);
  CHECK_EQ(parse(ipv6(1, 2, 44, first + extension(6) + Bytes(16)), &packet).reason,
           DropReason::inner_bad_fragment);
  Bytes long_extension = extension(6);
  long_extension[1] = 3;
  CHECK_EQ(parse(ipv6(1, 2, 44, first + long_extension), &packet).reason,
           DropReason::inner_bad_fragment);
}

TEST(rfc_3128_fragment_that_overwrites_the_flags) {
  InnerPacket packet;
  CHECK_EQ(parse(ipv6(1, 2, 44, fragment(6, 8, false) + Bytes(16)), &packet).reason,
           DropReason::inner_bad_fragment);
  CHECK(parse(ipv6(1, 2, 44, fragment(6, 16, false) + Bytes(16)), &packet).ok());
}

TEST(a_fragment_of_a_fragment_is_refused) {
  InnerPacket packet;
  for (const bool more : {false, true}) {
    const Bytes chain = fragment(44, 0, more) + fragment(17, 0, true) + udp(1, 2);
    CHECK_EQ(parse(ipv6(1, 2, 44, chain), &packet).reason, DropReason::inner_bad_fragment);
  }
}

TEST(every_flipped_bit_of_a_chain_as_the_model_has_it) {
  const Bytes bytes = ipv6(
      1, 2, 0,
      extension(43) + fragment(51, 0, true) + authentication(60, 2) + extension(6) + tcp(1, 2, 2));
  with_every_bit_flipped(bytes, bytes.size(), [](const uint8_t* data, size_t size, size_t) {
    const ModelInner model = model_inner(data, size);
    InnerPacket packet;
    const ParseError error = wire::parse_inner(data, size, &packet);
    CHECK_EQ(error.reason, model.reason);
    if (error.ok()) CHECK_EQ(inner_difference(model, packet, data), "");
  });
}

}  // namespace
}  // namespace gwlb::test
