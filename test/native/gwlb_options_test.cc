#include "wire/gwlb_options.h"

#include <algorithm>

#include "test/native/oracle/geneve_model.h"
#include "test/native/wire_rig.h"
#include "wire/checksum.h"

namespace gwlb::test {
namespace {

using base::DropReason;
using wire::GatewayOptions;
using wire::GeneveHeader;
using wire::kOptionClassAws;
using wire::Layer;
using wire::ParseError;

const Bytes kEndpoint = hex("0108 01 02 31e129cdc0cd8633");
const Bytes kAttachment = hex("0108 02 02 0102030405060708");
const Bytes kCookie = hex("0108 03 01 3dc956ac");

Bytes with_options(const Bytes& options, uint8_t flags = 0) {
  Bytes base = hex("00 00 0800 000000 00");
  base[0] = static_cast<uint8_t>(options.size() / 4);
  base[1] = flags;
  return base + options;
}

struct Result {
  ParseError error;
  GeneveHeader header;
  GatewayOptions options;
};

Result parse(const Bytes& bytes, uint16_t option_class = kOptionClassAws) {
  Exact exact(bytes);
  Result out;
  out.error = wire::parse_gateway_header(exact.data(), exact.size(), option_class, &out.header,
                                         &out.options);
  return out;
}

void check_values(const Result& result) {
  CHECK(result.error.ok());
  CHECK_EQ(result.options.endpoint_id, 0x31e129cdc0cd8633u);
  CHECK_EQ(result.options.attachment_id, 0x0102030405060708u);
  CHECK_EQ(result.options.cookie, 0x3dc956acu);
}

TEST(written_header_is_the_layout_of_aws_byte_for_byte) {
  Bytes bytes(40, 0xff);
  wire::write_gateway_header(bytes.data(), 0x86dd, kOptionClassAws,
                             {0x31e129cdc0cd8633, 0, 0x3dc956ac});
  CHECK(bytes == hex("08 00 86 dd 00 00 00 00"
                     "01 08 01 02 31 e1 29 cd c0 cd 86 33"
                     "01 08 02 02 00 00 00 00 00 00 00 00"
                     "01 08 03 01 3d c9 56 ac"));
}

TEST(the_options_of_a_tencent_capture_with_their_class) {
  const Bytes options = hex("0167010262696730766a306a 016702020000000000000000 016703015fdde97c");
  const Result result = parse(with_options(options), 0x0167);
  CHECK(result.error.ok());
  CHECK_EQ(result.options.endpoint_id, 0x62696730766a306au);  // "big0vj0j": any eight bytes
  CHECK_EQ(result.options.attachment_id, 0u);
  CHECK_EQ(result.options.cookie, 0x5fdde97cu);
  CHECK_EQ(parse(with_options(options)).error.reason, DropReason::gateway_options_missing);
}

TEST(any_order_among_any_others) {
  const Bytes other = hex("0132 01 03 000000010000000200000003");
  const Bytes empty = hex("ffff 00 00");
  std::vector<Bytes> parts = {kEndpoint, kAttachment, kCookie};
  std::vector<int> order = {0, 1, 2};
  do {
    const Bytes three = parts[order[0]] + parts[order[1]] + parts[order[2]];
    check_values(parse(with_options(three)));
    check_values(parse(with_options(other + three)));
    check_values(parse(
        with_options(parts[order[0]] + empty + parts[order[1]] + other + parts[order[2]] + empty)));
  } while (std::next_permutation(order.begin(), order.end()));
}

TEST(the_same_types_of_another_class_are_other_options) {
  const Bytes foreign = hex("0132 01 01 00000001 0132 02 01 00000001 0132 03 00");
  check_values(parse(with_options(foreign + kEndpoint + kAttachment + kCookie)));
  const Result result = parse(with_options(foreign));
  CHECK_EQ(result.error.reason, DropReason::gateway_options_missing);
  CHECK_EQ(result.error.needed, 3);
  CHECK_EQ(result.error.had, 0);
}

TEST(of_an_option_that_occurs_twice_the_first_counts) {
  const Bytes second = hex("0108 03 01 00000000");
  check_values(parse(with_options(kEndpoint + kAttachment + kCookie + second)));
}

TEST(each_missing_option_is_missed) {
  for (const Bytes& two : {kEndpoint + kAttachment, kEndpoint + kCookie, kAttachment + kCookie}) {
    const ParseError error = parse(with_options(two)).error;
    CHECK_EQ(error.reason, DropReason::gateway_options_missing);
    CHECK_EQ(error.had, 2);
  }
  CHECK_EQ(parse(with_options({})).error.reason, DropReason::gateway_options_missing);
}

TEST(another_length_is_refused_with_both_lengths) {
  const Bytes short_endpoint = hex("0108 01 01 00000000");
  const ParseError error = parse(with_options(kCookie + short_endpoint + kAttachment)).error;
  CHECK_EQ(error.reason, DropReason::gateway_options_length);
  CHECK_EQ(error.layer, Layer::geneve_option);
  CHECK_EQ(error.offset, 16);
  CHECK_EQ(error.needed, 8);
  CHECK_EQ(error.had, 4);
  for (const char* wrong : {"0108 02 00", "0108 02 03 000000000000000000000000", "0108 03 00",
                            "0108 03 02 0000000000000000", "0108 01 00"}) {
    CHECK_EQ(parse(with_options(kEndpoint + kAttachment + kCookie + hex(wrong))).error.reason,
             DropReason::gateway_options_length);
  }
}

TEST(unknown_critical_option_is_refused_whatever_the_c_bit_says) {
  for (const uint8_t flags : {uint8_t{0x00}, uint8_t{0x40}}) {
    const Bytes all = kEndpoint + kAttachment + kCookie + hex("ffff 80 00");
    const ParseError error = parse(with_options(all, flags)).error;
    CHECK_EQ(error.reason, DropReason::geneve_critical_option);
    CHECK_EQ(error.offset, 40);
    CHECK_EQ(error.had, 0xffff80);
  }
  // Type 0x81 of our own class is not type 1.
  CHECK_EQ(
      parse(with_options(hex("0108 81 02 0000000000000000") + kAttachment + kCookie)).error.reason,
      DropReason::geneve_critical_option);
}

TEST(c_bit_without_a_critical_option_is_accepted) {
  const Result result = parse(with_options(kEndpoint + kAttachment + kCookie, 0x40));
  check_values(result);
  CHECK(result.header.critical);
}

TEST(control_packets_are_refused_on_both_paths) {
  CHECK_EQ(parse(with_options(kEndpoint + kAttachment + kCookie, 0x80)).error.reason,
           DropReason::geneve_control);
  CHECK_EQ(parse(with_options(kCookie + kEndpoint + kAttachment, 0x80)).error.reason,
           DropReason::geneve_control);
}

TEST(reserved_bits_do_not_leave_the_fast_path_nor_change_it) {
  Bytes bytes = with_options(kEndpoint + kAttachment + kCookie, 0x3f);
  bytes[7] = 0xff;
  for (const size_t at : {11u, 23u, 35u}) bytes[at] |= 0xe0;
  check_values(parse(bytes));
}

TEST(options_that_do_not_add_up) {
  const ParseError error = parse(with_options(kEndpoint + kAttachment + hex("0108 03 01"))).error;
  CHECK_EQ(error.reason, DropReason::geneve_bad_options);
  CHECK_EQ(error.offset, 32);
  CHECK_EQ(error.needed, 8);
  CHECK_EQ(error.had, 4);
  Bytes one_word_short = with_options(kEndpoint + kAttachment + kCookie) + Bytes(20, 0x45);
  one_word_short[0] = 7;
  CHECK_EQ(parse(one_word_short).error.reason, DropReason::geneve_bad_options);
  Bytes one_word_long = with_options(kEndpoint + kAttachment + kCookie) + Bytes(20, 0x45);
  one_word_long[0] = 9;
  CHECK_EQ(parse(one_word_long).error.reason, DropReason::geneve_bad_options);
}

TEST(every_cut_of_both_layouts) {
  for (const Bytes& options :
       {kEndpoint + kAttachment + kCookie, kCookie + kAttachment + kEndpoint}) {
    check_every_cut(with_options(options), 40, DropReason::geneve_truncated,
                    [](const uint8_t* data, size_t length) {
                      GeneveHeader header;
                      GatewayOptions out;
                      return wire::parse_gateway_header(data, length, kOptionClassAws, &header,
                                                        &out);
                    });
  }
}

// One flipped bit takes the packet from the compare to the walk, or to an error; the byte-wise
// model knows neither.
TEST(every_flipped_bit_as_the_model_has_it) {
  const Bytes bytes = with_options(kEndpoint + kAttachment + kCookie) + Bytes(24, 0x45);
  size_t accepted = 0;
  with_every_bit_flipped(bytes, 40, [&](const uint8_t* data, size_t size, size_t) {
    const ModelGateway model = model_gateway(data, size, kOptionClassAws);
    Result got;
    got.error = wire::parse_gateway_header(data, size, kOptionClassAws, &got.header, &got.options);
    CHECK_EQ(got.error.reason, model.reason);
    if (!got.error.ok()) return;
    ++accepted;
    CHECK_EQ(got.options.endpoint_id, *model.value[0]);
    CHECK_EQ(got.options.attachment_id, *model.value[1]);
    CHECK_EQ(got.options.cookie, *model.value[2]);
  });
  // C and six reserved bits, protocol type, VNI and reserved byte; three reserved bits and the data
  // of each option; nothing else.
  CHECK_EQ(accepted, 7 + 16 + 32 + 3 * 3 + 160);
}

TEST(plain_header_needs_no_gateway_options) {
  const auto plain = [](const Bytes& bytes) {
    Exact exact(bytes);
    GeneveHeader header;
    return wire::parse_plain_header(exact.data(), exact.size(), &header).reason;
  };
  CHECK_EQ(plain(with_options({})), DropReason::none);
  CHECK_EQ(plain(with_options(hex("0108 01 00 ffff 00 01 00000000"))), DropReason::none);
  CHECK_EQ(plain(with_options(hex("0108 80 00"))), DropReason::geneve_critical_option);
  CHECK_EQ(plain(with_options(hex("0108 01 01"))), DropReason::geneve_bad_options);
  CHECK_EQ(plain(with_options({}, 0x80)), DropReason::geneve_control);
  CHECK_EQ(plain(hex("40 00 0800 000000 00")), DropReason::geneve_bad_version);
  CHECK_EQ(plain(hex("01 00 0800 000000 00")), DropReason::geneve_truncated);
}

TEST(tools_find_the_options_of_a_packet_a_gateway_refuses) {
  const auto find = [](const Bytes& bytes, GatewayOptions* out) {
    Exact exact(bytes);
    GeneveHeader header;
    return wire::parse_geneve(exact.data(), exact.size(), &header).ok() &&
           wire::find_gateway_options(exact.data(), header, kOptionClassAws, out);
  };
  GatewayOptions out;
  CHECK(find(with_options(hex("ffff 80 00") + kCookie + kAttachment + kEndpoint, 0x80), &out));
  CHECK_EQ(out.cookie, 0x3dc956acu);
  CHECK(!find(with_options(kCookie + kAttachment), &out));
  CHECK(!find(with_options(kCookie + kAttachment + hex("0108 01 00")), &out));
  CHECK(!find(with_options(kCookie + kAttachment + kEndpoint + hex("0108 09 01")), &out));
}

TEST(outer_header_byte_for_byte) {
  Bytes bytes(28, 0xff);
  wire::OuterHeader outer;
  outer.source = 0x0a000005;
  outer.destination = 0x0a00010a;
  outer.source_port = 60276;
  wire::write_outer_header(bytes.data(), outer, 100);
  CHECK_EQ(ones_complement(bytes.data(), 20), 0);
  put16(bytes, 10, 0);
  CHECK(bytes == hex("45 00 0080 0000 0000 ff 11 0000 0a000005 0a00010a  eb74 17c1 006c 0000"));
}

TEST(outer_checksum_is_right_and_never_written_as_zero) {
  wire::OuterHeader outer;
  outer.source = 0x0a000005;
  outer.destination = 0x0a00010a;
  outer.source_port = 60276;
  outer.checksum = true;
  uint32_t written_ones = 0;
  Bytes bytes(28 + 42, 0);
  for (uint32_t i = 0; i < 0x10000; ++i) {
    put16(bytes, 68, static_cast<uint16_t>(i));  // one of the values makes the sum 0
    wire::write_outer_header(bytes.data(), outer, 42);
    CHECK(bytes[26] != 0 || bytes[27] != 0);
    if (bytes[26] == 0xff && bytes[27] == 0xff) ++written_ones;
    const Bytes pseudo = Bytes(bytes.begin() + 12, bytes.begin() + 20) + hex("0011 0032") +
                         Bytes(bytes.begin() + 20, bytes.end());
    CHECK_EQ(ones_complement(pseudo.data(), pseudo.size()), 0);
  }
  CHECK_EQ(written_ones, 1u);
}

}  // namespace
}  // namespace gwlb::test
