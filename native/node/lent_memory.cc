#include "node/lent_memory.h"

#include <sys/mman.h>

#include <cstdint>
#include <utility>

#include "node/addon.h"

namespace gwlb::node {
namespace {

// The addresses stay, and read as zeros.
void drop_pages(void* data, size_t bytes) {
  constexpr uintptr_t kPage = 4096;
  const auto from = reinterpret_cast<uintptr_t>(data);
  const uintptr_t begin = (from + kPage - 1) & ~(kPage - 1);
  const uintptr_t end = (from + bytes) & ~(kPage - 1);
  if (begin < end) madvise(reinterpret_cast<void*>(begin), end - begin, MADV_DONTNEED);
}

void throw_not_allowed(napi_env env) {
  if (exception_pending(env)) return;
  napi_throw_error(env, nullptr, "this runtime does not allow JavaScript to view native memory");
}

}  // namespace

napi_value external_buffer(napi_env env, void* data, size_t bytes, std::shared_ptr<void> owner) {
  AddonData* addon = Napi::Env(env).GetInstanceData<AddonData>();
  return addon->lent->lend(env, data, bytes, std::move(owner));
}

napi_value LentMemory::lend(napi_env env, void* data, size_t bytes, std::shared_ptr<void> owner) {
  auto* loan = new Loan{shared_from_this(), env, std::move(owner), data, bytes};
  napi_value out = nullptr;
  if (napi_create_external_arraybuffer(env, data, bytes, let_go, loan, &out) != napi_ok) {
    delete loan;
    throw_not_allowed(env);
    return nullptr;
  }
  loan->place = loans_.insert(loans_.end(), loan);
  if (napi_create_reference(env, out, 0, &loan->buffer) == napi_ok && make_sentinel(env)) {
    return out;
  }
  throw_not_allowed(env);
  return nullptr;
}

bool LentMemory::make_sentinel(napi_env env) {
  static uint8_t nothing;
  auto* sentinel = new Sentinel{shared_from_this(), sentinels_ + 1};
  napi_value buffer = nullptr;
  if (napi_create_external_arraybuffer(env, &nothing, 1, let_go_of_sentinel, sentinel, &buffer) !=
      napi_ok) {
    delete sentinel;
    return false;
  }
  sentinels_ += 1;
  if (sentinel_ != nullptr) napi_delete_reference(env, sentinel_);
  sentinel_ = nullptr;
  return napi_create_reference(env, buffer, 1, &sentinel_) == napi_ok;
}

void LentMemory::let_go_of_sentinel(napi_env env, void*, void* given) {
  const std::unique_ptr<Sentinel> sentinel(static_cast<Sentinel*>(given));
  LentMemory& lender = *sentinel->lender;
  // Those before are collected at any time; the newest one is held until the environment ends.
  if (sentinel->number == lender.sentinels_) lender.end(env);
}

void LentMemory::end(napi_env env) {
  napi_handle_scope scope = nullptr;
  napi_open_handle_scope(env, &scope);
  for (Loan* loan : loans_) keep_if_moved(loan);
  napi_close_handle_scope(env, scope);
  if (sentinel_ != nullptr) napi_delete_reference(env, sentinel_);
  sentinel_ = nullptr;
}

void LentMemory::keep_if_moved(Loan* loan) {
  napi_value buffer = nullptr;
  bool detached = true;
  napi_get_reference_value(loan->env, loan->buffer, &buffer);
  if (buffer != nullptr) napi_is_detached_arraybuffer(loan->env, buffer, &detached);
  napi_delete_reference(loan->env, loan->buffer);
  loan->buffer = nullptr;
  if (!detached) return;
  // One that was collected was most likely not moved, only not let go of yet: give back what costs.
  if (buffer == nullptr && loan->owner.use_count() == 1) drop_pages(loan->data, loan->bytes);
  new std::shared_ptr<void>(std::move(loan->owner));
}

void LentMemory::let_go(napi_env env, void*, void* given) {
  const std::unique_ptr<Loan> loan(static_cast<Loan*>(given));
  if (loan->buffer != nullptr) napi_delete_reference(env, loan->buffer);
  loan->lender->loans_.erase(loan->place);
}

}  // namespace gwlb::node
