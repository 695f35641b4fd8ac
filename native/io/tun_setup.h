// What a TUN device is set to before packets come: MTU, queue, and nothing that makes the kernel
// talk.
#pragma once

#include <linux/if.h>

#include <cstring>
#include <string>

#include "io/tun.h"

namespace gwlb::io {

inline constexpr uint32_t kTunMtuMin = 68;  // RFC 791

inline void set_name(ifreq* request, const std::string& name) {
  std::memset(request, 0, sizeof *request);
  std::memcpy(request->ifr_name, name.data(), name.size());
}

// `socket_fd` is any socket in the device's network namespace; `is_new`: the device was just made.
OsError set_up_device(int socket_fd, const std::string& name, const TunConfig& config, bool is_new);

}  // namespace gwlb::io
