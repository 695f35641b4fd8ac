// The flow table by itself. An entry's value is what the gateway keeps as its cookie.
#include <algorithm>
#include <cstring>

#include "flow/flow_table.h"
#include "node/addon.h"
#include "node/class_wrap.h"
#include "node/configs.h"

namespace gwlb::node {
namespace {

struct FlowTable {
  static constexpr ClassId kClass = {"FlowTable", 0x7a31d5f0896ce42b};

  explicit FlowTable(napi_env env) : env(env) {}
  bool bind(napi_env env, napi_value object);
  ~FlowTable() { account(-bytes); }
  void account(int64_t change) {
    int64_t total;
    napi_adjust_external_memory(env, change, &total);
  }
  // Calls `work` with the table of the family.
  template <class Work>
  auto with(Work&& work) {
    return ipv4 != nullptr ? work(*ipv4) : work(*ipv6);
  }
  size_t key_bytes() const {
    return ipv4 != nullptr ? sizeof(flow::FlowKey4) : sizeof(flow::FlowKey6);
  }

  napi_env env;
  int64_t bytes = 0;
  base::HashKey hash_key;
  std::unique_ptr<flow::FlowTable<flow::FlowKey4>> ipv4;
  std::unique_ptr<flow::FlowTable<flow::FlowKey6>> ipv6;
};

template <class Key>
Key key_from(const flow::FlowTable<Key>&, const uint8_t* bytes) {
  return base::load<Key>(bytes);
}

std::unique_ptr<FlowTable> construct(const Napi::CallbackInfo& info) {
  const napi_env env = info.Env();
  uint32_t family;
  uint32_t capacity;
  uint32_t idle_ms;
  uint8_t key[16];
  if (!read_number(env, info[0], "family", 4, 6, &family) ||
      !read_number(env, info[1], "capacity", base::kFlowsMin, base::kFlowsMax, &capacity) ||
      !read_number(env, info[2], "idleMs", 1, (1u << 31) - 1, &idle_ms) ||
      !read_bytes_exact(env, info[3], "hashKey", key, sizeof key)) {
    return nullptr;
  }
  if (family == 5) {
    throw_range_error(env, "family: expected 4 or 6, received 5");
    return nullptr;
  }
  auto self = std::make_unique<FlowTable>(env);
  self->hash_key = hash_key_from(key);
  if (family == 4) {
    self->ipv4 = flow::FlowTable<flow::FlowKey4>::create(capacity);
  } else {
    self->ipv6 = flow::FlowTable<flow::FlowKey6>::create(capacity);
  }
  if (self->ipv4 == nullptr && self->ipv6 == nullptr) {
    throw_out_of_memory(env, "a flow table of " + std::to_string(capacity) + " flows");
    return nullptr;
  }
  self->with([idle_ms](auto& table) { table.set_idle(0, idle_ms); });
  self->bytes = static_cast<int64_t>(self->with([](auto& table) { return table.memory_bytes(); }));
  self->account(self->bytes);
  ObjectBuilder properties(env);
  if (!properties.number("capacity", capacity).define_on(info.This())) return nullptr;
  return self;
}

napi_value size(const Napi::CallbackInfo& info, FlowTable& self) {
  return number_value(info.Env(), self.with([](auto& table) { return table.size(); }));
}

napi_value memory_bytes(const Napi::CallbackInfo& info, FlowTable& self) {
  return number_value(info.Env(), static_cast<double>(self.bytes));
}

template <class Key>
void look_up(flow::FlowTable<Key>& table, const base::HashKey& hash_key, const uint8_t* from,
             uint32_t count, uint32_t* indices, uint32_t now_ms) {
  Key keys[base::kBatchPacketsMax];
  uint64_t hashes[base::kBatchPacketsMax];
  for (uint32_t done = 0; done < count;) {
    const uint32_t n = std::min(count - done, base::kBatchPacketsMax);
    // JavaScript's bytes need not be aligned.
    std::memcpy(static_cast<void*>(keys), from + size_t{done} * sizeof(Key), n * sizeof(Key));
    for (uint32_t i = 0; i < n; ++i) hashes[i] = flow::hash_key(hash_key, keys[i]);
    table.lookup(keys, hashes, n, indices + done);
    for (uint32_t i = done; i < done + n; ++i) {
      if (indices[i] != flow::kNoFlow) table.at(indices[i]).state.last_seen_ms = now_ms;
    }
    done += n;
  }
}

napi_value lookup(const Napi::CallbackInfo& info, FlowTable& self) {
  const napi_env env = info.Env();
  Bytes keys;
  uint32_t count;
  uint32_t* indices;
  size_t indices_length;
  uint64_t now_ms;
  if (!read_bytes(env, info[0], "keys", &keys) ||
      !read_number(env, info[1], "count", 0, keys.size / self.key_bytes(), &count) ||
      !read_words(env, info[2], "indices", &indices, &indices_length) ||
      !read_integer(env, info[3], "nowMs", 0, kIntegerMax, &now_ms)) {
    return nullptr;
  }
  if (indices_length < count) {
    throw_range_error(env, "indices: expected room for " + std::to_string(count) +
                               " indices, received room for " + std::to_string(indices_length));
    return nullptr;
  }
  self.with([&](auto& table) {
    look_up(table, self.hash_key, keys.data, count, indices, static_cast<uint32_t>(now_ms));
  });
  return nullptr;
}

// A key that is there keeps its place and takes the value.
napi_value insert(const Napi::CallbackInfo& info, FlowTable& self) {
  const napi_env env = info.Env();
  uint8_t bytes[sizeof(flow::FlowKey6)];
  uint32_t value;
  uint64_t now_ms;
  if (!read_bytes_exact(env, info[0], "key", bytes, self.key_bytes()) ||
      !read_number(env, info[1], "value", 0, 0xffffffff, &value) ||
      !read_integer(env, info[2], "nowMs", 0, kIntegerMax, &now_ms)) {
    return nullptr;
  }
  const uint32_t index = self.with([&](auto& table) {
    const auto key = key_from(table, bytes);
    const uint64_t hash = flow::hash_key(self.hash_key, key);
    uint32_t at = table.find(key, hash);
    if (at == flow::kNoFlow) at = table.insert(key, hash);
    if (at != flow::kNoFlow) {
      table.at(at).state.cookie = value;
      table.at(at).state.last_seen_ms = static_cast<uint32_t>(now_ms);
    }
    return at;
  });
  return number_value(env, index);
}

bool read_index(const Napi::CallbackInfo& info, FlowTable& self, uint32_t* index) {
  if (!read_number(info.Env(), info[0], "position", 0, 0xffffffff, index)) return false;
  if (self.with([index](auto& table) { return table.occupied(*index); })) return true;
  throw_range_error(info.Env(), "position: expected that of a flow, received " +
                                    std::to_string(*index) + ", which has none");
  return false;
}

napi_value value(const Napi::CallbackInfo& info, FlowTable& self) {
  uint32_t index;
  if (!read_index(info, self, &index)) return nullptr;
  return number_value(info.Env(),
                      self.with([index](auto& table) { return table.at(index).state.cookie; }));
}

napi_value set_value(const Napi::CallbackInfo& info, FlowTable& self) {
  uint32_t index;
  uint32_t value;
  if (read_index(info, self, &index) &&
      read_number(info.Env(), info[1], "value", 0, 0xffffffff, &value)) {
    self.with([&](auto& table) { table.at(index).state.cookie = value; });
  }
  return nullptr;
}

napi_value erase(const Napi::CallbackInfo& info, FlowTable& self) {
  uint32_t index;
  if (read_index(info, self, &index)) self.with([index](auto& table) { table.erase(index); });
  return nullptr;
}

napi_value sweep(const Napi::CallbackInfo& info, FlowTable& self) {
  uint64_t now_ms;
  uint32_t positions;
  if (!read_integer(info.Env(), info[0], "nowMs", 0, kIntegerMax, &now_ms) ||
      !read_number(info.Env(), info[1], "positions", 0, 0xffffffff, &positions)) {
    return nullptr;
  }
  return number_value(info.Env(), self.with([&](auto& table) {
    return table.sweep(static_cast<uint32_t>(now_ms), positions, [](uint32_t, const auto&) {});
  }));
}

napi_value clear(const Napi::CallbackInfo&, FlowTable& self) {
  self.with([](auto& table) { table.clear(); });
  return nullptr;
}

bool FlowTable::bind(napi_env env, napi_value object) {
  return bound<FlowTable, lookup>(env, object, "lookup", this) &&
         bound<FlowTable, insert>(env, object, "insert", this) &&
         bound<FlowTable, gwlb::node::value>(env, object, "value", this) &&
         bound<FlowTable, set_value>(env, object, "setValue", this) &&
         bound<FlowTable, erase>(env, object, "erase", this);
}

}  // namespace

napi_value flow_table_class(napi_env env) {
  return define_class<FlowTable, construct>(env, {
                                                     method<FlowTable, size>("size"),
                                                     method<FlowTable, memory_bytes>("memoryBytes"),
                                                     method<FlowTable, sweep>("sweep"),
                                                     method<FlowTable, clear>("clear"),
                                                 });
}

}  // namespace gwlb::node
