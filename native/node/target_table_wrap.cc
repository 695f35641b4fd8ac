// A target table by itself: for what a change of targets would do.
#include "node/target_table_wrap.h"

#include <cstring>

#include "node/addon.h"

namespace gwlb::node {
namespace {

std::unique_ptr<TargetTable> construct(const Napi::CallbackInfo& info) {
  const napi_env env = info.Env();
  TargetTable* previous = nullptr;
  if (!info[1].IsNull() && !read_wrapped(env, info[1], "previous", &previous)) return nullptr;
  if (previous != nullptr && !built(env, *previous)) return nullptr;
  auto self = std::make_unique<TargetTable>();
  const auto before = previous == nullptr ? nullptr : previous->targets.table;
  return read_targets(env, info[0], before.get(), &self->targets) ? std::move(self) : nullptr;
}

// Its memory shall not wait for the collector.
napi_value release(const Napi::CallbackInfo&, TargetTable& self) {
  self.targets = {};
  return nullptr;
}

napi_value rows(const Napi::CallbackInfo& info, TargetTable& self) {
  const napi_env env = info.Env();
  if (!built(env, self)) return nullptr;
  uint16_t zone;
  if (!read_number(env, info[0], "zone", 0, self.targets.zones - 1, &zone)) return nullptr;
  const select::TargetTable& table = *self.targets.table;
  const size_t bytes = table.rows() * sizeof(uint16_t);
  void* memory = nullptr;
  napi_value buffer;
  if (napi_create_arraybuffer(env, bytes, &memory, &buffer) != napi_ok) return nullptr;
  const uint16_t* slots = table.row_data(zone);
  if (slots == nullptr) {
    std::memset(memory, 0xff, bytes);  // kNoTarget
  } else {
    std::memcpy(memory, slots, bytes);
  }
  return typed_array(env, napi_uint16_array, table.rows(), buffer);
}

// (seed, identity, row, weight)
napi_value score_of(const Napi::CallbackInfo& info) {
  const napi_env env = info.Env();
  uint64_t seed, identity;
  uint32_t row, weight;
  if (!read_bigint(env, info[0], "seed", &seed) ||
      !read_bigint(env, info[1], "identity", &identity) ||
      !read_number(env, info[2], "row", 0, (1u << base::kRowBitsLarge) - 1, &row) ||
      !read_number(env, info[3], "weight", 1, base::kWeightMax, &weight)) {
    return nullptr;
  }
  return bigint_value(env, select::score(seed, identity, row, weight));
}

}  // namespace

void add_target_functions(napi_env env, ObjectBuilder& exports) {
  exports.value("scoreOf", plain_function<score_of>(env, "scoreOf"));
}

bool built(napi_env env, const TargetTable& table) {
  if (table.targets.table != nullptr) return true;
  napi_throw_error(env, "ERR_STOPPED", "the target table was released");
  return false;
}

static_assert(base::kNoTarget == 0xffff);

napi_value target_table_class(napi_env env) {
  return define_class<TargetTable, construct>(env, {
                                                       method<TargetTable, rows>("rows"),
                                                       method<TargetTable, release>("release"),
                                                   });
}

}  // namespace gwlb::node
