#include "node/system_error.h"

#include <cerrno>
#include <cstring>

#include "node/values.h"

namespace gwlb::node {
namespace {

// The errors that sockets, devices, namespaces and files can give. glibc's strerrorname_np would
// need a newer glibc than prebuilds ask for, and strerror speaks the user's language.
#define GWLB_ERRNO(X)                                     \
  X(EPERM, "operation not permitted")                     \
  X(ENOENT, "no such file or directory")                  \
  X(ESRCH, "no such process")                             \
  X(EINTR, "interrupted system call")                     \
  X(EIO, "input/output error")                            \
  X(ENXIO, "no such device or address")                   \
  X(EBADF, "bad file descriptor")                         \
  X(EAGAIN, "resource temporarily unavailable")           \
  X(ENOMEM, "out of memory")                              \
  X(EACCES, "permission denied")                          \
  X(EFAULT, "bad address")                                \
  X(EBUSY, "resource busy or locked")                     \
  X(EEXIST, "file already exists")                        \
  X(ENODEV, "no such device")                             \
  X(ENOTDIR, "not a directory")                           \
  X(EISDIR, "is a directory")                             \
  X(EINVAL, "invalid argument")                           \
  X(ENFILE, "file table overflow")                        \
  X(EMFILE, "too many open files")                        \
  X(ENOTTY, "inappropriate ioctl for device")             \
  X(ENOSPC, "no space left on device")                    \
  X(EROFS, "read-only file system")                       \
  X(EPIPE, "broken pipe")                                 \
  X(ENAMETOOLONG, "name too long")                        \
  X(ENOSYS, "function not implemented")                   \
  X(ELOOP, "too many symbolic links")                     \
  X(EPROTO, "protocol error")                             \
  X(EOVERFLOW, "value too large")                         \
  X(EUSERS, "too many users")                             \
  X(ENOTSOCK, "not a socket")                             \
  X(EDESTADDRREQ, "destination address required")         \
  X(EMSGSIZE, "message too long")                         \
  X(EPROTOTYPE, "protocol wrong type for socket")         \
  X(ENOPROTOOPT, "protocol not available")                \
  X(EPROTONOSUPPORT, "protocol not supported")            \
  X(EOPNOTSUPP, "operation not supported")                \
  X(EAFNOSUPPORT, "address family not supported")         \
  X(EBADFD, "the device was deleted or closed")           \
  X(EADDRINUSE, "address already in use")                 \
  X(EADDRNOTAVAIL, "address not available")               \
  X(ENETDOWN, "network is down")                          \
  X(ENETUNREACH, "network is unreachable")                \
  X(ENETRESET, "network dropped the connection on reset") \
  X(ECONNABORTED, "connection aborted")                   \
  X(ECONNRESET, "connection reset by peer")               \
  X(ENOBUFS, "no buffer space available")                 \
  X(EISCONN, "already connected")                         \
  X(ENOTCONN, "not connected")                            \
  X(ETIMEDOUT, "timed out")                               \
  X(ECONNREFUSED, "connection refused")                   \
  X(ESHUTDOWN, "cannot send after shutdown")              \
  X(EHOSTDOWN, "host is down")                            \
  X(EHOSTUNREACH, "host is unreachable")                  \
  X(EALREADY, "operation already in progress")            \
  X(EINPROGRESS, "operation in progress")

std::string errno_sentence(int number) {
  switch (number) {
#define GWLB_X(name, sentence) \
  case name:                   \
    return sentence;
    GWLB_ERRNO(GWLB_X)
#undef GWLB_X
    default:
      return "system error " + std::to_string(number);
  }
}

}  // namespace

std::string errno_name(int number) {
  switch (number) {
#define GWLB_X(name, sentence) \
  case name:                   \
    return #name;
    GWLB_ERRNO(GWLB_X)
#undef GWLB_X
    default:
      return "E" + std::to_string(number);
  }
}

void throw_system_error(napi_env env, const io::OsError& error) {
  std::string message = error.syscall;
  if (!error.detail.empty()) message += " " + error.detail;
  message += ": " + errno_sentence(error.number);
  napi_value object = nullptr;
  const napi_value text = text_value(env, message);
  if (text == nullptr || napi_create_error(env, nullptr, text, &object) != napi_ok) return;
  ObjectBuilder properties(env);
  properties.text("code", errno_name(error.number))
      .text("syscall", error.syscall)
      .text("detail", error.detail);
  if (properties.define_on(object)) napi_throw(env, object);
}

void throw_out_of_memory(napi_env env, const std::string& detail) {
  throw_system_error(env, {ENOMEM, "mmap", detail});
}

}  // namespace gwlb::node
