#include "io/os_error.h"

#include <cerrno>
#include <cstdio>
#include <cstring>

namespace gwlb::io {
namespace {

struct ErrorName {
  int number;
  const char* name;
};

// What the calls of this folder can answer.
constexpr ErrorName kErrorNames[] = {
#define GWLB_ERROR(name) \
  { name, #name }
    GWLB_ERROR(EACCES),       GWLB_ERROR(EADDRINUSE),   GWLB_ERROR(EADDRNOTAVAIL),
    GWLB_ERROR(EAFNOSUPPORT), GWLB_ERROR(EAGAIN),       GWLB_ERROR(EBADF),
    GWLB_ERROR(EBADFD),       GWLB_ERROR(EBUSY),        GWLB_ERROR(ECONNREFUSED),
    GWLB_ERROR(EEXIST),       GWLB_ERROR(EFAULT),       GWLB_ERROR(EHOSTDOWN),
    GWLB_ERROR(EHOSTUNREACH), GWLB_ERROR(EINTR),        GWLB_ERROR(EINVAL),
    GWLB_ERROR(EIO),          GWLB_ERROR(ELOOP),        GWLB_ERROR(EMFILE),
    GWLB_ERROR(EMSGSIZE),     GWLB_ERROR(ENAMETOOLONG), GWLB_ERROR(ENETDOWN),
    GWLB_ERROR(ENETUNREACH),  GWLB_ERROR(ENFILE),       GWLB_ERROR(ENOBUFS),
    GWLB_ERROR(ENODEV),       GWLB_ERROR(ENOENT),       GWLB_ERROR(ENOMEM),
    GWLB_ERROR(ENOPROTOOPT),  GWLB_ERROR(ENOSPC),       GWLB_ERROR(ENOSYS),
    GWLB_ERROR(ENOTCONN),     GWLB_ERROR(ENOTDIR),      GWLB_ERROR(ENOTSOCK),
    GWLB_ERROR(ENOTTY),       GWLB_ERROR(ENXIO),        GWLB_ERROR(EOPNOTSUPP),
    GWLB_ERROR(EPERM),        GWLB_ERROR(EPIPE),        GWLB_ERROR(EPROTO),
    GWLB_ERROR(EROFS),        GWLB_ERROR(ESHUTDOWN),    GWLB_ERROR(ETIMEDOUT),
#undef GWLB_ERROR
};

}  // namespace

OsError last_error(const char* syscall, std::string detail) {
  return OsError{errno, syscall, std::move(detail)};
}

const char* error_name(int number) {
  for (const ErrorName& entry : kErrorNames) {
    if (entry.number == number) return entry.name;
  }
  return "EUNKNOWN";
}

std::string sentence(const OsError& error) {
  if (error.ok()) return "";
  std::string text = error.syscall;
  if (!error.detail.empty()) text += " " + error.detail;
  return text + ": " + std::strerror(error.number) + " (" + error_name(error.number) + ")";
}

std::string address_text(uint32_t address, uint16_t port) {
  char text[sizeof "255.255.255.255:65535"];
  std::snprintf(text, sizeof text, "%u.%u.%u.%u:%u", address >> 24, address >> 16 & 255,
                address >> 8 & 255, address & 255, static_cast<unsigned>(port));
  return text;
}

}  // namespace gwlb::io
