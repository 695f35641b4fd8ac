// What the control plane asks the system about devices and routes.
#include "io/routes.h"
#include "io/tun.h"
#include "node/addon.h"

namespace gwlb::node {
namespace {

constexpr size_t kNamespaceBytesMax = 4096;
constexpr size_t kDeviceNameBytesMax = 15;

napi_value remove_tun(const Napi::CallbackInfo& info) {
  std::string name, netns;
  if (!read_text(info.Env(), info[0], "name", kDeviceNameBytesMax, &name) ||
      !read_text(info.Env(), info[1], "netns", kNamespaceBytesMax, &netns)) {
    return nullptr;
  }
  const io::OsError error = io::Tun::remove(name, netns);
  if (!error.ok()) throw_system_error(info.Env(), error);
  return nullptr;
}

napi_value route_value(napi_env env, const io::Route& route, const io::RoutingTables& tables) {
  std::vector<napi_value> devices;
  for (const uint32_t link : route.links) {
    const auto named = tables.devices.find(link);
    if (named != tables.devices.end()) devices.push_back(text_value(env, named->second));
  }
  ObjectBuilder out(env);
  return out.number("version", route.version)
      .number("type", route.type)
      .number("table", route.table)
      .number("metric", route.metric)
      .number("protocol", route.protocol)
      .bytes("prefix", route.prefix.data(), route.version == 4 ? 4 : 16)
      .number("bits", route.prefix_bits)
      .value("devices", array_value(env, devices))
      .finish();
}

napi_value rule_value(napi_env env, const io::RouteRule& rule) {
  ObjectBuilder out(env);
  return out.number("version", rule.version)
      .number("action", rule.action)
      .number("priority", rule.priority)
      .number("table", rule.table)
      .text("input", rule.input)
      .finish();
}

napi_value read_routes(const Napi::CallbackInfo& info) {
  const napi_env env = info.Env();
  std::string netns;
  if (!read_text(env, info[0], "netns", kNamespaceBytesMax, &netns)) return nullptr;
  io::RoutingTables tables;
  const io::OsError error = io::read_routes(netns, &tables);
  if (!error.ok()) {
    throw_system_error(env, error);
    return nullptr;
  }
  std::vector<napi_value> routes, rules;
  for (const io::Route& route : tables.routes) routes.push_back(route_value(env, route, tables));
  for (const io::RouteRule& rule : tables.rules) rules.push_back(rule_value(env, rule));
  ObjectBuilder out(env);
  return out.value("routes", array_value(env, routes))
      .value("rules", array_value(env, rules))
      .boolean("complete", tables.complete)
      .finish();
}

}  // namespace

void add_network_functions(napi_env env, ObjectBuilder& exports) {
  exports.value("removeTun", plain_function<remove_tun>(env, "removeTun"))
      .value("readRoutes", plain_function<read_routes>(env, "readRoutes"));
}

}  // namespace gwlb::node
