// What the kernel knows of the way to a host.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

#include "io/os_error.h"

namespace gwlb::io {

// The smallest MTU of the ways from `source` to these addresses (host order), outer packet, as
// routes, devices and path MTU discovery say it now (IP_MTU). *out is 0 where there is a way to
// none of them. Nothing is sent.
OsError path_mtu(uint32_t source, const uint32_t* addresses, size_t count, const std::string& netns,
                 uint32_t* out);

}  // namespace gwlb::io
