// Target tables, which are built apart from the gateways that decide by them.
#include "node/target_table_wrap.h"

#include <cstring>

#include "node/addon.h"
#include "node/off_thread.h"

namespace gwlb::node {
namespace {

// More takes longer than JavaScript's thread may wait: 2 to 5 ms.
constexpr uint64_t kScoresAtOnce = 1u << 21;

// The arguments of a table: its targets, and a table or null.
struct Wanted {
  TargetSpecs specs;
  std::shared_ptr<const select::TargetTable> previous;

  bool read(const Napi::CallbackInfo& info) {
    const napi_env env = info.Env();
    TargetTable* table = nullptr;
    if (!read_target_specs(env, info[0], &specs)) return false;
    if (info[1].IsNull()) return true;
    if (!read_wrapped(env, info[1], "previous", &table) || !built(env, *table)) return false;
    previous = table->targets.table;
    return true;
  }
  // On any thread.
  Targets build() const { return {specs.build(previous.get()), specs.zones}; }
  uint64_t scores() const {
    return select::TargetTable::scores_for(specs.targets, specs.zones, specs.cross_zone, specs.seed,
                                           previous.get());
  }
};

napi_value object_of(napi_env env, Targets&& targets) {
  AddonData* data = Napi::Env(env).GetInstanceData<AddonData>();
  data->built_targets = std::move(targets);
  const napi_value object = data->target_table.New({});
  data->built_targets = {};
  return object;
}

// Takes the one that was built; with targets, builds it.
std::unique_ptr<TargetTable> construct(const Napi::CallbackInfo& info) {
  AddonData* data = info.Env().GetInstanceData<AddonData>();
  auto self = std::make_unique<TargetTable>();
  self->targets = std::move(data->built_targets);
  data->built_targets = {};
  if (self->targets.table != nullptr) return self;
  Wanted wanted;
  if (!wanted.read(info)) return nullptr;
  self->targets = wanted.build();
  return self;
}

napi_value target_table(const Napi::CallbackInfo& info) {
  const napi_env env = info.Env();
  auto wanted = std::make_shared<Wanted>();
  if (!wanted->read(info)) return nullptr;
  if (wanted->scores() <= kScoresAtOnce) return object_of(env, wanted->build());
  auto built = std::make_shared<Targets>();
  return off_thread(
      env, nullptr,
      [wanted, built] {
        *built = wanted->build();
        return io::OsError{};
      },
      [built](napi_env env, const io::OsError&) { return object_of(env, std::move(*built)); });
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

napi_value row_counts(const Napi::CallbackInfo& info, TargetTable& self) {
  if (!built(info.Env(), self)) return nullptr;
  const std::vector<uint32_t> counts = self.targets.table->row_counts();
  const size_t bytes = counts.size() * sizeof(uint32_t);
  void* memory = nullptr;
  napi_value buffer;
  if (napi_create_arraybuffer(info.Env(), bytes, &memory, &buffer) != napi_ok) return nullptr;
  std::memcpy(memory, counts.data(), bytes);
  ObjectBuilder out(info.Env());
  return out.number("rows", self.targets.table->rows())
      .value("counts", typed_array(info.Env(), napi_uint32_array, counts.size(), buffer))
      .finish();
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
  exports.value("targetTable", plain_function<target_table>(env, "targetTable"));
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
                                                       method<TargetTable, row_counts>("rowCounts"),
                                                       method<TargetTable, release>("release"),
                                                   });
}

}  // namespace gwlb::node
