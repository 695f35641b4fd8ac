#include "io/port.h"

#include <cerrno>

namespace gwlb::io {

base::DropReason refusal(int number) {
  const bool full = number == EAGAIN || number == ENOBUFS || number == ENOMEM;
  return full ? base::DropReason::send_would_block : base::DropReason::send_failed;
}

}  // namespace gwlb::io
