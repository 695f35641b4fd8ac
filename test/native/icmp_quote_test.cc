#include "test/native/wire_rig.h"
#include "wire/inner.h"

namespace gwlb::test {
namespace {

using base::DropReason;
using wire::InnerPacket;
using wire::ParseError;

constexpr uint32_t kA = 0x0a010203;
constexpr uint32_t kB = 0xc0a80105;
constexpr uint32_t kRouter = 0x0a0000fe;

struct Quoted {
  ParseError error;
  InnerPacket quote;
  size_t offset = 0;  // of the quote's source address in the whole packet
};

// Both parsers over a heap block of exactly the packet's size.
Quoted parse(const Bytes& bytes) {
  Exact exact(bytes);
  Quoted out;
  InnerPacket error;
  const ParseError outer = wire::parse_inner(exact.data(), exact.size(), &error);
  CHECK(outer.ok());
  CHECK((error.flags & wire::kIcmpError) != 0);
  if (!outer.ok()) return out;
  out.error = wire::parse_icmp_quote(exact.data(), error, &out.quote);
  if (out.error.ok()) {
    CHECK(out.quote.transport_offset <= out.quote.total_length);
    CHECK((out.quote.flags & wire::kQuote) != 0);
    out.offset = static_cast<size_t>(out.quote.source - exact.data());
  }
  return out;
}

Bytes icmp(uint8_t type, uint8_t code, const Bytes& quote, uint32_t rest = 0) {
  Bytes b(8);
  b[0] = type;
  b[1] = code;
  put32(b, 4, rest);
  return b + quote;
}

Bytes error4(const Bytes& quote, uint8_t type = 3, uint32_t rest = 0) {
  return ipv4(kRouter, kA, 1, icmp(type, 1, quote, rest));
}
Bytes error6(const Bytes& quote, uint8_t type = 1, uint32_t rest = 0) {
  return ipv6(9, 1, 58, icmp(type, 0, quote, rest));
}
Bytes first(const Bytes& bytes, size_t size) {
  return Bytes(bytes.begin(), bytes.begin() + static_cast<std::ptrdiff_t>(size));
}

TEST(eight_bytes_of_transport_are_enough) {
  const Quoted got = parse(error4(first(ipv4(kA, kB, 6, tcp(51515, 443, 2)), 28)));
  REQUIRE(got.error.ok());
  CHECK_EQ(got.offset, 28 + 12);
  CHECK_EQ(got.quote.version, 4);
  CHECK_EQ(got.quote.protocol, 6);
  CHECK_EQ(got.quote.source_port, 51515);
  CHECK_EQ(got.quote.destination_port, 443);
  CHECK_EQ(got.quote.flags, wire::kQuote | wire::kHasPorts);
  CHECK_EQ(got.quote.total_length, 28);
}

TEST(every_length_of_an_ipv4_quote) {
  for (const uint8_t protocol : {6, 17, 136, 132}) {
    const Bytes about = ipv4(kA, kB, protocol, tcp(1111, 2222, 2));
    for (size_t length = 0; length <= about.size(); ++length) {
      const Quoted got = parse(error4(first(about, length)));
      CHECK_EQ(got.error.ok(), length >= 20);
      if (length < 20) {
        CHECK_EQ(got.error.reason, DropReason::icmp_bad_quote);
        CHECK_EQ(got.error.layer, wire::Layer::inner_icmp_quote);
        CHECK_EQ(got.error.offset, 28);
        CHECK_EQ(got.error.needed, 20);
        CHECK_EQ(got.error.had, length);
        continue;
      }
      CHECK_EQ(got.quote.protocol, protocol);
      CHECK_EQ((got.quote.flags & wire::kHasPorts) != 0, length >= 24);
      CHECK_EQ(got.quote.source_port, length >= 24 ? 1111 : 0);
      CHECK_EQ(got.quote.destination_port, length >= 24 ? 2222 : 0);
    }
  }
}

TEST(quoted_options_move_the_ports_and_may_be_cut) {
  Bytes about = ipv4(kA, kB, 17, udp(53, 5353));
  about.insert(about.begin() + 20, 40, 1);
  about[0] = 0x4f;
  put16(about, 2, static_cast<uint16_t>(about.size()));
  for (size_t length = 20; length <= about.size(); ++length) {
    const Quoted got = parse(error4(first(about, length)));
    REQUIRE(got.error.ok());
    CHECK_EQ((got.quote.flags & wire::kHasPorts) != 0, length >= 64);
    if (length >= 64) CHECK_EQ(got.quote.source_port, 53);
  }
}

TEST(quoted_echo_has_its_type) {
  const Quoted got = parse(error4(first(ipv4(kA, kB, 1, icmp_echo(false, 7)), 28), 11));
  REQUIRE(got.error.ok());
  CHECK_EQ(got.quote.icmp_type, 8);
  CHECK_EQ(got.quote.flags, wire::kQuote);
}

TEST(no_error_about_an_error) {
  const Bytes nested = error4(first(ipv4(kA, kB, 17, udp(1, 2)), 28));
  for (const size_t length : {21u, 22u, 28u}) {
    CHECK_EQ(parse(error4(first(nested, length))).error.reason, DropReason::icmp_bad_quote);
  }
  CHECK(parse(error4(first(nested, 20))).error.ok());  // cannot be told
  const Bytes nested6 = error6(ipv6(1, 2, 17, udp(1, 2)));
  CHECK_EQ(parse(error6(nested6)).error.reason, DropReason::icmp_bad_quote);
  CHECK(parse(error6(ipv6(1, 2, 58, icmp(128, 0, {})))).error.ok());
}

TEST(quoted_fragments) {
  Quoted got = parse(error4(ipv4(kA, kB, 17, udp(1, 2), 0x2000, 0xbeef)));
  REQUIRE(got.error.ok());
  CHECK_EQ(got.quote.flags, wire::kQuote | wire::kFirstFragment | wire::kHasPorts);
  CHECK_EQ(got.quote.fragment_id, 0xbeef);
  got = parse(error4(ipv4(kA, kB, 17, udp(1, 2), 0x2000 | 185, 0xbeef)));
  REQUIRE(got.error.ok());
  CHECK_EQ(got.quote.flags, wire::kQuote | wire::kLaterFragment);
  CHECK_EQ(got.quote.fragment_id, 0xbeef);
  CHECK_EQ(got.quote.source_port, 0);
}

TEST(malformed_quotes) {
  const Bytes good = ipv4(kA, kB, 17, udp(1, 2));
  for (const uint8_t first_byte : {0x44, 0x40, 0x55, 0x65, 0x00}) {
    Bytes bad = good;
    bad[0] = first_byte;
    CHECK_EQ(parse(error4(bad)).error.reason, DropReason::icmp_bad_quote);
  }
  Bytes short_total = good;
  put16(short_total, 2, 19);
  const ParseError error = parse(error4(short_total)).error;
  CHECK_EQ(error.reason, DropReason::icmp_bad_quote);
  CHECK_EQ(error.needed, 20);
  CHECK_EQ(error.had, 19);
  // An IPv4 error quotes IPv4, an IPv6 error quotes IPv6.
  CHECK_EQ(parse(error4(ipv6(1, 2, 17, udp(1, 2)))).error.reason, DropReason::icmp_bad_quote);
  CHECK_EQ(parse(error6(good)).error.reason, DropReason::icmp_bad_quote);
}

TEST(the_total_length_of_the_quoted_packet_may_be_any_larger) {
  Bytes about = ipv4(kA, kB, 17, udp(1, 2));
  put16(about, 2, 1500);
  const Quoted got = parse(error4(first(about, 28)));
  REQUIRE(got.error.ok());
  CHECK_EQ(got.quote.total_length, 28);
  CHECK((got.quote.flags & wire::kHasPorts) != 0);
}

TEST(rfc_4884_length_bounds_the_quote) {
  const Bytes about = ipv4(kA, kB, 17, udp(1111, 2222));
  const Bytes with_extensions =
      first(about, 28) + Bytes(100, 0) + hex("2000 0000 0008 0101 00000000");
  for (const uint8_t type : {3, 11, 12}) {
    // 32 words of 4 bytes; then too few for the ports, for the header, and more than there is.
    Quoted got = parse(error4(with_extensions, type, 32u << 16));
    REQUIRE(got.error.ok());
    CHECK_EQ(got.quote.source_port, 1111);
    got = parse(error4(with_extensions, type, 5u << 16));
    REQUIRE(got.error.ok());
    CHECK_EQ(got.quote.flags, wire::kQuote);
    CHECK_EQ(parse(error4(with_extensions, type, 4u << 16)).error.reason,
             DropReason::icmp_bad_quote);
    CHECK(parse(error4(with_extensions, type, 255u << 16)).error.ok());
  }
  // The others have something else there.
  CHECK(parse(error4(about, 5, 0x0a010101)).error.ok());
  CHECK(parse(error4(about, 4, 1u << 16)).error.ok());
}

TEST(rfc_4884_length_of_icmpv6_counts_in_eight_bytes) {
  const Bytes about = ipv6(1, 2, 17, udp(1111, 2222));
  CHECK_EQ(parse(error6(about, 1, 4u << 24)).error.reason, DropReason::icmp_bad_quote);
  const Quoted got = parse(error6(about, 3, 5u << 24));
  REQUIRE(got.error.ok());
  CHECK_EQ(got.quote.flags, wire::kQuote);
  // Packet too big has its MTU there.
  CHECK((parse(error6(about, 2, 1280)).quote.flags & wire::kHasPorts) != 0);
  CHECK((parse(error6(about, 2, 1u << 24)).quote.flags & wire::kHasPorts) != 0);
}

TEST(every_length_of_an_ipv6_quote_with_extension_headers) {
  const Bytes hop = hex("2c 00 050200000000");
  const Bytes atomic = hex("3c 00 0000 cafe0001");
  const Bytes destination = hex("11 01") + Bytes(14, 0);
  const Bytes about = ipv6(1, 2, 0, hop + atomic + destination + udp(1111, 2222));
  for (size_t length = 0; length <= about.size(); ++length) {
    const Quoted got = parse(error6(first(about, length)));
    CHECK_EQ(got.error.ok(), length >= 40);
    if (length < 40) {
      CHECK_EQ(got.error.needed, 40);
      CHECK_EQ(got.error.had, length);
      continue;
    }
    const int protocol = length < 48 ? 0 : length < 56 ? 44 : length < 72 ? 60 : 17;
    CHECK_EQ(got.quote.protocol, protocol);
    CHECK_EQ((got.quote.flags & wire::kHasPorts) != 0, length >= 76);
    if (length >= 76) CHECK_EQ(got.quote.destination_port, 2222);
  }
}

TEST(quoted_ipv6_fragments_and_endless_chains) {
  Quoted got = parse(error6(ipv6(1, 2, 44, hex("11 00 0009 cafe0001") + udp(1, 2))));
  REQUIRE(got.error.ok());
  CHECK_EQ(got.quote.flags, wire::kQuote | wire::kLaterFragment);
  CHECK_EQ(got.quote.fragment_id, 0xcafe0001);
  CHECK_EQ(got.quote.fragment_offset, 8);
  got = parse(error6(ipv6(1, 2, 44, hex("11 00 0001 cafe0001") + udp(1, 2))));
  REQUIRE(got.error.ok());
  CHECK_EQ(got.quote.flags, wire::kQuote | wire::kFirstFragment | wire::kHasPorts);
  Bytes chain;
  for (int i = 0; i < 9; ++i) chain = chain + hex("3c 00 000000000000");
  CHECK_EQ(parse(error6(ipv6(1, 2, 60, chain))).error.reason, DropReason::icmp_bad_quote);
  const Bytes two = hex("2c 00 0001 00000001 11 00 0001 00000002");
  CHECK_EQ(parse(error6(ipv6(1, 2, 44, two))).error.reason, DropReason::icmp_bad_quote);
}

TEST(base_offset_is_added) {
  Exact exact(error4(hex("45")));
  InnerPacket error;
  InnerPacket quote;
  REQUIRE(wire::parse_inner(exact.data(), exact.size(), &error).ok());
  CHECK_EQ(wire::parse_icmp_quote(exact.data(), error, &quote, 50).offset, 78);
}

// Whatever bit flips, nothing is read outside (the block is exact) and the result hangs together.
TEST(every_flipped_bit_stays_consistent) {
  for (const Bytes& bytes : {error4(first(ipv4(kA, kB, 6, tcp(1, 2, 2)), 28)),
                             error6(ipv6(1, 2, 0, hex("11 00 000000000000") + udp(1, 2)))}) {
    with_every_bit_flipped(bytes, bytes.size(), [](const uint8_t* data, size_t size, size_t) {
      InnerPacket error;
      InnerPacket quote;
      if (!wire::parse_inner(data, size, &error).ok()) return;
      if ((error.flags & wire::kIcmpError) == 0) return;
      const ParseError result = wire::parse_icmp_quote(data, error, &quote);
      if (!result.ok()) {
        CHECK_EQ(result.reason, DropReason::icmp_bad_quote);
        return;
      }
      const uint32_t address = quote.version == 4 ? 4 : 16;
      CHECK(quote.source > data && quote.destination + address <= data + size);
      CHECK(quote.total_length <= size);
      CHECK(quote.transport_offset <= quote.total_length);
      const bool later = (quote.flags & wire::kLaterFragment) != 0;
      CHECK(!later || (quote.flags & wire::kHasPorts) == 0);
    });
  }
}

}  // namespace
}  // namespace gwlb::test
