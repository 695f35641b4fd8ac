#include "appliance/appliance.h"

#include <algorithm>
#include <functional>
#include <memory>

#include "test/native/datagrams.h"
#include "test/native/test.h"

namespace gwlb {
namespace {

using appliance::Appliance;
using appliance::DropRule;
using appliance::Opened;
using base::DropReason;
using batch::Verdict;
using test::Bytes;
using test::datagram;
using test::ethernet;
using test::geneve;
using test::ipv4;
using test::ipv6;
using test::operator+;

constexpr uint32_t kGateway = 0x0a630001;
constexpr uint16_t kSourcePort = 60276;

// A batch with its appliance; datagram i is put into slot i, as a socket would.
struct Bench {
  std::unique_ptr<batch::PacketBatch> batch;
  std::unique_ptr<Appliance> appliance;

  explicit Bench(uint32_t stride = base::kSlotStrideJumbo, uint16_t option_class = 0x0108)
      : batch(batch::PacketBatch::create(8, stride)),
        appliance(std::make_unique<Appliance>(appliance::ApplianceConfig{option_class})) {}

  void put(uint32_t i, const Bytes& bytes, uint8_t tos = 0) {
    batch->reset(i, static_cast<uint32_t>(bytes.size()));
    if (!bytes.empty()) std::memcpy(batch->packet(i), bytes.data(), bytes.size());
    batch->address[i] = kGateway;
    batch->port[i] = static_cast<uint16_t>(kSourcePort + i);
    batch->tos[i] = tos;
    batch->count = i + 1;
  }
  void open() { appliance->open(*batch); }
  void open(const Bytes& bytes, uint8_t tos = 0) {
    put(0, bytes, tos);
    open();
  }
  void close() { appliance->close(*batch, 6081); }
  const Opened& opened(uint32_t i = 0) const { return appliance->opened(i); }
  Bytes bytes(uint32_t i = 0) const {
    Bytes out(batch->length[i]);
    if (!out.empty()) std::memcpy(out.data(), batch->packet(i), out.size());
    return out;
  }
  Verdict verdict(uint32_t i = 0) const { return static_cast<Verdict>(batch->verdict[i]); }
  DropReason reason(uint32_t i = 0) const { return static_cast<DropReason>(batch->reason[i]); }
  bool rewrite(const Bytes& bytes, uint32_t i = 0) {
    return appliance->rewrite(*batch, i, bytes.data(), static_cast<uint32_t>(bytes.size()));
  }
  // What comes back for a datagram that is only looked at; empty where it is dropped.
  Bytes returned(const Bytes& bytes) {
    open(bytes);
    close();
    return verdict() == Verdict::forward ? this->bytes() : Bytes();
  }
};

Bytes request() { return ipv4(0xcb007109, 0x0a00020a, 6, test::tcp(52144, 443, 0x18, 100)); }
Bytes request6() { return ipv6(9, 10, 17, test::udp(5353, 53, 40)); }

TEST(opens_and_returns_a_datagram) {
  Bench bench;
  const Bytes sent = datagram(request());
  bench.open(sent);
  REQUIRE(bench.batch->pending(0));
  CHECK(bench.bytes() == request());
  const Opened& opened = bench.opened();
  CHECK_EQ(opened.options.endpoint_id, test::kTestEndpoint);
  CHECK_EQ(opened.options.attachment_id, test::kTestAttachment);
  CHECK_EQ(opened.options.cookie, 0xc00c1eu);
  CHECK_EQ(opened.header_bytes, 40u);
  CHECK_EQ(opened.inner.source_port, 52144);
  CHECK_EQ(opened.inner.destination_port, 443);
  CHECK_EQ(opened.inner.source, bench.batch->packet(0) + 12);
  CHECK_EQ(bench.batch->address[0], kGateway);
  CHECK_EQ(bench.batch->port[0], kSourcePort);

  bench.close();
  CHECK(bench.verdict() == Verdict::forward);
  CHECK(bench.bytes() == sent);
  CHECK_EQ(bench.batch->address[0], kGateway);
  CHECK_EQ(bench.batch->port[0], 6081);
  CHECK_EQ(bench.batch->source_port[0], kSourcePort);
}

TEST(every_packet_keeps_its_own_header_and_ports) {
  Bench bench;
  Bytes sent[8];
  for (uint32_t i = 0; i < 8; ++i) {
    sent[i] = datagram(i % 2 == 0 ? request() : request6(), 0x1000 + i);
    bench.put(i, sent[i]);
  }
  bench.open();
  for (uint32_t i = 0; i < 8; ++i) CHECK_EQ(bench.opened(i).options.cookie, 0x1000 + i);
  bench.batch->verdict[3] = static_cast<uint8_t>(Verdict::drop);
  bench.close();
  for (uint32_t i = 0; i < 8; ++i) {
    if (i == 3) {
      CHECK(bench.verdict(i) == Verdict::drop);
      CHECK(bench.reason(i) == DropReason::appliance_verdict);
      continue;
    }
    CHECK(bench.bytes(i) == sent[i]);
    CHECK_EQ(bench.batch->source_port[i], kSourcePort + i);
  }
}

TEST(header_is_returned_verbatim_whatever_it_holds) {
  const std::vector<test::Option> gateway = test::gateway_options(7);
  const std::vector<test::Option> strangers = {
      {0x0132, 1, {}}, {0x0108, 4, Bytes(4, 0x44)}, {0xffff, 0x7f, Bytes(124, 0xee)}};
  std::vector<size_t> order = {0, 1, 2};
  Bench bench;
  uint32_t tried = 0;
  do {
    for (size_t gap = 0; gap <= 4; ++gap) {  // 4: no strangers
      std::vector<test::Option> options;
      for (size_t k = 0; k <= 3; ++k) {
        if (k == gap) options.insert(options.end(), strangers.begin(), strangers.end());
        if (k < 3) options.push_back(gateway[order[k]]);
      }
      for (const bool reserved : {false, true}) {
        for (const Bytes& sent :
             {geneve(0x0800, options, 0x123456, reserved) + request(),
              geneve(0x86dd, options, 0, reserved) + request6(),
              geneve(0x6558, options, 1, reserved) + ethernet(0x0800) + request(),
              geneve(0x6558, options, 1, reserved) + ethernet(0x86dd, {7}) + request6(),
              geneve(0x6558, options, 1, reserved) + ethernet(0x0800, {7, 8}) + request()}) {
          CHECK(bench.returned(sent) == sent);
          CHECK_EQ(bench.opened().options.cookie, 7u);
          ++tried;
        }
      }
    }
  } while (std::next_permutation(order.begin(), order.end()));
  CHECK_EQ(tried, 6u * 5 * 2 * 5);
}

TEST(other_option_classes_can_be_configured) {
  const Bytes tencent = geneve(0x0800, test::gateway_options(5, 0x0167)) + request();
  Bench aws;
  CHECK(aws.returned(tencent).empty());
  CHECK(aws.reason() == DropReason::gateway_options_missing);
  Bench other(base::kSlotStrideJumbo, 0x0167);
  CHECK(other.returned(tencent) == tencent);
}

TEST(bytes_behind_the_ip_packet_are_not_shown_but_returned) {
  Bench bench;
  const Bytes header = geneve(0x6558, test::gateway_options(1)) + ethernet(0x0800);
  const Bytes padded = header + ipv4(1, 2, 17, test::udp(1, 2, 0)) + Bytes(18, 0xa5);
  bench.open(padded);
  CHECK_EQ(bench.batch->length[0], 28u);
  bench.close();
  CHECK(bench.bytes() == padded);

  bench.open(padded);
  const Bytes longer = ipv4(1, 2, 17, test::udp(1, 2, 30));
  CHECK(bench.rewrite(longer));
  bench.close();
  CHECK(bench.bytes() == header + longer);
}

struct Malformed {
  const char* what;
  Bytes bytes;
  DropReason reason;
};

std::vector<Malformed> malformed_datagrams() {
  const auto changed = [](const std::function<void(Bytes&)>& change) {
    Bytes bytes = datagram(request());
    change(bytes);
    return bytes;
  };
  const std::vector<test::Option> all = test::gateway_options(1);
  const std::vector<test::Option> two = {all[0], all[2]};
  std::vector<test::Option> critical = all;
  critical.push_back({0x0108, 0x84, {}});
  std::vector<test::Option> wide_cookie = all;
  wide_cookie[2].data = Bytes(8, 1);
  const Bytes arp = ethernet(0x0806) + Bytes(28, 0);
  const Bytes in_frame = geneve(0x6558, all);
  return {
      {"empty", {}, DropReason::geneve_truncated},
      {"cut base header", Bytes(7, 0), DropReason::geneve_truncated},
      {"version 1", changed([](Bytes& b) { b[0] |= 0x40; }), DropReason::geneve_bad_version},
      {"O bit", changed([](Bytes& b) { b[1] |= 0x80; }), DropReason::geneve_control},
      {"options above the datagram", changed([](Bytes& b) { b[0] = 63; }),
       DropReason::geneve_truncated},
      {"option above the options", changed([](Bytes& b) { b[35] = 2; }),
       DropReason::geneve_bad_options},
      {"critical option", geneve(0x0800, critical) + request(), DropReason::geneve_critical_option},
      {"no options", geneve(0x0800, {}) + request(), DropReason::gateway_options_missing},
      {"one option missing", geneve(0x0800, two) + request(), DropReason::gateway_options_missing},
      {"cookie of 8 bytes", geneve(0x0800, wide_cookie) + request(),
       DropReason::gateway_options_length},
      {"protocol type MPLS", changed([](Bytes& b) { test::put16(b, 2, 0x8847); }),
       DropReason::geneve_bad_protocol},
      {"IPv4 called IPv6", changed([](Bytes& b) { test::put16(b, 2, 0x86dd); }),
       DropReason::inner_bad_version},
      {"IPv6 called IPv4", geneve(0x0800, all) + request6(), DropReason::inner_bad_version},
      {"IP version 5", changed([](Bytes& b) { b[40] = 0x55; }), DropReason::inner_bad_version},
      {"header length 4", changed([](Bytes& b) { b[40] = 0x44; }),
       DropReason::inner_bad_header_length},
      {"total length 19", changed([](Bytes& b) { test::put16(b, 42, 19); }),
       DropReason::inner_bad_total_length},
      {"no inner packet", geneve(0x0800, all), DropReason::inner_truncated},
      {"TCP fragment at 8", geneve(0x0800, all) + ipv4(1, 2, 6, Bytes(40, 0), 1),
       DropReason::inner_bad_fragment},
      {"ARP", in_frame + arp, DropReason::geneve_bad_protocol},
      {"cut Ethernet header", in_frame + Bytes(13, 0), DropReason::inner_truncated},
      {"cut VLAN tag", in_frame + Bytes(arp.begin(), arp.begin() + 12) + Bytes{0x81, 0, 0},
       DropReason::inner_truncated},
      {"three VLAN tags", in_frame + ethernet(0x8100, {1, 2}) + Bytes{0, 3, 8, 0} + request(),
       DropReason::geneve_bad_protocol},
      {"frame whose EtherType lies", in_frame + ethernet(0x86dd) + request(),
       DropReason::inner_bad_version},
  };
}

TEST(malformed_datagrams_are_drops_with_a_reason) {
  Bench bench;
  for (const Malformed& bad : malformed_datagrams()) {
    bench.open(bad.bytes);
    if (bench.reason() != bad.reason) test::report_failure(__FILE__, __LINE__, bad.what);
    CHECK(bench.verdict() == Verdict::drop);
    CHECK_EQ(bench.reason(), bad.reason);
    CHECK(!bench.opened().is_open());
    CHECK(bench.opened().inner.source == nullptr);
    CHECK(!bench.rewrite(request()));
    // An inspector cannot bring it back.
    bench.batch->verdict[0] = static_cast<uint8_t>(Verdict::forward);
    bench.close();
    CHECK(bench.verdict() == Verdict::drop);
    CHECK_EQ(bench.reason(), bad.reason);
  }
}

TEST(cut_datagrams_are_dropped_at_every_length) {
  Bench bench;
  for (const Bytes& whole :
       {datagram(request()), datagram(request6()),
        geneve(0x6558, test::gateway_options(1)) + ethernet(0x0800, {5}) + request()}) {
    for (size_t length = 0; length < whole.size(); ++length) {
      bench.open(Bytes(whole.begin(), whole.begin() + static_cast<std::ptrdiff_t>(length)));
      CHECK(bench.verdict() == Verdict::drop);
    }
    CHECK(bench.returned(whole) == whole);
  }
}

TEST(flipped_bits_are_dropped_or_returned_as_they_are) {
  Bench bench;
  const Bytes whole = datagram(request());
  uint32_t opened = 0;
  for (size_t bit = 0; bit < 8 * 80; ++bit) {
    Bytes flipped = whole;
    flipped[bit / 8] ^= static_cast<uint8_t>(1u << bit % 8);
    const Bytes back = bench.returned(flipped);
    if (back.empty()) continue;
    ++opened;
    // A smaller total length gives a shorter packet.
    REQUIRE(back.size() <= flipped.size());
    CHECK(std::equal(back.begin(), back.end(), flipped.begin()));
  }
  CHECK(opened > 300);
  CHECK(opened < 8 * 80);
}

TEST(congestion_marks_cross_as_in_rfc_6040) {
  // Rows: inner Not-ECT, ECT(1), ECT(0), CE; columns: outer the same. 9: dropped.
  constexpr uint8_t kExpected[4][4] = {{0, 0, 0, 9}, {1, 1, 1, 3}, {2, 1, 2, 3}, {3, 3, 3, 3}};
  Bench bench;
  for (uint8_t inner = 0; inner < 4; ++inner) {
    for (uint8_t outer = 0; outer < 4; ++outer) {
      const uint8_t expected = kExpected[inner][outer];
      bench.open(datagram(ipv4(1, 2, 17, test::udp(1, 2), 0, 1, 0xb8 | inner)), 0x20 | outer);
      if (expected == 9) {
        CHECK_EQ(bench.reason(), DropReason::ecn_not_capable);
        continue;
      }
      CHECK(bench.bytes() == ipv4(1, 2, 17, test::udp(1, 2), 0, 1, 0xb8 | expected));
    }
  }
}

TEST(rewrite_grows_and_shrinks_up_to_the_slot) {
  Bench bench(base::kSlotStrideStandard);
  const Bytes header = geneve(0x0800, test::gateway_options(0xc00c1e));
  const uint32_t most = bench.batch->slot_bytes() - 40;
  for (uint32_t i = 0; i < 3; ++i) bench.put(i, datagram(request()));
  bench.open();
  const auto packet_of = [](uint32_t length) {
    return ipv4(1, 2, 17, test::udp(7, 8, length - 28));
  };
  for (const uint32_t length : {28u, 29u, 1500u, most, 60u, most}) {
    CHECK(bench.rewrite(packet_of(length), 1));
    CHECK(bench.bytes(1) == packet_of(length));
    CHECK_EQ(bench.opened(1).inner.destination_port, 8);
    CHECK_EQ(bench.opened(1).inner.destination, bench.batch->packet(1) + 16);
    CHECK_EQ(bench.opened(1).inner.total_length, length);
  }
  CHECK(!bench.rewrite(packet_of(most + 1), 1));
  CHECK(!bench.rewrite(packet_of(9000), 1));
  CHECK(bench.bytes(1) == packet_of(most));
  bench.close();
  CHECK(bench.bytes(0) == datagram(request()));
  CHECK(bench.bytes(1) == header + packet_of(most));
  CHECK(bench.bytes(2) == datagram(request()));
  CHECK(!bench.opened(0).rewritten);
  CHECK(bench.opened(1).rewritten);
  bench.open(datagram(request()));
  CHECK(!bench.opened().rewritten);
}

TEST(rewrite_refuses_what_is_no_packet_and_changes_nothing) {
  Bench bench;
  bench.open(datagram(request()));
  Bytes cut = request();
  cut.pop_back();
  Bytes versionless = request();
  versionless[0] = 0x15;
  for (const Bytes& bad : {Bytes(), Bytes(1, 0x45), Bytes(20, 0), cut, versionless,
                           request() + Bytes(1, 0), ipv4(1, 2, 6, Bytes(40, 0), 1)}) {
    CHECK(!bench.rewrite(bad));
  }
  CHECK(!bench.opened().rewritten);
  CHECK_EQ(bench.opened().inner.source_port, 52144);
  bench.close();
  CHECK(bench.bytes() == datagram(request()));
}

TEST(rewrite_to_the_other_ip_version_changes_the_protocol_type) {
  Bench bench;
  const std::vector<test::Option> options = test::gateway_options(1);
  struct Case {
    Bytes before, after;
  };
  const Case cases[] = {
      {geneve(0x0800, options) + request(), geneve(0x86dd, options) + request6()},
      {geneve(0x86dd, options) + request6(), geneve(0x0800, options) + request()},
      {geneve(0x6558, options) + ethernet(0x0800) + request(),
       geneve(0x6558, options) + ethernet(0x86dd) + request6()},
      {geneve(0x6558, options) + ethernet(0x86dd, {1, 2}) + request6(),
       geneve(0x6558, options) + ethernet(0x0800, {1, 2}) + request()},
  };
  for (const Case& one : cases) {
    bench.open(one.before);
    REQUIRE(bench.rewrite(bench.opened().inner.version == 4 ? request6() : request()));
    bench.close();
    CHECK(bench.bytes() == one.after);
  }
}

TEST(rewrite_takes_bytes_out_of_the_packet_itself) {
  // Out of an outer IPv4 packet around another one: protocol 4.
  const Bytes inside = ipv4(5, 6, 17, test::udp(9, 10, 700));
  Bench bench;
  bench.open(datagram(ipv4(1, 2, 4, inside)));
  const uint8_t* from = bench.batch->packet(0) + 20;
  REQUIRE(bench.appliance->rewrite(*bench.batch, 0, from, static_cast<uint32_t>(inside.size())));
  bench.close();
  CHECK(bench.bytes() == datagram(inside));
}

TEST(a_final_drop_outlives_the_inspector) {
  Bench bench;
  bench.open(datagram(request()));
  bench.appliance->drop(*bench.batch, 0, DropReason::appliance_verdict);
  bench.batch->verdict[0] = static_cast<uint8_t>(Verdict::pending);
  bench.batch->reason[0] = 0;
  bench.close();
  CHECK(bench.verdict() == Verdict::drop);
  CHECK_EQ(bench.reason(), DropReason::appliance_verdict);
}

TEST(what_the_receiver_dropped_stays_dropped) {
  Bench bench;
  bench.put(0, datagram(request()));
  bench.batch->drop(0, DropReason::receive_truncated);
  bench.open();
  bench.close();
  CHECK_EQ(bench.reason(), DropReason::receive_truncated);
  CHECK(!bench.opened().is_open());
}

TEST(changed_descriptors_cannot_lead_outside_the_slot) {
  Bench bench;
  bench.open(datagram(request()));
  bench.batch->offset[0] = 0xffffffff;
  bench.batch->length[0] = 0xffffffff;
  bench.batch->port[0] = 1;
  bench.batch->reason[0] = 0xff;
  CHECK(bench.rewrite(request()));
  bench.batch->offset[0] = 3;
  bench.batch->length[0] = 0x7fffffff;
  bench.close();
  CHECK(bench.bytes() == datagram(request()));
  CHECK_EQ(bench.batch->port[0], 6081);
  CHECK_EQ(bench.batch->source_port[0], kSourcePort);
}

DropRule rule(uint8_t protocol, uint16_t port, const Bytes& address = {}, uint8_t prefix = 0) {
  DropRule out;
  out.protocol = protocol;
  out.port = port;
  out.version = address.empty() ? 0 : address.size() == 4 ? 4 : 6;
  out.prefix = prefix;
  std::copy(address.begin(), address.end(), out.address);
  return out;
}

bool matches(const DropRule& rule, const Bytes& packet) {
  wire::InnerPacket inner;
  if (!wire::parse_inner(packet.data(), packet.size(), &inner).ok()) {
    test::report_failure(__FILE__, __LINE__, "the test's own packet is malformed");
    return false;
  }
  return appliance::matches(rule, inner);
}

TEST(rules_match_either_end) {
  const Bytes packet = ipv4(0x0a010203, 0xc0a80001, 6, test::tcp(40000, 23, 2));
  const Bytes answer = ipv4(0xc0a80001, 0x0a010203, 6, test::tcp(23, 40000, 0x12));
  for (const Bytes& p : {packet, answer}) {
    CHECK(matches(rule(0, 0), p));
    CHECK(matches(rule(6, 0), p));
    CHECK(matches(rule(6, 23), p));
    CHECK(matches(rule(0, 40000), p));
    CHECK(!matches(rule(17, 23), p));
    CHECK(!matches(rule(6, 24), p));
    CHECK(matches(rule(6, 23, {10, 1, 0, 0}, 16), p));
    CHECK(matches(rule(0, 0, {192, 168, 0, 1}, 32), p));
    CHECK(matches(rule(0, 0, {192, 168, 0, 1}, 255), p));
    CHECK(matches(rule(0, 0, {9, 9, 9, 9}, 0), p));
    CHECK(!matches(rule(0, 0, {192, 168, 0, 0}, 32), p));
    CHECK(!matches(rule(6, 23, {10, 2, 0, 0}, 16), p));
    CHECK(!matches(rule(0, 0, Bytes(16, 0), 0), p));
  }
  // fd00::1 and fd00::2
  const Bytes six = ipv6(1, 2, 17, test::udp(5353, 53));
  Bytes two(16, 0);
  two[0] = 0xfd;
  two[15] = 2;
  CHECK(matches(rule(17, 53, two, 128), six));
  CHECK(matches(rule(0, 0, two, 126), six));
  two[15] = 4;
  CHECK(!matches(rule(0, 0, two, 127), six));
  CHECK(matches(rule(0, 0, two, 125), six));
  CHECK(!matches(rule(0, 0, {0xfd, 0, 0, 0}, 8), six));
  // Neither a later fragment nor ICMP has ports.
  CHECK(!matches(rule(17, 53), ipv4(1, 2, 17, test::udp(53, 53), 100)));
  CHECK(!matches(rule(0, 8), ipv4(1, 2, 1, test::icmp_echo(false, 8))));
}

TEST(prefixes_match_as_bit_by_bit) {
  uint32_t random = 6081;
  const auto next = [&random] { return random = random * 1664525 + 1013904223; };
  uint32_t matched = 0;
  for (uint32_t n = 0; n < 20000; ++n) {
    const uint32_t source = next();
    const uint32_t destination = next();
    const auto prefix = static_cast<uint8_t>((next() >> 16) % 33);
    // Near one of the addresses: equal but for one bit.
    const uint32_t address = (n % 2 == 0 ? source : destination) ^ (1u << ((next() >> 16) % 32));
    const auto same = [&](uint32_t end) {
      for (uint32_t bit = 0; bit < prefix; ++bit) {
        if (((end ^ address) >> (31 - bit) & 1) != 0) return false;
      }
      return true;
    };
    const bool expected = same(source) || same(destination);
    matched += expected ? 1 : 0;
    CHECK_EQ(matches(rule(0, 0, test::big_endian(address, 4), prefix),
                     ipv4(source, destination, 50, Bytes(8, 0))),
             expected);
  }
  CHECK(matched > 5000);
  CHECK(matched < 15000);
}

}  // namespace
}  // namespace gwlb
