#include "test/native/wire_rig.h"
#include "wire/inner.h"

namespace gwlb::test {
namespace {

using base::DropReason;
using wire::EthernetFrame;
using wire::Layer;
using wire::ParseError;

const Bytes kAddresses = hex("020000000001 020000000002");

TEST(untagged_frame) {
  Exact exact(kAddresses + hex("0800 45"));
  EthernetFrame frame;
  REQUIRE(wire::parse_ethernet(exact.data(), exact.size(), &frame).ok());
  CHECK_EQ(frame.destination, exact.data());
  CHECK_EQ(frame.source, exact.data() + 6);
  CHECK_EQ(frame.ether_type, 0x0800);
  CHECK_EQ(frame.vlans, 0);
  CHECK_EQ(frame.header_length, 14);
}

TEST(one_and_two_tags_outermost_first) {
  EthernetFrame frame;
  Exact one(kAddresses + hex("8100 e064 86dd"));
  REQUIRE(wire::parse_ethernet(one.data(), one.size(), &frame).ok());
  CHECK_EQ(frame.vlans, 1);
  CHECK_EQ(frame.vlan[0], 0xe064);
  CHECK_EQ(frame.ether_type, 0x86dd);
  CHECK_EQ(frame.header_length, 18);
  Exact two(kAddresses + hex("88a8 0007 8100 0064 0800"));
  REQUIRE(wire::parse_ethernet(two.data(), two.size(), &frame).ok());
  CHECK_EQ(frame.vlans, 2);
  CHECK_EQ(frame.vlan[0], 7);
  CHECK_EQ(frame.vlan[1], 100);
  CHECK_EQ(frame.ether_type, 0x0800);
  CHECK_EQ(frame.header_length, 22);
}

TEST(a_third_tag_is_the_payload) {
  EthernetFrame frame;
  Exact exact(kAddresses + hex("88a8 0007 8100 0064 8100 0065 0800"));
  REQUIRE(wire::parse_ethernet(exact.data(), exact.size(), &frame).ok());
  CHECK_EQ(frame.vlans, 2);
  CHECK_EQ(frame.ether_type, 0x8100);
  CHECK_EQ(frame.header_length, 22);
}

TEST(a_frame_parsed_before_leaves_nothing_behind) {
  EthernetFrame frame;
  Exact two(kAddresses + hex("88a8 0007 8100 0064 0800"));
  Exact none(kAddresses + hex("0806"));
  CHECK(wire::parse_ethernet(two.data(), two.size(), &frame).ok());
  CHECK(wire::parse_ethernet(none.data(), none.size(), &frame).ok());
  CHECK_EQ(frame.vlans, 0);
  CHECK_EQ(frame.vlan[0], 0);
}

TEST(every_cut_names_its_layer) {
  const Bytes two = kAddresses + hex("88a8 0007 8100 0064 0800");
  check_every_cut(two, two.size(), DropReason::inner_truncated,
                  [](const uint8_t* data, size_t length) {
                    EthernetFrame frame;
                    return wire::parse_ethernet(data, length, &frame);
                  });
  EthernetFrame frame;
  Exact exact(two);
  ParseError error = wire::parse_ethernet(exact.data(), 13, &frame, Layer::inner_ethernet, 50);
  CHECK_EQ(error.layer, Layer::inner_ethernet);
  CHECK_EQ(error.offset, 50);
  error = wire::parse_ethernet(exact.data(), 16, &frame, Layer::inner_ethernet, 50);
  CHECK_EQ(error.layer, Layer::inner_vlan);
  CHECK_EQ(error.offset, 64);
  CHECK_EQ(error.needed, 4);
  CHECK_EQ(error.had, 2);
  error = wire::parse_ethernet(exact.data(), 20, &frame, Layer::ethernet, 0);
  CHECK_EQ(error.layer, Layer::vlan);
  CHECK_EQ(error.reason, DropReason::outer_truncated);
  CHECK_EQ(error.offset, 18);
}

TEST(layer_names_are_all_there_and_differ) {
  for (uint8_t i = 0; i < static_cast<uint8_t>(Layer::count); ++i) {
    const std::string_view name = wire::layer_name(static_cast<Layer>(i));
    CHECK(!name.empty());
    for (uint8_t j = 0; j < i; ++j) CHECK(name != wire::layer_name(static_cast<Layer>(j)));
  }
  CHECK_EQ(wire::layer_name(Layer::geneve_option), "geneve-option");
  CHECK_EQ(wire::layer_name(Layer::inner_icmp_quote), "inner-icmp-quote");
}

}  // namespace
}  // namespace gwlb::test
