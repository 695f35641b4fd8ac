#include "wire/checksum.h"

#include "test/native/wire_rig.h"

namespace gwlb::test {
namespace {

using wire::checksum_add;
using wire::checksum_finish;
using wire::checksum_update;

TEST(rfc_1071_example) {
  const Bytes data = hex("0001 f203 f4f5 f6f7");
  CHECK_EQ(checksum_finish(checksum_add(data.data(), data.size())), 0x220d);
}

TEST(rfc_1624_example) { CHECK_EQ(checksum_update(0xdd2f, 0x5555, 0x3285), 0x0000); }

TEST(ipv4_header_of_a_textbook) {
  const Bytes header = hex("45000073 00004000 4011b861 c0a80001 c0a800c7");
  CHECK_EQ(wire::ipv4_header_checksum(header.data(), header.size()), 0xb861);
  Bytes with_options = hex("46000073 00004000 40110000 c0a80001 c0a800c7 94040000");
  put16(with_options, 10, ones_complement(with_options.data(), 24));
  CHECK_EQ(wire::ipv4_header_checksum(with_options.data(), 24),
           with_options[10] * 256 + with_options[11]);
}

TEST(every_length_and_alignment_as_a_byte_wise_sum) {
  Bytes data(300);
  for (size_t i = 0; i < data.size(); ++i) data[i] = static_cast<uint8_t>(i * 151 + i / 7);
  for (size_t start = 0; start < 9; ++start) {
    for (size_t length = 0; length < 280; ++length) {
      Exact part(data.data() + start, length);
      CHECK_EQ(checksum_finish(checksum_add(part.data(), length)),
               ones_complement(part.data(), length));
      CHECK_EQ(checksum_finish(checksum_add(data.data() + start, length)),
               ones_complement(part.data(), length));
    }
  }
}

// Folds a sum of little-endian words and swaps it: as the field holds it, not inverted.
uint16_t folded(uint64_t little) {
  while (little >> 16 != 0) little = (little & 0xffff) + (little >> 16);
  return __builtin_bswap16(static_cast<uint16_t>(little));
}

TEST(every_version_is_the_portable_one_at_every_length_and_alignment) {
  constexpr size_t kBytes = 2000;
  constexpr size_t kAlignments = 64;
  wire::ChecksumVersion versions[wire::kChecksumVersionsMax];
  const size_t count = wire::checksum_versions(versions);
  REQUIRE(count >= 1);
  CHECK_EQ(versions[0].name, "portable");
#if defined(__x86_64__) || defined(__aarch64__)
  CHECK(count >= 2);
#endif
  uint32_t random = 7;
  Bytes data[4] = {Bytes(kBytes + kAlignments), Bytes(kBytes + kAlignments, 0xff),
                   Bytes(kBytes + kAlignments), Bytes(kBytes + kAlignments, 0)};
  for (size_t i = 0; i < data[0].size(); ++i) {
    random = random * 1664525 + 1013904223;
    data[0][i] = static_cast<uint8_t>(random >> 24);
    data[2][i] = random >> 28 == 0 ? 0xfe : 0xff;  // nearly every addition carries
  }
  for (const Bytes& bytes : data) {
    for (size_t start = 0; start < kAlignments; ++start) {
      const uint8_t* from = bytes.data() + start;
      // Sums of prefixes, a byte at a time: the model of all lengths in one walk.
      uint64_t expected = 0;
      for (size_t length = 0; length <= kBytes; ++length) {
        const uint64_t portable = versions[0].add(from, length);
        if (folded(portable) != folded(expected)) CHECK_EQ(folded(portable), folded(expected));
        for (size_t v = 1; v < count; ++v) {
          // The unfolded sums may differ; not as numbers modulo 65,535.
          const uint64_t sum = versions[v].add(from, length);
          if (folded(sum) != folded(portable)) CHECK_EQ(folded(sum), folded(portable));
        }
        if (length < kBytes) expected += length % 2 == 0 ? from[length] : from[length] * 256u;
      }
    }
  }
}

TEST(no_version_reads_beside_its_data) {
  wire::ChecksumVersion versions[wire::kChecksumVersionsMax];
  const size_t count = wire::checksum_versions(versions);
  const Bytes ones(300, 0xff);
  for (size_t length = 0; length <= ones.size(); ++length) {
    Exact part(ones.data(), length);
    const uint16_t expected = length == 0 ? 0 : length % 2 == 0 ? 0xffff : 0xff00;
    for (size_t v = 0; v < count; ++v) {
      CHECK_EQ(folded(versions[v].add(part.data(), length)), expected);
    }
  }
}

// 32 bits of a lane overflow after 128 KiB of ones, were they what is added to.
TEST(long_data_does_not_overflow) {
  wire::ChecksumVersion versions[wire::kChecksumVersionsMax];
  const size_t count = wire::checksum_versions(versions);
  Bytes data(4u << 20, 0xff);
  data[1000] = 0x00;
  data[2001] = 0x7f;
  uint64_t expected = 0;
  for (size_t i = 0; i < data.size(); ++i) expected += i % 2 == 0 ? data[i] : data[i] * 256u;
  for (size_t v = 0; v < count; ++v) {
    CHECK_EQ(folded(versions[v].add(data.data(), data.size())), folded(expected));
  }
}

TEST(carries_of_a_jumbo_packet_of_ones) {
  const Bytes ones(9000, 0xff);
  CHECK_EQ(checksum_finish(checksum_add(ones.data(), ones.size())), 0x0000);
  const Bytes zeros(9000, 0);
  CHECK_EQ(checksum_finish(checksum_add(zeros.data(), zeros.size())), 0xffff);
}

TEST(sums_of_parts_add_up) {
  Bytes data(101);
  for (size_t i = 0; i < data.size(); ++i) data[i] = static_cast<uint8_t>(i * 89 + 3);
  const uint16_t whole = checksum_finish(checksum_add(data.data(), data.size()));
  for (size_t cut = 0; cut <= data.size(); cut += 2) {
    const uint64_t first = checksum_add(data.data(), cut);
    CHECK_EQ(checksum_finish(checksum_add(data.data() + cut, data.size() - cut, first)), whole);
  }
}

// Made with scapy: IP(src="192.0.2.1",dst="198.51.100.2")/UDP(sport=1000,dport=53)/b"abc" and the
// same over IPv6 2001:db8::1 -> 2001:db8::2.
TEST(udp_checksums_by_scapy) {
  const Bytes four = hex("c0000201 c6336402");
  Bytes udp4 = hex("03e8 0035 000b 4b21 616263");
  const Bytes six = hex("20010db8000000000000000000000001 20010db8000000000000000000000002");
  Bytes udp6 = hex("03e8 0035 000b dbe3 616263");
  const uint8_t* a = four.data();
  CHECK_EQ(wire::transport_checksum(a, a + 4, 4, 17, udp4.data(), udp4.size()), 0);
  CHECK_EQ(wire::transport_checksum(six.data(), six.data() + 16, 16, 17, udp6.data(), udp6.size()),
           0);
  put16(udp4, 6, 0);
  put16(udp6, 6, 0);
  CHECK_EQ(wire::transport_checksum(a, a + 4, 4, 17, udp4.data(), udp4.size()), 0x4b21);
  CHECK_EQ(wire::transport_checksum(six.data(), six.data() + 16, 16, 17, udp6.data(), udp6.size()),
           0xdbe3);
}

TEST(update_equals_a_new_sum) {
  Bytes header = hex("45b80073 12344000 4011 0000 c0a80001 c0a800c7");
  put16(header, 10, wire::ipv4_header_checksum(header.data(), 20));
  uint32_t random = 1;
  for (int i = 0; i < 20000; ++i) {
    random = random * 1664525 + 1013904223;
    const size_t at = (random >> 8) % 10 * 2;
    // The version stays: a header of zeros only is the one case where 0 and 0xffff differ.
    if (at == 10 || at == 0) continue;
    const auto after = static_cast<uint16_t>(random >> 16);
    const auto before = static_cast<uint16_t>(header[at] * 256 + header[at + 1]);
    const auto field = static_cast<uint16_t>(header[10] * 256 + header[11]);
    put16(header, at, after);
    put16(header, 10, checksum_update(field, before, after));
    CHECK_EQ(wire::ipv4_header_checksum(header.data(), 20), header[10] * 256 + header[11]);
  }
}

}  // namespace
}  // namespace gwlb::test
