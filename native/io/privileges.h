// Giving up privileges, in every thread of the process. Capabilities, user and groups are a
// thread's own in Linux: what one thread gives up the others keep, those of Node and libuv too.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <string>
#include <vector>

#include "io/os_error.h"

namespace gwlb::io {

struct Privileges {
  // Bit n: capability number n of linux/capability.h. What is not in here is given up for good.
  uint64_t capabilities = 0;
  // Those among them that programs have too which the process starts (ambient); root's have all.
  uint64_t inherited = 0;
  // Another user, with his groups.
  bool change_user = false;
  uid_t uid = 0;
  gid_t gid = 0;
  std::vector<gid_t> groups;
};

// Each thread becomes the user (which takes CAP_SETUID and CAP_SETGID), keeps those of its
// capabilities that are named, and can get no others any more: not by running a program either
// (no_new_privs, and the bounding set where CAP_SETPCAP allows it). To be called by one thread at a
// time. Errors: EPERM from setuid, setgid or setgroups; EAGAIN from "privileges" where a thread did
// not follow; those of reading /proc.
OsError limit_privileges(const Privileges& privileges);

// A user by name, with his groups. Errors: ENOENT for nobody of this name.
OsError find_user(const std::string& name, Privileges* out);

// The capabilities that the calling thread has permitted.
uint64_t permitted_capabilities();

}  // namespace gwlb::io
