#include "io/link_drops.h"

#include <linux/if_link.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstring>

namespace gwlb::io {
namespace {

constexpr size_t kAnswerBytesMax = 16 << 10;

struct Request {
  nlmsghdr header{};
  ifinfomsg link{};
};

}  // namespace

LinkDrops::~LinkDrops() {
  if (netlink_ >= 0) close(netlink_);
}

OsError LinkDrops::begin(const std::string& device) {
  index_ = static_cast<int>(if_nametoindex(device.c_str()));
  if (index_ == 0) return last_error("if_nametoindex", device);
  netlink_ = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);
  if (netlink_ < 0) return last_error("socket(NETLINK_ROUTE)", device);
  if (!ask(&before_)) before_ = 0;
  return {};
}

uint64_t LinkDrops::read() {
  uint64_t now;
  if (netlink_ >= 0 && ask(&now) && now >= before_ + drops_) drops_ = now - before_;
  return drops_;
}

bool LinkDrops::ask(uint64_t* dropped) const {
  Request request;
  request.header.nlmsg_len = sizeof request;
  request.header.nlmsg_type = RTM_GETLINK;
  request.header.nlmsg_flags = NLM_F_REQUEST;
  request.link.ifi_index = index_;
  if (send(netlink_, &request, sizeof request, 0) != sizeof request) return false;
  alignas(nlmsghdr) char bytes[kAnswerBytesMax];
  const ssize_t got = recv(netlink_, bytes, sizeof bytes, 0);
  const auto* answer = reinterpret_cast<const nlmsghdr*>(bytes);
  if (got < 0 || !NLMSG_OK(answer, static_cast<uint32_t>(got))) return false;
  if (answer->nlmsg_type != RTM_NEWLINK) return false;
  auto left = static_cast<int>(IFLA_PAYLOAD(answer));
  for (const rtattr* attribute = IFLA_RTA(NLMSG_DATA(answer)); RTA_OK(attribute, left);
       attribute = RTA_NEXT(attribute, left)) {
    rtnl_link_stats64 statistics{};
    if (attribute->rta_type != IFLA_STATS64) continue;
    std::memcpy(
        &statistics, RTA_DATA(attribute),
        RTA_PAYLOAD(attribute) < sizeof statistics ? RTA_PAYLOAD(attribute) : sizeof statistics);
    *dropped = statistics.tx_dropped;
    return true;
  }
  return false;
}

}  // namespace gwlb::io
