// Functions of one inner packet: capture filters, checksums.
#include "appliance/filter.h"
#include "node/addon.h"
#include "node/configs.h"
#include "wire/packet_checksums.h"

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

// updateChecksums(packet): false where the bytes are no IP packet.
napi_value update_checksums(const Napi::CallbackInfo& info) {
  const napi_env env = info.Env();
  Bytes bytes;
  if (!read_bytes(env, info[0], "packet", &bytes)) return nullptr;
  wire::InnerPacket inner;
  const bool ok = wire::parse_inner(bytes.data, bytes.size, &inner).ok();
  if (ok) wire::write_checksums(bytes.data, inner);
  return boolean_value(env, ok);
}

}  // namespace

void add_filter_functions(napi_env env, ObjectBuilder& exports) {
  exports.value("matchFilter", plain_function<match_filter>(env, "matchFilter"))
      .value("updateChecksums", plain_function<update_checksums>(env, "updateChecksums"));
}

}  // namespace gwlb::node
