// Sockets that JavaScript uses itself, made inside another network namespace.
#include <sys/socket.h>

#include <cerrno>

#include "io/netns.h"
#include "io/path_mtu.h"
#include "node/addon.h"
#include "node/off_thread.h"

namespace gwlb::node {
namespace {

constexpr size_t kNamespaceBytesMax = 4096;

napi_value open_tcp_socket(const Napi::CallbackInfo& info) {
  std::string netns;
  if (!read_text(info.Env(), info[0], "netns", kNamespaceBytesMax, &netns)) return nullptr;
  int fd = -1;
  const io::OsError error = io::in_netns(netns, [&fd]() -> io::OsError {
    fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    return fd >= 0 ? io::OsError{} : io::OsError{errno, "socket", "TCP"};
  });
  if (error.ok()) return number_value(info.Env(), fd);
  throw_system_error(info.Env(), error);
  return nullptr;
}

// pathMtu(source, addresses, netns)
napi_value path_mtu(const Napi::CallbackInfo& info) {
  const napi_env env = info.Env();
  uint32_t source;
  uint32_t* addresses;
  size_t count;
  std::string netns;
  if (!read_number(env, info[0], "source", 0, 0xffffffff, &source) ||
      !read_text(env, info[2], "netns", kNamespaceBytesMax, &netns) ||
      !read_words(env, info[1], "addresses", &addresses, &count)) {
    return nullptr;
  }
  // Some microseconds each, and there may be thousands.
  const std::vector<uint32_t> all(addresses, addresses + count);
  auto mtu = std::make_shared<uint32_t>(0);
  return off_thread(
      env, nullptr, [=] { return io::path_mtu(source, all.data(), all.size(), netns, mtu.get()); },
      [mtu](napi_env env, const io::OsError&) { return number_value(env, *mtu); });
}

}  // namespace

void add_socket_functions(napi_env env, ObjectBuilder& exports) {
  exports.value("pathMtu", plain_function<path_mtu>(env, "pathMtu"));
  exports.value("openTcpSocket", plain_function<open_tcp_socket>(env, "openTcpSocket"));
}

}  // namespace gwlb::node
