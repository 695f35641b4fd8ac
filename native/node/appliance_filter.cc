// Capture filters, asked about one packet.
#include "appliance/filter.h"
#include "node/addon.h"
#include "node/configs.h"

namespace gwlb::node {
namespace {

// matchFilter(words, packet): false also where the bytes are no IP packet.
napi_value match_filter(const Napi::CallbackInfo& info) {
  const napi_env env = info.Env();
  appliance::Filter filter;
  Bytes bytes;
  if (!read_filter(env, info[0], &filter) || !read_packet(env, info[1], "packet", &bytes))
    return nullptr;
  wire::InnerPacket inner;
  const bool ok = wire::parse_inner(bytes.data, bytes.size, &inner).ok();
  return boolean_value(env, ok && filter.matches(inner));
}

}  // namespace

void add_filter_functions(napi_env env, ObjectBuilder& exports) {
  exports.value("matchFilter", plain_function<match_filter>(env, "matchFilter"));
}

}  // namespace gwlb::node
