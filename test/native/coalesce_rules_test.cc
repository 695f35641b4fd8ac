// Every rule of Coalescer::plan: a pair of packets that only that rule keeps apart, and pairs that
// none does.
#include <functional>
#include <string>

#include "test/native/coalesce_rig.h"

namespace gwlb::test {
namespace {

// Two packets that join but for one thing. `edit` changes fields before the checksums are
// computed, `mar` bytes after that; both of the second packet, or of both.
struct Refusal {
  const char* what;
  int version;       // 0: both
  uint8_t protocol;  // 0: both
  std::function<void(Bulk&, Bulk&)> edit;
  std::function<void(Bytes&, Bytes&)> mar;
};

const std::vector<Refusal>& refusals() {
  static const auto same = [](Bulk&, Bulk&) {};
  static const std::vector<Refusal> rows = {
      {"another source", 0, 0, [](Bulk&, Bulk& b) { ++b.source; }, {}},
      {"another destination", 0, 0, [](Bulk&, Bulk& b) { ++b.destination; }, {}},
      {"another source port", 0, 0, [](Bulk&, Bulk& b) { ++b.source_port; }, {}},
      {"another destination port", 0, 0, [](Bulk&, Bulk& b) { ++b.destination_port; }, {}},
      {"another TTL", 0, 0, [](Bulk&, Bulk& b) { --b.ttl; }, {}},
      {"another DSCP", 0, 0, [](Bulk&, Bulk& b) { b.tos = 0x20; }, {}},
      {"another ECN", 0, 0, [](Bulk&, Bulk& b) { b.tos = 3; }, {}},
      {"another DF", 4, 0, [](Bulk&, Bulk& b) { b.fragment = 0; }, {}},
      {"the reserved IP flag", 4, 0, [](Bulk&, Bulk& b) { b.fragment = 0xc000; }, {}},
      {"another flow label", 6, 0, [](Bulk&, Bulk& b) { ++b.flow_label; }, {}},
      {"the same identification", 4, 0, [](Bulk&, Bulk& b) { --b.id; }, {}},
      {"an identification too far", 4, 0, [](Bulk&, Bulk& b) { ++b.id; }, {}},
      {"the same sequence number", 0, 6, [](Bulk& a, Bulk& b) { b.sequence = a.sequence; }, {}},
      {"a gap", 0, 6, [](Bulk&, Bulk& b) { ++b.sequence; }, {}},
      {"an overlap", 0, 6, [](Bulk&, Bulk& b) { --b.sequence; }, {}},
      {"another acknowledgment", 0, 6, [](Bulk&, Bulk& b) { ++b.acknowledgment; }, {}},
      {"another window", 0, 6, [](Bulk&, Bulk& b) { ++b.window; }, {}},
      {"another urgent pointer", 0, 6, [](Bulk&, Bulk& b) { ++b.urgent; }, {}},
      {"another reserved bit", 0, 6, [](Bulk&, Bulk& b) { b.reserved = 1; }, {}},
      {"ECE in one", 0, 6, [](Bulk&, Bulk& b) { b.flags |= 0x40; }, {}},
      {"CWR in the second", 0, 6, [](Bulk&, Bulk& b) { b.flags |= 0x80; }, {}},
      {"CWR in both", 0, 6, [](Bulk& a, Bulk& b) { a.flags = b.flags = 0x90; }, {}},
      {"SYN in both", 0, 6, [](Bulk& a, Bulk& b) { a.flags = b.flags = 0x12; }, {}},
      {"RST in both", 0, 6, [](Bulk& a, Bulk& b) { a.flags = b.flags = 0x14; }, {}},
      {"URG in both", 0, 6, [](Bulk& a, Bulk& b) { a.flags = b.flags = 0x30; }, {}},
      {"no ACK in both", 0, 6, [](Bulk& a, Bulk& b) { a.flags = b.flags = 0; }, {}},
      {"PSH in the first", 0, 6, [](Bulk& a, Bulk&) { a.flags = 0x18; }, {}},
      {"FIN in the first", 0, 6, [](Bulk& a, Bulk&) { a.flags = 0x11; }, {}},
      {"PSH in both", 0, 6, [](Bulk& a, Bulk& b) { a.flags = b.flags = 0x18; }, {}},
      {"options in one", 0, 6, [](Bulk&, Bulk& b) { b.tcp_options = Bytes(4, 1); }, {}},
      {"another timestamp",
       0,
       6,
       [](Bulk& a, Bulk& b) { a.tcp_options = timestamps(1), b.tcp_options = timestamps(2); },
       {}},
      {"the last option byte",
       0,
       6,
       [](Bulk& a, Bulk& b) {
         a.tcp_options = b.tcp_options = Bytes(40, 1);
         b.tcp_options[39] = 0;
       },
       {}},
      {"another timestamp echo",
       0,
       6,
       [](Bulk& a, Bulk& b) {
         a.tcp_options = b.tcp_options = timestamps();
         b.tcp_options[11] ^= 1;
       },
       {}},
      {"a shorter IP length, checksums right", 4, 0, same,
       [](Bytes&, Bytes& b) {
         put16(b, 2, static_cast<uint16_t>(b.size() - 1));
         fix_checksums(b, 20, b[9]);
       }},
      {"no payload in the second", 0, 0, [](Bulk&, Bulk& b) { b.payload = 0; }, {}},
      {"no payload in the first",
       0,
       0,
       [](Bulk& a, Bulk& b) { a.payload = 0, b.sequence = a.sequence; },
       {}},
      {"a longer payload", 0, 0, [](Bulk&, Bulk& b) { b.payload = 101; }, {}},
      {"IPv4 options in both",
       4,
       0,
       [](Bulk& a, Bulk& b) { a.ip_options = b.ip_options = Bytes(4, 1); },
       {}},
      {"IPv6 extension headers in both",
       6,
       0,
       [](Bulk& a, Bulk& b) {
         a.extension = Bytes{a.protocol, 0, 1, 4, 0, 0, 0, 0};
         b.extension = a.extension;
       },
       {}},
      {"more fragments in both",
       4,
       0,
       [](Bulk& a, Bulk& b) { a.fragment = b.fragment = 0x2000; },
       {}},
      {"an offset in both", 4, 0, [](Bulk& a, Bulk& b) { a.fragment = b.fragment = 1; }, {}},
      {"a wrong IP checksum in the second", 4, 0, same, [](Bytes&, Bytes& b) { b[10] ^= 1; }},
      {"a wrong IP checksum in the first", 4, 0, same, [](Bytes& a, Bytes&) { a[10] ^= 1; }},
      {"a wrong checksum in the second", 0, 0, same, [](Bytes&, Bytes& b) { b.back() ^= 1; }},
      {"a wrong checksum in the first", 0, 0, same, [](Bytes& a, Bytes&) { a.back() ^= 1; }},
      {"no UDP checksum in the second", 0, 17, same,
       [](Bytes&, Bytes& b) { put16(b, b.size() - 102, 0); }},
      {"no UDP checksum in both", 0, 17, same,
       [](Bytes& a, Bytes& b) { put16(a, a.size() - 102, 0), put16(b, b.size() - 102, 0); }},
      {"bytes behind the second", 0, 0, same, [](Bytes&, Bytes& b) { b.push_back(0); }},
      {"bytes behind the first", 0, 0, same, [](Bytes& a, Bytes&) { a.push_back(0); }},
      {"the second cut short", 0, 0, same, [](Bytes&, Bytes& b) { b.pop_back(); }},
  };
  return rows;
}

TEST(what_only_one_rule_refuses) {
  for (const Refusal& row : refusals()) {
    int tried = 0;
    for (const Bulk& kind : kinds()) {
      if (row.version != 0 && row.version != kind.version) continue;
      if (row.protocol != 0 && row.protocol != kind.protocol) continue;
      ++tried;
      Bulk a = kind;
      Bulk b = after(a);
      CHECK(plan({bulk_packet(a), bulk_packet(b)}) == Groups({{0, 1}}));
      row.edit(a, b);
      Bytes first = bulk_packet(a);
      Bytes second = bulk_packet(b);
      if (row.mar) row.mar(first, second);
      if (plan({first, second}) != Groups({{0}, {1}})) {
        report_failure(__FILE__, __LINE__, std::string(row.what) + ": they were joined");
      }
      // Neither was the plan's doing: nothing was written.
      Coalesced again({first, second});
      CHECK(again.written(0) == first);
      CHECK(again.written(1) == second);
    }
    CHECK(tried > 0);
  }
}

TEST(what_may_differ) {
  struct Row {
    const char* what;
    std::function<void(Bulk&, Bulk&)> edit;
  };
  for (const Row& row : std::vector<Row>{
           {"PSH in the last", [](Bulk&, Bulk& b) { b.flags = 0x18; }},
           {"FIN in the last", [](Bulk&, Bulk& b) { b.flags = 0x11; }},
           {"FIN and PSH in the last", [](Bulk&, Bulk& b) { b.flags = 0x19; }},
           {"CWR in the first", [](Bulk& a, Bulk&) { a.flags = 0x90; }},
           {"ECE in both", [](Bulk& a, Bulk& b) { a.flags = b.flags = 0x50; }},
           {"a reserved bit in both", [](Bulk& a, Bulk& b) { a.reserved = b.reserved = 1; }},
           {"a shorter last", [](Bulk&, Bulk& b) { b.payload = 1; }},
           {"an odd length", [](Bulk& a, Bulk& b) { a.payload = 99, b = after(a, 99); }},
           {"a byte each", [](Bulk& a, Bulk& b) { a.payload = 1, b = after(a, 1); }},
           {"a wrapping identification", [](Bulk& a, Bulk& b) { a.id = 0xffff, b.id = 0; }},
           {"a wrapping sequence number",
            [](Bulk& a, Bulk& b) { a.sequence = 0xffffffff, b.sequence = 99; }},
           {"timestamps", [](Bulk& a, Bulk& b) { a.tcp_options = b.tcp_options = timestamps(7); }},
           {"SACK",
            [](Bulk& a, Bulk& b) { a.tcp_options = b.tcp_options = selective_acknowledgment(); }},
           {"all options", [](Bulk& a, Bulk& b) { a.tcp_options = b.tcp_options = Bytes(40, 1); }},
           {"no DF", [](Bulk& a, Bulk& b) { a.fragment = b.fragment = 0; }},
           {"CE in both", [](Bulk& a, Bulk& b) { a.tos = b.tos = 3; }},
       }) {
    for (const Bulk& kind : kinds()) {
      Bulk a = kind;
      Bulk b = after(a);
      row.edit(a, b);
      if (plan({bulk_packet(a), bulk_packet(b)}) != Groups({{0, 1}})) {
        report_failure(__FILE__, __LINE__, std::string(row.what) + ": they were not joined");
      }
    }
  }
}

}  // namespace
}  // namespace gwlb::test
