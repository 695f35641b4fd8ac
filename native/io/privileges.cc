#include "io/privileges.h"

#include <dirent.h>
#include <grp.h>
#include <linux/capability.h>
#include <pwd.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <vector>

namespace gwlb::io {
namespace {

// glibc tells its own threads with this one to change user together. Nobody can block it, unlike
// every other signal: Node's threads block all they can. It is borrowed while nobody changes user.
constexpr int kSignal = 33;
constexpr int kCapabilitiesMax = 64;
constexpr int kPatienceMs = 2000;
constexpr int kGroupsMax = 4096;

// What the kernel calls struct sigaction, as rt_sigaction takes it here.
struct KernelAction {
  unsigned char bytes[64];
};

struct Order {
  const Privileges* privileges;
  std::atomic<int> refused{0};  // errno
  std::atomic<const char*> call{""};
};

// Of the one call at a time; the handler has no other way to it.
std::atomic<Order*> current{nullptr};

void refuse(Order& order, const char* call) {
  order.call.store(call);
  order.refused.store(errno);
}

bool set_capabilities(uint64_t wanted, uint64_t inherited) {
  __user_cap_header_struct header{_LINUX_CAPABILITY_VERSION_3, 0};
  __user_cap_data_struct data[2]{};
  if (syscall(SYS_capget, &header, data) != 0) return false;
  for (int half = 0; half < 2; ++half) {
    const auto keep = static_cast<uint32_t>(wanted >> (32 * half)) & data[half].permitted;
    data[half] = {keep, keep, keep & static_cast<uint32_t>(inherited >> (32 * half))};
  }
  if (syscall(SYS_capset, &header, data) != 0) return false;
  for (int number = 0; number < kCapabilitiesMax; ++number) {
    const uint64_t half = data[number / 32].inheritable;
    if ((half >> (number % 32) & 1) == 0) continue;
    if (prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, number, 0, 0) != 0) return false;
  }
  return true;
}

// On the thread that shall follow, maybe in a signal handler: system calls only.
void follow(Order& order) {
  const Privileges& wanted = *order.privileges;
  if (wanted.change_user) {
    prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0);
    if (syscall(SYS_setgroups, wanted.groups.size(), wanted.groups.data()) != 0) {
      return refuse(order, "setgroups");
    }
    if (syscall(SYS_setresgid, wanted.gid, wanted.gid, wanted.gid) != 0) {
      return refuse(order, "setgid");
    }
    if (syscall(SYS_setresuid, wanted.uid, wanted.uid, wanted.uid) != 0) {
      return refuse(order, "setuid");
    }
    prctl(PR_SET_KEEPCAPS, 0, 0, 0, 0);
  }
  prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
  for (int number = 0; number < kCapabilitiesMax; ++number) {
    if ((wanted.capabilities >> number & 1) == 0) prctl(PR_CAPBSET_DROP, number, 0, 0, 0);
  }
  if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) return refuse(order, "prctl");
  if (!set_capabilities(wanted.capabilities, wanted.inherited)) refuse(order, "capset");
}

void on_signal(int) {
  const int before = errno;
  Order* order = current.load();
  if (order != nullptr) follow(*order);
  errno = before;
}

// One line of /proc/self/task/<thread>/status.
std::string status_of(const std::string& thread) {
  const std::string path = "/proc/self/task/" + thread + "/status";
  std::string text;
  FILE* file = std::fopen(path.c_str(), "re");
  if (file == nullptr) return text;
  char piece[4096];
  for (size_t got; (got = std::fread(piece, 1, sizeof piece, file)) > 0;) text.append(piece, got);
  std::fclose(file);
  return text;
}

uint64_t number_after(const std::string& text, const char* key, int base) {
  const size_t at = text.find(key);
  return at == std::string::npos
             ? 0
             : std::strtoull(text.c_str() + at + std::strlen(key), nullptr, base);
}

bool has_followed(const std::string& status, const Privileges& wanted) {
  const bool user = !wanted.change_user || number_after(status, "\nUid:", 10) == wanted.uid;
  const uint64_t permitted = number_after(status, "\nCapPrm:", 16);
  const uint64_t ambient = number_after(status, "\nCapAmb:", 16);
  return user && number_after(status, "\nNoNewPrivs:", 10) == 1 &&
         (permitted & ~wanted.capabilities) == 0 && ambient == (permitted & wanted.inherited);
}

// Tells every other thread that has not followed yet, each once: the signal queues, and one that
// came after it was given back would end the process. How many have not followed.
int tell_others(const Privileges& wanted, std::vector<pid_t>& told) {
  DIR* folder = opendir("/proc/self/task");
  if (folder == nullptr) return -1;
  const auto self = static_cast<pid_t>(syscall(SYS_gettid));
  int missing = 0;
  while (const dirent* entry = readdir(folder)) {
    const auto thread = static_cast<pid_t>(std::atoi(entry->d_name));
    if (thread <= 0 || thread == self) continue;
    const std::string status = status_of(entry->d_name);
    if (status.empty() || has_followed(status, wanted)) continue;
    ++missing;
    if (std::find(told.begin(), told.end(), thread) != told.end()) continue;
    told.push_back(thread);
    syscall(SYS_tgkill, getpid(), thread, kSignal);
  }
  closedir(folder);
  return missing;
}

// The kernel's own form of an action, with what the C library adds to it, comes from a signal that
// the C library lets us set.
bool borrow_signal(KernelAction* before) {
  constexpr size_t kMaskBytes = 8;
  struct sigaction action {};
  struct sigaction spare {};
  action.sa_handler = on_signal;
  action.sa_flags = SA_RESTART;
  sigfillset(&action.sa_mask);
  const int other = SIGRTMAX;
  if (sigaction(other, &action, &spare) != 0) return false;
  KernelAction ours{};
  const bool done = syscall(SYS_rt_sigaction, other, nullptr, &ours, kMaskBytes) == 0 &&
                    syscall(SYS_rt_sigaction, kSignal, &ours, before, kMaskBytes) == 0;
  sigaction(other, &spare, nullptr);
  return done;
}

void give_back_signal(const KernelAction& before) {
  syscall(SYS_rt_sigaction, kSignal, &before, nullptr, 8);
}

}  // namespace

OsError limit_privileges(const Privileges& privileges) {
  Order order{&privileges};
  // First, so that what is not allowed is known before any other thread has changed.
  follow(order);
  if (order.refused.load() != 0) return {order.refused.load(), order.call.load(), ""};
  KernelAction before{};
  current.store(&order);
  if (!borrow_signal(&before)) return last_error("sigaction", "");
  std::vector<pid_t> told;
  int missing = tell_others(privileges, told);
  // A thread that was made meanwhile has what its maker had: it is told too.
  for (int waited = 0; missing != 0 && waited < kPatienceMs; ++waited) {
    usleep(1000);
    missing = tell_others(privileges, told);
  }
  current.store(nullptr);
  // Who has not followed still has the signal before it: then it stays ours, and does nothing.
  if (missing == 0) give_back_signal(before);
  if (order.refused.load() != 0) return {order.refused.load(), order.call.load(), ""};
  if (missing != 0) return {EAGAIN, "privileges", std::to_string(missing) + " threads"};
  return {};
}

OsError find_user(const std::string& name, Privileges* out) {
  passwd entry;
  passwd* found = nullptr;
  std::vector<char> room(1 << 16);
  const int refused = getpwnam_r(name.c_str(), &entry, room.data(), room.size(), &found);
  if (found == nullptr) return {refused == 0 ? ENOENT : refused, "getpwnam", name};
  int count = kGroupsMax;
  std::vector<gid_t> groups(kGroupsMax);
  if (getgrouplist(name.c_str(), entry.pw_gid, groups.data(), &count) < 0) {
    return {ERANGE, "getgrouplist", name};
  }
  groups.resize(static_cast<size_t>(count));
  out->change_user = true;
  out->uid = entry.pw_uid;
  out->gid = entry.pw_gid;
  out->groups = std::move(groups);
  return {};
}

uint64_t permitted_capabilities() {
  __user_cap_header_struct header{_LINUX_CAPABILITY_VERSION_3, 0};
  __user_cap_data_struct data[2]{};
  if (syscall(SYS_capget, &header, data) != 0) return 0;
  return uint64_t{data[1].permitted} << 32 | data[0].permitted;
}

}  // namespace gwlb::io
