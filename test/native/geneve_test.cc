#include "wire/geneve.h"

#include "test/native/oracle/geneve_model.h"
#include "test/native/wire_rig.h"

namespace gwlb::test {
namespace {

using base::DropReason;
using wire::GeneveHeader;
using wire::GeneveOption;
using wire::GeneveOptionWalk;
using wire::Layer;
using wire::ParseError;

ParseError parse(const Bytes& bytes, GeneveHeader* header) {
  Exact exact(bytes);
  return wire::parse_geneve(exact.data(), exact.size(), header);
}

TEST(base_header_fields_are_where_rfc_8926_puts_them) {
  GeneveHeader header;
  CHECK(parse(hex("01 c0 65 58 12 34 56 00  01 08 03 00"), &header).ok());
  CHECK_EQ(header.version, 0);
  CHECK_EQ(header.option_bytes, 4);
  CHECK_EQ(header.header_length(), 12);
  CHECK(header.control);
  CHECK(header.critical);
  CHECK_EQ(header.protocol_type, 0x6558);
  CHECK_EQ(header.vni, 0x123456);
  CHECK(parse(hex("00 40 86dd ffffff 00"), &header).ok());
  CHECK(!header.control);
  CHECK(header.critical);
  CHECK_EQ(header.vni, 0xffffff);
}

TEST(reserved_bits_are_ignored) {
  GeneveHeader header;
  CHECK(parse(hex("00 3f 0800 000007 ff"), &header).ok());
  CHECK(!header.control);
  CHECK(!header.critical);
  CHECK_EQ(header.vni, 7);
}

TEST(version_is_two_bits_which_gopacket_reads_as_one) {
  for (const int version : {1, 2, 3}) {
    Bytes bytes = hex("00 80 0800 00002a 00");
    bytes[0] = static_cast<uint8_t>(version << 6);
    GeneveHeader header;
    const ParseError error = parse(bytes, &header);
    CHECK_EQ(error.reason, DropReason::geneve_bad_version);
    CHECK_EQ(error.layer, Layer::geneve);
    CHECK_EQ(error.had, version);
    CHECK_EQ(header.version, version);
    CHECK_EQ(header.vni, 0x2a);  // readable all the same
    CHECK(header.control);
  }
}

TEST(seven_bytes_are_no_header_which_gopacket_takes_for_one) {
  GeneveHeader header;
  const ParseError error = parse(hex("00 00 0800 000000"), &header);
  CHECK_EQ(error.reason, DropReason::geneve_truncated);
  CHECK_EQ(error.needed, 8);
  CHECK_EQ(error.had, 7);
}

TEST(three_bytes_are_no_option_where_gopacket_reads_a_fourth) {
  for (size_t bytes = 1; bytes < 4; ++bytes) {
    Exact three(hex("01 08 01").data(), std::min<size_t>(bytes, 3));
    GeneveOptionWalk walk(three.data(), static_cast<uint32_t>(bytes), 100);
    GeneveOption option;
    CHECK(!walk.next(&option));
    CHECK_EQ(walk.error().reason, DropReason::geneve_bad_options);
    CHECK_EQ(walk.error().needed, 4);
    CHECK_EQ(walk.error().had, bytes);
    CHECK_EQ(walk.error().offset, 100);
  }
}

TEST(an_option_longer_than_the_rest_is_not_read_as_the_aws_handler_does) {
  // The last option says 8 bytes of data where 4 are left.
  Exact options(hex("0108 03 01 00000001  0108 01 02 11111111"));
  GeneveOptionWalk walk(options.data(), static_cast<uint32_t>(options.size()), 8);
  GeneveOption option;
  CHECK(walk.next(&option));
  CHECK(!walk.next(&option));
  CHECK_EQ(walk.error().reason, DropReason::geneve_bad_options);
  CHECK_EQ(walk.error().layer, Layer::geneve_option);
  CHECK_EQ(walk.error().offset, 16);
  CHECK_EQ(walk.error().needed, 12);
  CHECK_EQ(walk.error().had, 8);
  CHECK(!walk.next(&option));  // an error stays
}

TEST(options_at_any_alignment_where_the_aws_handler_casts_pointers) {
  const Bytes bytes = hex("01 00 0800 00abcd 00 0108 83 00");
  for (size_t shift = 0; shift < 8; ++shift) {
    Exact block(Bytes(shift, 0xee) + bytes);
    GeneveHeader header;
    CHECK(wire::parse_geneve(block.data() + shift, bytes.size(), &header).ok());
    CHECK_EQ(header.vni, 0xabcd);
    GeneveOptionWalk walk(block.data() + shift + 8, header.option_bytes);
    GeneveOption option;
    REQUIRE(walk.next(&option));
    CHECK_EQ(option.option_class, 0x0108);
    CHECK_EQ(option.type, 0x83);
    CHECK(option.critical());
    CHECK_EQ(option.length, 0);
    CHECK(!walk.next(&option));
    CHECK(walk.error().ok());
  }
}

TEST(every_cut_says_what_was_missing) {
  const Bytes bytes = hex("3f 00 0800 000000 00") + Bytes(252, 0);
  check_every_cut(bytes, bytes.size(), DropReason::geneve_truncated,
                  [](const uint8_t* data, size_t length) {
                    GeneveHeader header;
                    return wire::parse_geneve(data, length, &header);
                  });
}

TEST(base_offset_is_added) {
  GeneveHeader header;
  CHECK_EQ(wire::parse_geneve(nullptr, 0, &header, 42).offset, 42);
}

TEST(reserved_bits_of_an_option_are_not_its_length) {
  Exact options(hex("0108 01 e0"));
  GeneveOptionWalk walk(options.data(), 4);
  GeneveOption option;
  REQUIRE(walk.next(&option));
  CHECK_EQ(option.length, 0);
}

TEST(no_options_is_no_error) {
  GeneveOptionWalk walk(nullptr, 0);
  GeneveOption option;
  CHECK(!walk.next(&option));
  CHECK(walk.error().ok());
}

TEST(written_headers_read_back) {
  for (uint32_t i = 0; i < 4000; ++i) {
    const uint32_t r = i * 2654435761u;
    GeneveHeader in;
    in.vni = r >> 8;
    in.protocol_type = static_cast<uint16_t>(r >> 3);
    in.option_bytes = static_cast<uint16_t>(i % 64 * 4);
    in.control = i % 3 == 0;
    in.critical = i % 5 == 0;
    Bytes bytes(8 + in.option_bytes, 0xa5);
    wire::write_geneve(bytes.data(), in);
    CHECK_EQ(bytes[1] & 0x3f, 0);
    CHECK_EQ(bytes[7], 0);
    GeneveHeader out;
    CHECK(parse(bytes, &out).ok());
    CHECK_EQ(out.vni, in.vni);
    CHECK_EQ(out.protocol_type, in.protocol_type);
    CHECK_EQ(out.option_bytes, in.option_bytes);
    CHECK_EQ(out.control, in.control);
    CHECK_EQ(out.critical, in.critical);
  }
}

TEST(written_options_read_back) {
  const Bytes payload(124, 0x5a);
  for (uint32_t length = 0; length <= 124; length += 4) {
    Bytes bytes(4 + length);
    const GeneveOption in{payload.data(), 0xff01, static_cast<uint8_t>(0x80 | length),
                          static_cast<uint8_t>(length)};
    CHECK_EQ(wire::write_geneve_option(bytes.data(), in), 4 + length);
    Exact exact(bytes);
    GeneveOptionWalk walk(exact.data(), 4 + length);
    GeneveOption out;
    REQUIRE(walk.next(&out));
    CHECK_EQ(out.option_class, in.option_class);
    CHECK_EQ(out.type, in.type);
    REQUIRE(out.length == length);
    CHECK(length == 0 || std::memcmp(out.data, payload.data(), length) == 0);
    CHECK(!walk.next(&out));
    CHECK(walk.error().ok());
  }
}

TEST(every_flipped_bit_as_the_byte_wise_model_has_it) {
  const Bytes bytes = hex("08 00 0800 000000 00 0108 01 02 1122334455667788") +
                      hex("0108 02 02 0000000000000000 0108 03 01 deadbeef");
  with_every_bit_flipped(bytes, bytes.size(), [](const uint8_t* data, size_t size, size_t) {
    const ModelGeneve model = model_geneve(data, size);
    GeneveHeader header;
    ParseError error = wire::parse_geneve(data, size, &header);
    size_t seen = 0;
    if (error.ok()) {
      GeneveOptionWalk walk(data + 8, header.option_bytes, 8);
      GeneveOption option;
      while (walk.next(&option)) {
        REQUIRE(seen < model.options.size());
        const ModelOption& expected = model.options[seen++];
        CHECK_EQ(option.option_class, expected.option_class);
        CHECK_EQ(option.type, expected.type);
        REQUIRE(option.length == expected.data.size());
        CHECK(std::equal(expected.data.begin(), expected.data.end(), option.data));
      }
      error = walk.error();
    }
    CHECK_EQ(error.reason, model.reason);
    CHECK_EQ(seen, model.options.size());
    CHECK_EQ(header.vni, model.vni);
    CHECK_EQ(header.protocol_type, model.protocol_type);
    CHECK_EQ(header.control, model.control);
    CHECK_EQ(header.critical, model.critical);
  });
}

}  // namespace
}  // namespace gwlb::test
