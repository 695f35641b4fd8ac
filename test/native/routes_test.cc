#include "io/routes.h"

#include <linux/rtnetlink.h>

#include <cstdlib>

#include "io/netlink.h"
#include "io/tun.h"
#include "test/native/io_rig.h"
#include "test/native/test.h"

namespace gwlb::test {
namespace {

bool ip(const PrivateNetns& netns, const char* arguments) {
  int status = -1;
  const std::string command = std::string("ip ") + arguments;
  return netns.run([&] { status = std::system(command.c_str()); }) && status == 0;
}

uint32_t index_of(const PrivateNetns& netns, const char* name) {
  io::LinkInfo link;
  netns.run([&] { io::find_link(name, &link); });
  return link.index;
}

const io::Route* find(const io::RoutingTables& tables, uint32_t table, uint8_t bits, uint8_t type) {
  for (const io::Route& route : tables.routes) {
    if (route.table == table && route.prefix_bits == bits && route.type == type) return &route;
  }
  return nullptr;
}

TEST(routes_and_rules_are_read) {
  PrivateNetns netns;
  if (!netns.made() || !ip(netns, "link add d0 type veth peer name d1"))
    SKIP("no network namespace here");
  CHECK(ip(netns, "link set d0 up"));
  CHECK(ip(netns, "link set d1 up"));
  CHECK(ip(netns, "route add 10.9.0.0/16 dev d0 table 100 metric 5"));
  CHECK(ip(netns, "route add blackhole 10.9.0.0/16 table 100 metric 900"));
  CHECK(ip(netns, "route add default table 70000 nexthop dev d0 nexthop dev d1"));
  CHECK(ip(netns, "-6 route add fd09::/32 dev d1 table 100"));
  CHECK(ip(netns, "rule add iif d1 lookup 100 pref 50"));
  io::RoutingTables tables;
  CHECK(io::read_routes(netns.path(), &tables).ok());
  CHECK(tables.complete);
  const uint32_t d0 = index_of(netns, "d0"), d1 = index_of(netns, "d1");
  CHECK(d0 != 0 && d1 != 0 && d0 != d1);

  const io::Route* plain = find(tables, 100, 16, RTN_UNICAST);
  REQUIRE(plain != nullptr);
  CHECK_EQ(plain->version, 4);
  CHECK_EQ(plain->metric, 5u);
  CHECK_EQ(plain->prefix[0], 10);
  CHECK_EQ(plain->prefix[1], 9);
  REQUIRE(plain->links.size() == 1);
  CHECK_EQ(plain->links[0], d0);
  const io::Route* hole = find(tables, 100, 16, RTN_BLACKHOLE);
  REQUIRE(hole != nullptr);
  CHECK_EQ(hole->metric, 900u);
  const io::Route* both = find(tables, 70000, 0, RTN_UNICAST);
  REQUIRE(both != nullptr);
  REQUIRE(both->links.size() == 2);
  CHECK_EQ(both->links[1], d1);
  const io::Route* six = find(tables, 100, 32, RTN_UNICAST);
  REQUIRE(six != nullptr);
  CHECK_EQ(six->version, 6);
  CHECK_EQ(six->prefix[0], 0xfd);
  for (const io::Route& route : tables.routes) CHECK(route.table != RT_TABLE_LOCAL);

  CHECK_EQ(tables.devices[d0], "d0");
  CHECK_EQ(tables.devices[d1], "d1");
  REQUIRE(!tables.rules.empty());
  bool seen = false;
  uint32_t before = 0;
  for (const io::RouteRule& rule : tables.rules) {
    CHECK(rule.priority >= before);
    before = rule.priority;
    if (rule.priority == 50 && rule.table == 100 && rule.input == "d1") seen = true;
  }
  CHECK(seen);
}

TEST(a_link_is_found_by_its_name) {
  PrivateNetns netns;
  if (!netns.made()) SKIP("no network namespace here");
  CHECK(netns.run([] {
    io::LinkInfo link;
    CHECK(io::find_link("lo", &link).ok());
    CHECK_EQ(link.index, 1u);
    CHECK(!link.up);
    CHECK_EQ(io::find_link("nothing", &link).number, ENODEV);
  }));
}

TEST(an_unknown_namespace_is_an_error) {
  io::RoutingTables tables;
  CHECK_EQ(io::read_routes("no-such-namespace", &tables).number, ENOENT);
}

}  // namespace
}  // namespace gwlb::test
