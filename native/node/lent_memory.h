// Native memory that JavaScript views.
#pragma once

#include <napi.h>

#include <cstddef>
#include <list>
#include <memory>

namespace gwlb::node {

// An ArrayBuffer over native memory that keeps `owner` alive for as long as JavaScript can reach
// the buffer or a view of it, in whatever thread. Made once for a block of memory. nullptr: an
// exception is pending.
napi_value external_buffer(napi_env env, void* data, size_t bytes, std::shared_ptr<void> owner);

// What an environment has lent. `ArrayBuffer.prototype.transfer` moves the memory out of the buffer
// it was lent with into one that another thread can be sent, and that outlives this environment.
// When an environment ends, Node detaches what is left of its external buffers and lets go of their
// memory, of that which was moved too. So the moved ones are looked for before, and their memory is
// never freed: who has it cannot be asked.
//
// There is no hook so early. But external buffers are let go of last made first, and so a sentinel,
// an external buffer that is made after each of the others, is the first of all.
class LentMemory : public std::enable_shared_from_this<LentMemory> {
 public:
  napi_value lend(napi_env env, void* data, size_t bytes, std::shared_ptr<void> owner);

 private:
  struct Loan {
    std::shared_ptr<LentMemory> lender;
    napi_env env;
    std::shared_ptr<void> owner;
    void* data;
    size_t bytes;
    napi_ref buffer = nullptr;  // weak; nullptr when the environment has ended
    std::list<Loan*>::iterator place = {};
  };
  struct Sentinel {
    std::shared_ptr<LentMemory> lender;
    uint64_t number;
  };

  bool make_sentinel(napi_env env);
  void end(napi_env env);
  static void keep_if_moved(Loan* loan);
  static void let_go(napi_env, void*, void* loan);
  static void let_go_of_sentinel(napi_env env, void*, void* sentinel);

  std::list<Loan*> loans_;
  napi_ref sentinel_ = nullptr;
  uint64_t sentinels_ = 0;
};

}  // namespace gwlb::node
