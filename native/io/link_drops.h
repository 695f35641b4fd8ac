// What the kernel could not give to the reader of a network device, since its queue was full: the
// device's own counter of packets it did not transmit.
#pragma once

#include <cstdint>
#include <string>

#include "io/os_error.h"

namespace gwlb::io {

class LinkDrops {
 public:
  LinkDrops() = default;
  ~LinkDrops();
  LinkDrops(const LinkDrops&) = delete;
  LinkDrops& operator=(const LinkDrops&) = delete;

  // In the device's network namespace; counts from now on.
  OsError begin(const std::string& device);
  // Since begin(); as last read where the device is gone.
  uint64_t read();

 private:
  bool ask(uint64_t* dropped) const;

  int netlink_ = -1;
  int index_ = 0;
  uint64_t before_ = 0;
  uint64_t drops_ = 0;
};

}  // namespace gwlb::io
