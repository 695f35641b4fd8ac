#include "io/netns.h"

#include <fcntl.h>
#include <pthread.h>
#include <sys/stat.h>

#include "test/native/io_rig.h"
#include "test/native/test.h"

namespace gwlb::test {
namespace {

ino_t current_netns() {
  struct stat status {};
  return stat("/proc/thread-self/ns/net", &status) == 0 ? status.st_ino : 0;
}

TEST(empty_name_runs_on_the_calling_thread) {
  const pthread_t here = pthread_self();
  pthread_t there{};
  const io::OsError error = io::in_netns("", [&]() -> io::OsError {
    there = pthread_self();
    return {EBUSY, "work", "x"};
  });
  CHECK(pthread_equal(here, there) != 0);
  CHECK_EQ(error.number, EBUSY);
  CHECK_EQ(error.detail, "x");
}

TEST(work_runs_inside_and_the_caller_stays) {
  PrivateNetns netns;
  if (!netns.made()) SKIP("no network namespace can be made here");
  const ino_t before = current_netns();
  ino_t inside = 0;
  const io::OsError error = io::in_netns(netns.path(), [&]() -> io::OsError {
    inside = current_netns();
    return {ENODEV, "work", "y"};
  });
  CHECK(inside != 0 && inside != before);
  CHECK_EQ(current_netns(), before);
  CHECK_EQ(error.number, ENODEV);  // what work returned
}

TEST(unknown_name_names_its_path) {
  bool ran = false;
  const io::OsError error = io::in_netns("gwlb-no-such-netns", [&]() -> io::OsError {
    ran = true;
    return {};
  });
  CHECK(!ran);
  CHECK_EQ(error.number, ENOENT);
  CHECK_EQ(error.syscall, "open");
  CHECK_EQ(error.detail, "/run/netns/gwlb-no-such-netns");
  CHECK_EQ(io::sentence(error),
           "open /run/netns/gwlb-no-such-netns: No such file or directory (ENOENT)");
}

TEST(file_that_is_no_namespace_is_refused) {
  bool ran = false;
  const io::OsError error = io::in_netns("/proc/self/status", [&]() -> io::OsError {
    ran = true;
    return {};
  });
  CHECK(!ran);
  CHECK(error.number == EINVAL || error.number == EPERM);
  CHECK_EQ(error.syscall, "setns");
  CHECK_EQ(error.detail, "/proc/self/status");
}

TEST(no_descriptor_is_left) {
  const int before = open_descriptors();
  {
    PrivateNetns netns;
    for (int k = 0; k < 20; ++k) {
      io::in_netns(netns.path(), [] { return io::OsError{}; });
      io::in_netns("gwlb-no-such-netns", [] { return io::OsError{}; });
      io::in_netns("/proc/self/status", [] { return io::OsError{}; });
    }
  }
  CHECK_EQ(open_descriptors(), before);
}

TEST(errors_have_names_and_sentences) {
  CHECK_EQ(io::error_name(EADDRINUSE), "EADDRINUSE");
  CHECK_EQ(io::error_name(123456), "EUNKNOWN");
  CHECK_EQ(io::sentence({}), "");
  CHECK_EQ(io::sentence({EADDRINUSE, "bind", io::address_text(0x0a000001, 6081)}),
           "bind 10.0.0.1:6081: Address already in use (EADDRINUSE)");
  CHECK_EQ(io::address_text(0xffffffff, 65535), "255.255.255.255:65535");
}

}  // namespace
}  // namespace gwlb::test
