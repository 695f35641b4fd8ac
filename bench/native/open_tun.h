// A TUN device for the peers in C.
#pragma once

#include <fcntl.h>
#include <linux/if.h>
#include <linux/if_tun.h>
#include <sys/ioctl.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>

// The device of this name, which is made where there is none; ends the program where it cannot.
// `open_flags` are of open(), `flags` of TUNSETIFF.
inline int open_tun(const char* name, int open_flags = 0, short flags = 0) {
  const int fd = open("/dev/net/tun", O_RDWR | open_flags);
  ifreq request = {};
  std::strncpy(request.ifr_name, name, sizeof request.ifr_name - 1);
  request.ifr_flags = static_cast<short>(IFF_TUN | IFF_NO_PI | flags);
  if (fd >= 0 && ioctl(fd, TUNSETIFF, &request) == 0) return fd;
  std::perror(name);
  std::exit(1);
}
