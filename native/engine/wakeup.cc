#include "engine/wakeup.h"

#include <sys/eventfd.h>
#include <unistd.h>

#include <cstdint>

namespace gwlb::engine {

Wakeup::~Wakeup() {
  if (fd_ >= 0) ::close(fd_);
}

io::OsError Wakeup::open() {
  fd_ = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  return fd_ < 0 ? io::last_error("eventfd", "") : io::OsError{};
}

// Both calls can only fail where the counter already says what they would.
void Wakeup::write() {
  const uint64_t one = 1;
  static_cast<void>(!::write(fd_, &one, sizeof one));
}

void Wakeup::clear() {
  uint64_t count;
  static_cast<void>(!::read(fd_, &count, sizeof count));
}

}  // namespace gwlb::engine
