#include "io/privileges.h"

#include <dirent.h>
#include <linux/capability.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <functional>
#include <string>
#include <thread>
#include <vector>

#include "test/native/test.h"

namespace gwlb::test {
namespace {

// TSan puts a handler of its own before each signal's, and has a thread besides.
#ifndef __SANITIZE_THREAD__

constexpr uint64_t bit(int number) { return uint64_t{1} << number; }

// In a child process, since there is no way back; its exit code.
int in_child(const std::function<int()>& work) {
  const pid_t child = fork();
  if (child == 0) _exit(work());
  int status = -1;
  waitpid(child, &status, 0);
  return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
}

std::string line(const char* thread, const char* key) {
  const std::string path = std::string("/proc/self/task/") + thread + "/status";
  FILE* file = std::fopen(path.c_str(), "re");
  char text[256];
  std::string found;
  while (file != nullptr && std::fgets(text, sizeof text, file) != nullptr) {
    if (std::strncmp(text, key, std::strlen(key)) == 0) found = text + std::strlen(key);
  }
  if (file != nullptr) std::fclose(file);
  return found;
}

// How many threads there are, if `right` holds for all of them; else minus the first that is wrong.
int all_threads(const std::function<bool(const char*)>& right) {
  DIR* folder = opendir("/proc/self/task");
  int n = 0;
  while (const dirent* entry = readdir(folder)) {
    if (entry->d_name[0] == '.') continue;
    if (!right(entry->d_name)) return -std::atoi(entry->d_name);
    ++n;
  }
  closedir(folder);
  return n;
}

// Threads that wait, one of them deaf to every signal that can be blocked, and one that is busy.
struct Threads {
  std::atomic<bool> stop{false};
  std::atomic<int> ready{0};
  std::vector<std::thread> all;
  Threads() {
    for (int k = 0; k < 4; ++k) {
      all.emplace_back([this, k] {
        if (k == 1) {
          sigset_t every;
          sigfillset(&every);
          pthread_sigmask(SIG_SETMASK, &every, nullptr);
        }
        ++ready;
        while (!stop) {
          if (k != 2) usleep(1000);
        }
      });
    }
    while (ready < 4) usleep(100);
  }
  ~Threads() {
    stop = true;
    for (std::thread& thread : all) thread.join();
  }
};

TEST(every_thread_gives_up_what_is_not_kept) {
  const uint64_t before = io::permitted_capabilities();
  if ((before & bit(CAP_NET_ADMIN)) == 0) SKIP("no capabilities to give up");
  const int code = in_child([] {
    Threads threads;
    io::Privileges keep;
    keep.capabilities = bit(CAP_NET_ADMIN);
    if (!io::limit_privileges(keep).ok()) return 1;
    const int n = all_threads([](const char* thread) {
      const std::string only = "\t0000000000001000\n";
      return line(thread, "CapPrm:") == only && line(thread, "CapEff:") == only &&
             line(thread, "CapBnd:") == only && line(thread, "NoNewPrivs:") == "\t1\n";
    });
    if (n != 5) return 2;
    // Once more, with less; a thread that is made now has no more.
    if (!io::limit_privileges({}).ok()) return 3;
    uint64_t made = 1;
    std::thread([&made] { made = io::permitted_capabilities(); }).join();
    if (made != 0 || io::permitted_capabilities() != 0) return 4;
    // What was given up does not come back.
    keep.capabilities = ~uint64_t{0};
    if (!io::limit_privileges(keep).ok() || io::permitted_capabilities() != 0) return 5;
    return 0;
  });
  CHECK_EQ(code, 0);
  CHECK_EQ(io::permitted_capabilities(), before);
}

TEST(every_thread_becomes_another_user_and_keeps_what_is_named) {
  if (geteuid() != 0 || (io::permitted_capabilities() & bit(CAP_SETUID)) == 0) SKIP("not root");
  io::Privileges nobody;
  if (!io::find_user("nobody", &nobody).ok()) SKIP("no user nobody");
  nobody.capabilities = bit(CAP_NET_ADMIN) | bit(CAP_NET_BIND_SERVICE);
  const std::string uid = std::to_string(nobody.uid);
  const std::string want = "\t" + uid + "\t" + uid + "\t" + uid + "\t" + uid + "\n";
  const int code = in_child([&] {
    Threads threads;
    if (!io::limit_privileges(nobody).ok()) return 1;
    const int n = all_threads([&want](const char* thread) {
      return line(thread, "Uid:") == want && line(thread, "CapEff:") == "\t0000000000001400\n";
    });
    if (n != 5) return 2;
    if (setuid(0) == 0) return 3;
    nobody.change_user = false;
    return io::limit_privileges(nobody).ok() ? 0 : 4;
  });
  CHECK_EQ(code, 0);
}

TEST(programs_of_another_user_have_what_is_inherited_and_no_more) {
  if (geteuid() != 0 || (io::permitted_capabilities() & bit(CAP_SETUID)) == 0) SKIP("not root");
  io::Privileges nobody;
  if (!io::find_user("nobody", &nobody).ok()) SKIP("no user nobody");
  nobody.capabilities = bit(CAP_NET_ADMIN) | bit(CAP_NET_BIND_SERVICE);
  nobody.inherited = bit(CAP_NET_ADMIN);
  const auto run_grep = [](const char* wanted) {
    return in_child([wanted] {
      execlp("grep", "grep", "-qx", wanted, "/proc/self/status", nullptr);
      return 9;
    });
  };
  const int code = in_child([&] {
    Threads threads;
    if (!io::limit_privileges(nobody).ok()) return 1;
    const auto ambient_is = [](const char* bits) {
      return all_threads([bits](const char* thread) { return line(thread, "CapAmb:") == bits; });
    };
    if (ambient_is("\t0000000000001000\n") != 5) return 2;
    if (run_grep("CapEff:\t0000000000001000") != 0) return 3;
    // Less from now on: in every thread, although none has a capability less.
    nobody.change_user = false;
    nobody.inherited = 0;
    if (!io::limit_privileges(nobody).ok()) return 4;
    if (ambient_is("\t0000000000000000\n") != 5) return 5;
    return run_grep("CapEff:\t0000000000000000") == 0 ? 0 : 6;
  });
  CHECK_EQ(code, 0);
}

TEST(who_may_not_become_another_user_is_told) {
  const int code = in_child([] {
    if (!io::limit_privileges({}).ok()) return 1;
    io::Privileges other;
    other.change_user = true;
    other.uid = other.gid = 12345;
    return io::limit_privileges(other).number == EPERM ? 0 : 2;
  });
  CHECK_EQ(code, 0);
  io::Privileges out;
  CHECK_EQ(io::find_user("no-such-user", &out).number, ENOENT);
}

// glibc's own use of the signal still works afterwards.
TEST(the_signal_is_given_back) {
  if (geteuid() != 0 || (io::permitted_capabilities() & bit(CAP_SETUID)) == 0) SKIP("not root");
  const int code = in_child([] {
    Threads threads;
    io::Privileges keep;
    keep.capabilities = bit(CAP_SETUID) | bit(CAP_SETGID);
    if (!io::limit_privileges(keep).ok()) return 1;
    if (setuid(12345) != 0) return 2;
    const int n = all_threads([](const char* thread) {
      return line(thread, "Uid:") == "\t12345\t12345\t12345\t12345\n";
    });
    return n == 5 ? 0 : 3;
  });
  CHECK_EQ(code, 0);
}

#endif

}  // namespace
}  // namespace gwlb::test
