#include "io/netns.h"

#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <unistd.h>

namespace gwlb::io {
namespace {

struct Visit {
  std::string path;
  const std::function<OsError()>* work;
  OsError result;
};

OsError enter(const std::string& path) {
  const int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (fd < 0) return last_error("open", path);
  OsError error;
  if (setns(fd, CLONE_NEWNET) != 0) error = last_error("setns", path);
  close(fd);
  return error;
}

void* run(void* argument) {
  auto* visit = static_cast<Visit*>(argument);
  visit->result = enter(visit->path);
  if (visit->result.ok()) visit->result = (*visit->work)();
  return nullptr;
}

}  // namespace

OsError in_netns(const std::string& netns, const std::function<OsError()>& work) {
  if (netns.empty()) return work();
  const bool is_path = netns.find('/') != std::string::npos;
  Visit visit{is_path ? netns : "/run/netns/" + netns, &work, {}};
  // Signals are the business of the program's own threads.
  sigset_t all, before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  pthread_t thread;
  const int refused = pthread_create(&thread, nullptr, run, &visit);
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
  if (refused != 0) return OsError{refused, "pthread_create", visit.path};
  pthread_join(thread, nullptr);
  return visit.result;
}

}  // namespace gwlb::io
