#include "io/netlink.h"

#include <linux/if.h>
#include <linux/if_link.h>
#include <linux/rtnetlink.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

namespace gwlb::io {
namespace {

constexpr size_t kAnswerBytes = 64 << 10;  // no message of the kernel's is longer
constexpr int kPatienceSeconds = 5;        // it answers at once

size_t aligned(size_t bytes) { return NLMSG_ALIGN(bytes); }

// Reads one piece of the answer. `*done`: it was the last.
OsError read_piece(const uint8_t* data, size_t bytes, const std::string& detail,
                   const NetlinkReader& each, bool is_dump, bool* done) {
  while (bytes >= sizeof(nlmsghdr)) {
    nlmsghdr header;
    std::memcpy(&header, data, sizeof header);
    if (header.nlmsg_len < sizeof header || header.nlmsg_len > bytes) break;
    if (header.nlmsg_type == NLMSG_DONE) *done = true;
    if (header.nlmsg_type == NLMSG_ERROR) {
      int number = 0;
      if (header.nlmsg_len >= sizeof header + sizeof number) {
        std::memcpy(&number, data + sizeof header, sizeof number);
      }
      *done = true;
      return number == 0 ? OsError{} : OsError{-number, "netlink", detail};
    }
    if (*done) return {};
    if (header.nlmsg_type >= NLMSG_MIN_TYPE && !each(*reinterpret_cast<const nlmsghdr*>(data))) {
      *done = true;
      return {};
    }
    if (!is_dump) *done = true;
    const size_t step = aligned(header.nlmsg_len);
    if (step >= bytes) break;
    data += step;
    bytes -= step;
  }
  return {};
}

OsError exchange(int fd, const std::vector<uint8_t>& request, const std::string& detail,
                 const NetlinkReader& each) {
  const timeval patience{kPatienceSeconds, 0};
  setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
  if (send(fd, request.data(), request.size(), 0) < 0) return last_error("netlink", detail);
  nlmsghdr header;
  std::memcpy(&header, request.data(), sizeof header);
  const bool is_dump = (header.nlmsg_flags & NLM_F_DUMP) == NLM_F_DUMP;
  std::vector<uint8_t> answer(kAnswerBytes);
  for (bool done = false; !done;) {
    const ssize_t got = recv(fd, answer.data(), answer.size(), 0);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return last_error("netlink", detail);
    if (got == 0) return {};
    OsError error =
        read_piece(answer.data(), static_cast<size_t>(got), detail, each, is_dump, &done);
    if (!error.ok()) return error;
  }
  return {};
}

}  // namespace

NetlinkRequest::NetlinkRequest(uint16_t type, uint16_t flags, const void* fixed, size_t bytes)
    : bytes_(aligned(sizeof(nlmsghdr)) + aligned(bytes)) {
  nlmsghdr header{};
  header.nlmsg_type = type;
  header.nlmsg_flags = static_cast<uint16_t>(NLM_F_REQUEST | flags);
  std::memcpy(bytes_.data(), &header, sizeof header);
  std::memcpy(bytes_.data() + aligned(sizeof header), fixed, bytes);
}

void NetlinkRequest::attribute(uint16_t type, const void* data, size_t bytes) {
  const rtattr header{static_cast<uint16_t>(RTA_LENGTH(bytes)), type};
  const size_t at = bytes_.size();
  bytes_.resize(at + RTA_SPACE(bytes));
  std::memcpy(bytes_.data() + at, &header, sizeof header);
  std::memcpy(bytes_.data() + at + RTA_LENGTH(0), data, bytes);
}

const std::vector<uint8_t>& NetlinkRequest::bytes() {
  const auto length = static_cast<uint32_t>(bytes_.size());
  std::memcpy(bytes_.data(), &length, sizeof length);
  return bytes_;
}

OsError ask_netlink(NetlinkRequest& request, const std::string& detail, const NetlinkReader& each) {
  const int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);
  if (fd < 0) return last_error("socket", "netlink");
  OsError error = exchange(fd, request.bytes(), detail, each);
  close(fd);
  return error;
}

void read_attributes(const uint8_t* data, size_t bytes, const AttributeReader& each) {
  while (bytes >= sizeof(rtattr)) {
    rtattr header;
    std::memcpy(&header, data, sizeof header);
    if (header.rta_len < sizeof header || header.rta_len > bytes) return;
    each(header.rta_type & NLA_TYPE_MASK, data + RTA_LENGTH(0), header.rta_len - RTA_LENGTH(0));
    const size_t step = RTA_ALIGN(header.rta_len);
    if (step >= bytes) return;
    data += step;
    bytes -= step;
  }
}

void read_attributes(const nlmsghdr& message, size_t fixed, const AttributeReader& each) {
  const size_t front = aligned(sizeof message) + aligned(fixed);
  if (message.nlmsg_len <= front) return;
  read_attributes(reinterpret_cast<const uint8_t*>(&message) + front, message.nlmsg_len - front,
                  each);
}

uint32_t attribute_u32(const uint8_t* data, size_t bytes) {
  uint32_t value = 0;
  if (bytes >= sizeof value) std::memcpy(&value, data, sizeof value);
  return value;
}

OsError find_link(const std::string& name, LinkInfo* out) {
  ifinfomsg fixed{};
  NetlinkRequest request(RTM_GETLINK, 0, &fixed, sizeof fixed);
  request.attribute(IFLA_IFNAME, name.c_str(), name.size() + 1);
  *out = {};
  const auto tun = [out](uint16_t type, const uint8_t* data, size_t bytes) {
    if (type == IFLA_TUN_MULTI_QUEUE) out->multi_queue = bytes > 0 && data[0] != 0;
    if (type == IFLA_TUN_NUM_QUEUES || type == IFLA_TUN_NUM_DISABLED_QUEUES) {
      out->queues += attribute_u32(data, bytes);
    }
  };
  const auto about = [out, &tun](uint16_t type, const uint8_t* data, size_t bytes) {
    if (type == IFLA_INFO_KIND) {
      const char* text = reinterpret_cast<const char*>(data);
      out->kind.assign(text, strnlen(text, bytes));
    } else if (type == IFLA_INFO_DATA && out->kind == "tun") {
      read_attributes(data, bytes, tun);
    }
  };
  return ask_netlink(request, name, [&](const nlmsghdr& message) {
    ifinfomsg link;
    std::memcpy(&link, NLMSG_DATA(&message), sizeof link);
    out->index = static_cast<uint32_t>(link.ifi_index);
    out->up = (link.ifi_flags & IFF_UP) != 0;
    read_attributes(message, sizeof link, [&](uint16_t type, const uint8_t* data, size_t bytes) {
      if (type == IFLA_LINKINFO) read_attributes(data, bytes, about);
    });
    return true;
  });
}

}  // namespace gwlb::io
