#include "node/off_thread.h"

#include "node/system_error.h"
#include "node/values.h"

namespace gwlb::node {
namespace {

struct Job {
  Work work;
  Done done;
  io::OsError error;
  napi_async_work handle = nullptr;
  napi_deferred deferred = nullptr;
  napi_ref keep = nullptr;
};

void execute(napi_env, void* data) {
  auto* job = static_cast<Job*>(data);
  job->error = job->work();
}

void settle(napi_env env, Job& job) {
  napi_value value = job.done ? job.done(env, job.error) : nullptr;
  if (!job.error.ok() && !exception_pending(env)) throw_system_error(env, job.error);
  if (exception_pending(env)) {
    if (napi_get_and_clear_last_exception(env, &value) == napi_ok) {
      napi_reject_deferred(env, job.deferred, value);
    }
    return;
  }
  if (value == nullptr) napi_get_undefined(env, &value);
  napi_resolve_deferred(env, job.deferred, value);
}

// Where the environment is ending, nobody hears of it; but what was done is let go.
void complete(napi_env env, napi_status, void* data) {
  const std::unique_ptr<Job> job(static_cast<Job*>(data));
  const Napi::HandleScope scope(env);
  settle(env, *job);
  if (job->keep != nullptr) napi_delete_reference(env, job->keep);
  napi_delete_async_work(env, job->handle);
}

}  // namespace

napi_value off_thread(napi_env env, napi_value keep, Work work, Done done) {
  auto job = std::make_unique<Job>();
  job->work = std::move(work);
  job->done = std::move(done);
  napi_value promise;
  const napi_value name = text_value(env, "gwlb");
  if (name == nullptr || napi_create_async_work(env, nullptr, name, execute, complete, job.get(),
                                                &job->handle) != napi_ok) {
    if (!exception_pending(env)) throw_out_of_memory(env, "a thread's work");
    return nullptr;
  }
  if ((keep != nullptr && napi_create_reference(env, keep, 1, &job->keep) != napi_ok) ||
      napi_create_promise(env, &job->deferred, &promise) != napi_ok ||
      napi_queue_async_work(env, job->handle) != napi_ok) {
    if (job->keep != nullptr) napi_delete_reference(env, job->keep);
    napi_delete_async_work(env, job->handle);
    if (!exception_pending(env)) throw_out_of_memory(env, "a thread's work");
    return nullptr;
  }
  job.release();
  return promise;
}

}  // namespace gwlb::node
