// Sockets that JavaScript uses itself, made inside another network namespace.
#include <sys/socket.h>

#include <cerrno>

#include "io/netns.h"
#include "node/addon.h"

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

}  // namespace

void add_socket_functions(napi_env env, ObjectBuilder& exports) {
  exports.value("openTcpSocket", plain_function<open_tcp_socket>(env, "openTcpSocket"));
}

}  // namespace gwlb::node
