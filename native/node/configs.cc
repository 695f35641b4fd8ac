#include "node/configs.h"

#include <bitset>
#include <cstring>

#include "node/values.h"

namespace gwlb::node {
namespace {

constexpr uint64_t kUint32Max = 0xffffffff;
// Times inside a table are modulo 2^32, so that an idle time has to stay below half of it.
constexpr uint64_t kIdleMsMax = 0x7fffffff;
constexpr uint64_t kBufferBytesMax = 1u << 30;
constexpr uint64_t kEventsMax = 1u << 20;
constexpr uint64_t kMtuMin = 68;  // RFC 791
constexpr size_t kNamespaceBytesMax = 4096;
constexpr size_t kDeviceNameBytesMax = 15;
constexpr uint32_t kDropRulesMax = 4096;

bool read_source_ports(const Fields& fields, uint64_t count_min, uint16_t* base, uint16_t* count) {
  if (!fields.number("sourcePortBase", 1, 65535, base) ||
      !fields.number("sourcePortCount", count_min, base::kSourcePortsMax, count)) {
    return false;
  }
  if (uint32_t{*base} + *count <= 65536) return true;
  throw_range_error(fields.env(), fields.path("sourcePortBase").text() +
                                      ": expected all source ports to be below 65536, received " +
                                      std::to_string(*base) + " and " + std::to_string(*count) +
                                      " ports");
  return false;
}

bool read_keys_and_macs(const Fields& fields, gateway::GatewayConfig* out) {
  uint8_t hash_key[16];
  uint8_t cookie_key[16];
  if (!fields.bytes("hashKey", hash_key, sizeof hash_key) ||
      !fields.bytes("cookieKey", cookie_key, sizeof cookie_key) ||
      !fields.bytes("sourceMac", out->source_mac, sizeof out->source_mac) ||
      !fields.bytes("destinationMac", out->destination_mac, sizeof out->destination_mac)) {
    return false;
  }
  out->hash_key = hash_key_from(hash_key);
  out->cookie_key = hash_key_from(cookie_key);
  return true;
}

bool read_live(const Fields& fields, gateway::LiveConfig* out) {
  napi_value stickiness;
  return fields.get("stickiness", &stickiness) &&
         read_stickiness(fields.env(), stickiness, fields.path("stickiness"), &out->stickiness) &&
         fields.boolean("failOpen", &out->fail_open) &&
         fields.boolean("resetOnIdle", &out->reset_on_idle) &&
         fields.number("clampMss", 0, 0xffff, &out->clamp_mss) &&
         fields.number("pathMtu", 0, 0xffff, &out->path_mtu) &&
         fields.number("tcpIdleMs", 1, kIdleMsMax, &out->tcp_idle_ms) &&
         fields.number("otherIdleMs", 1, kIdleMsMax, &out->other_idle_ms) &&
         fields.number("reportMs", 0, kIdleMsMax, &out->report_interval_ms);
}

bool read_flow_policy(const Fields& fields, gateway::GatewayConfig* out) {
  bool strict = false;
  bool promote_on_ingress = false;
  if (!read_live(fields, out) || !fields.boolean("scopeGateway", &out->scope_gateway) ||
      !fields.boolean("strictCookies", &strict) ||
      !fields.choice("midStream", gateway::kMidStreamNames, &out->mid_stream) ||
      !fields.number("learningMs", 0, kUint32Max, &out->learning_ms) ||
      !fields.number("flowsIpv4", base::kFlowsMin, base::kFlowsMax, &out->flows_ipv4) ||
      !fields.number("flowsIpv6", base::kFlowsMin, base::kFlowsMax, &out->flows_ipv6) ||
      !fields.boolean("promoteOnIngress", &promote_on_ingress) ||
      !fields.boolean("pathMtuDiscovery", &out->path_mtu_discovery) ||
      !fields.boolean("flowCounters", &out->flow_counters) ||
      !fields.number("events", 0, kEventsMax, &out->events)) {
    return false;
  }
  out->cookie_check = strict ? gateway::CookieCheck::strict : gateway::CookieCheck::lenient;
  if (promote_on_ingress) out->promotion = gateway::Promotion::ingress;
  return true;
}

bool read_wire(const Fields& fields, gateway::GatewayConfig* out) {
  bool ethernet = false;
  if (!fields.number("mtu", base::kInnerBytesMin, base::kInnerBytesMax, &out->mtu) ||
      !fields.number("optionClass", 0, 65535, &out->option_class) ||
      !fields.bigint("attachmentId", &out->attachment_id) ||
      !fields.boolean("innerEthernet", &ethernet) ||
      !fields.boolean("outerHeaders", &out->outer_headers) ||
      !fields.number("address", 0, kUint32Max, &out->address) ||
      !fields.number("port", 0, 65535, &out->port)) {
    return false;
  }
  out->inner = ethernet ? gateway::InnerMode::ethernet : gateway::InnerMode::ip;
  return read_source_ports(fields, 1, &out->source_port_base, &out->source_port_count);
}

bool has_length(const Fields& fields, const char* key, size_t length, size_t expected) {
  if (length == expected) return true;
  throw_range_error(fields.env(), fields.path(key).text() + ": expected " +
                                      std::to_string(expected) + " words, received " +
                                      std::to_string(length));
  return false;
}

// One column of the targets: a word for each of them.
template <class Set>
bool read_column(const Fields& fields, const char* key, uint32_t min, uint32_t max,
                 std::vector<select::TargetSpec>* targets, Set set) {
  napi_value value;
  uint32_t* words;
  size_t length;
  if (!fields.get(key, &value) ||
      !read_words(fields.env(), value, fields.path(key), &words, &length) ||
      !has_length(fields, key, length, targets->size())) {
    return false;
  }
  for (size_t i = 0; i < length; ++i) {
    if (words[i] < min || words[i] > max) {
      throw_range_error(fields.env(), fields.path(key).text() + "[" + std::to_string(i) +
                                          "]: expected an integer from " + std::to_string(min) +
                                          " to " + std::to_string(max) + ", received " +
                                          std::to_string(words[i]));
      return false;
    }
    set(&(*targets)[i], words[i]);
  }
  return true;
}

bool read_flag(const Fields& fields, const char* key, select::TargetFlags flag,
               std::vector<select::TargetSpec>* targets) {
  return read_column(fields, key, 0, 1, targets, [flag](select::TargetSpec* target, uint32_t on) {
    if (on != 0) target->flags |= flag;
  });
}

// Whose slots they are says how many targets there are.
bool read_slots(const Fields& fields, std::vector<select::TargetSpec>* targets) {
  napi_value value;
  uint32_t* words;
  size_t length;
  if (!fields.get("slot", &value) ||
      !read_words(fields.env(), value, fields.path("slot"), &words, &length)) {
    return false;
  }
  if (length > base::kTargetsMax) {
    throw_range_error(fields.env(), fields.path("slot").text() + ": expected at most " +
                                        std::to_string(base::kTargetsMax) + " words, received " +
                                        std::to_string(length));
    return false;
  }
  targets->assign(length, {});
  return read_column(fields, "slot", 0, base::kTargetsMax - 1, targets,
                     [](select::TargetSpec* target, uint32_t slot) {
                       target->slot = static_cast<uint16_t>(slot);
                       target->flags = select::kRegistered;
                     });
}

bool read_identities(const Fields& fields, std::vector<select::TargetSpec>* targets) {
  napi_value value;
  uint64_t* words;
  size_t length;
  if (!fields.get("identity", &value) ||
      !read_long_words(fields.env(), value, fields.path("identity"), &words, &length) ||
      !has_length(fields, "identity", length, targets->size())) {
    return false;
  }
  for (size_t i = 0; i < length; ++i) (*targets)[i].identity = words[i];
  return true;
}

bool read_drop_rule(const Fields& fields, appliance::DropRule* out) {
  napi_value address;
  if (!fields.number("protocol", 0, 255, &out->protocol) ||
      !fields.number("port", 0, 65535, &out->port) || !fields.get("address", &address)) {
    return false;
  }
  if (is_nullish(fields.env(), address)) return true;
  Bytes bytes;
  if (!read_bytes(fields.env(), address, fields.path("address"), &bytes)) return false;
  if (bytes.size != 4 && bytes.size != 16) {
    throw_range_error(fields.env(), fields.path("address").text() +
                                        ": expected 4 or 16 bytes, received " +
                                        std::to_string(bytes.size));
    return false;
  }
  std::memcpy(out->address, bytes.data, bytes.size);
  out->version = bytes.size == 4 ? 4 : 6;
  return fields.number("prefix", 0, out->version == 4 ? 32 : 128, &out->prefix);
}

bool read_drop_rules(const Fields& fields, std::vector<appliance::DropRule>* out) {
  napi_value array;
  uint32_t length;
  if (!fields.array("drop", kDropRulesMax, &array, &length)) return false;
  for (uint32_t i = 0; i < length; ++i) {
    Fields rule;
    out->emplace_back();
    if (!fields.element("drop", array, i, &rule) || !read_drop_rule(rule, &out->back())) {
      return false;
    }
  }
  return true;
}

}  // namespace

base::HashKey hash_key_from(const uint8_t (&bytes)[16]) {
  return {base::load<uint64_t>(bytes), base::load<uint64_t>(bytes + 8)};
}

bool read_stickiness(napi_env env, napi_value value, const Path& path, flow::Stickiness* out) {
  uint8_t tuple;
  if (!read_number(env, value, path, 2, 5, &tuple)) return false;
  if (tuple == 4) {
    throw_range_error(env, path.text() + ": expected 5, 3 or 2, received 4");
    return false;
  }
  *out = static_cast<flow::Stickiness>(tuple);
  return true;
}

bool read_live_config(napi_env env, napi_value value, gateway::LiveConfig* out) {
  Fields fields;
  return Fields::open(env, value, "live", &fields) && read_live(fields, out);
}

bool read_gateway_config(const Fields& fields, gateway::GatewayConfig* out) {
  return read_keys_and_macs(fields, out) && read_flow_policy(fields, out) && read_wire(fields, out);
}

bool read_udp_config(const Fields& fields, io::UdpConfig* out) {
  return fields.number("address", 0, kUint32Max, &out->address) &&
         fields.number("port", 0, 65535, &out->port) &&
         fields.text("netns", kNamespaceBytesMax, &out->netns) &&
         fields.number("receiveBufferBytes", 0, kBufferBytesMax, &out->receive_buffer_bytes) &&
         fields.number("sendBufferBytes", 0, kBufferBytesMax, &out->send_buffer_bytes) &&
         fields.number("ttl", 1, 255, &out->ttl) && fields.boolean("offloads", &out->offload) &&
         fields.boolean("udpChecksum", &out->checksum);
}

bool read_gateway_engine_config(napi_env env, napi_value value, engine::GatewayEngineConfig* out) {
  Fields fields;
  Fields udp;
  return Fields::open(env, value, "config", &fields) &&
         read_gateway_config(fields, &out->gateway) && fields.object("udp", &udp) &&
         read_udp_config(udp, &out->udp) &&
         read_source_ports(udp, 0, &out->udp.source_port_base, &out->udp.source_port_count) &&
         fields.number("workers", 1, base::kWorkersMax, &out->workers);
}

// Null: the IPv4 address counts.
static bool read_address6(const Fields& udp, io::UdpConfig* out) {
  napi_value address;
  if (!udp.get("address6", &address)) return false;
  out->ipv6 = !is_nullish(udp.env(), address);
  return !out->ipv6 || udp.bytes("address6", out->address6, sizeof out->address6);
}

bool read_appliance_config(napi_env env, napi_value value, engine::ApplianceEngineConfig* out) {
  Fields fields;
  Fields udp;
  return Fields::open(env, value, "config", &fields) && fields.object("udp", &udp) &&
         read_udp_config(udp, &out->udp) && read_address6(udp, &out->udp) &&
         fields.number("returnPorts", 1, base::kReturnPortsMax, &out->return_ports) &&
         fields.number("optionClass", 0, 65535, &out->appliance.option_class) &&
         fields.number("gatewayPort", 1, 65535, &out->gateway_port) &&
         fields.number("batches", 1, engine::ApplianceEngine::kBatchesMax, &out->batches) &&
         fields.boolean("inspect", &out->inspect) && fields.boolean("offline", &out->offline) &&
         read_drop_rules(fields, &out->drop) &&
         fields.number("flowsIpv4", base::kFlowsMin, base::kFlowsMax, &out->flows.flows_ipv4) &&
         fields.number("flowsIpv6", base::kFlowsMin, base::kFlowsMax, &out->flows.flows_ipv6) &&
         fields.number("tcpIdleMs", 1, kIdleMsMax, &out->flows.tcp_idle_ms) &&
         fields.number("otherIdleMs", 1, kIdleMsMax, &out->flows.other_idle_ms);
}

bool read_filter(napi_env env, napi_value value, appliance::Filter* out) {
  uint32_t* words;
  size_t count;
  if (!read_words(env, value, "filter", &words, &count)) return false;
  if (appliance::Filter::read(words, count, out)) return true;
  throw_range_error(env, "filter: expected a compiled filter, received other words");
  return false;
}

bool read_endpoint_index(napi_env env, napi_value value, uint16_t* out) {
  return read_number(env, value, "endpoint", 0, base::kEndpointsMax - 1, out);
}

bool read_endpoint(napi_env env, napi_value value, gateway::EndpointKind kind,
                   gateway::EndpointSpec* out) {
  Fields fields;
  Fields geneve;
  bool present = false;
  if (!Fields::open(env, value, "endpoint", &fields) || !fields.bigint("id", &out->id) ||
      !fields.number("zone", 0, base::kZonesMax - 1, &out->zone) ||
      !fields.number("mtu", 0, base::kInnerBytesMax, &out->mtu) ||
      !fields.optional("geneve", &geneve, &present)) {
    return false;
  }
  if (out->mtu != 0 && out->mtu < kMtuMin) {
    throw_range_error(env, "endpoint.mtu: expected 0 or at least " + std::to_string(kMtuMin) +
                               ", received " + std::to_string(out->mtu));
    return false;
  }
  out->kind = kind;
  if (!present) return true;
  bool ethernet = false;
  if (!geneve.number("peer", 0, kUint32Max, &out->peer) ||
      !geneve.number("port", 1, 65535, &out->peer_port) ||
      !geneve.number("vni", 0, (1u << 24) - 1, &out->vni) ||
      !geneve.boolean("ethernet", &ethernet) ||
      !geneve.bytes("sourceMac", out->source_mac, sizeof out->source_mac) ||
      !geneve.bytes("destinationMac", out->destination_mac, sizeof out->destination_mac)) {
    return false;
  }
  out->kind = gateway::EndpointKind::geneve;
  out->inner = ethernet ? gateway::InnerMode::ethernet : gateway::InnerMode::ip;
  return true;
}

bool read_tun(napi_env env, napi_value value, io::TunConfig* out) {
  Fields fields;
  if (!Fields::open(env, value, "tun", &fields) ||
      !fields.text("name", kDeviceNameBytesMax, &out->name) ||
      !fields.text("netns", kNamespaceBytesMax, &out->netns) ||
      !fields.number("mtu", kMtuMin, base::kInnerBytesMax, &out->mtu) ||
      !fields.number("queuePackets", 0, io::kTunQueueMax, &out->queue_packets) ||
      !fields.choice("lifetime", io::kTunLifetimeNames, &out->lifetime)) {
    return false;
  }
  return true;
}

napi_value device_states_value(napi_env env, const std::vector<engine::DeviceState>& states) {
  constexpr const char* kNames[] = {"up", "down", "gone"};
  std::vector<napi_value> out;
  for (const engine::DeviceState& device : states) {
    ObjectBuilder object(env);
    object.number("index", device.index).text("state", kNames[static_cast<size_t>(device.state)]);
    out.push_back(object.finish());
  }
  return array_value(env, out);
}

bool read_target_specs(napi_env env, napi_value value, TargetSpecs* out) {
  using select::TargetSpec;
  Fields fields;
  std::vector<TargetSpec>* targets = &out->targets;
  if (!Fields::open(env, value, "targets", &fields) ||
      !fields.number("zones", 1, base::kZonesMax, &out->zones) ||
      !fields.boolean("crossZone", &out->cross_zone) || !fields.bigint("seed", &out->seed) ||
      !read_slots(fields, targets) ||
      !read_column(fields, "zone", 0, out->zones - 1, targets,
                   [](TargetSpec* target, uint32_t zone) { target->zone = zone; }) ||
      !read_column(fields, "address", 0, kUint32Max, targets,
                   [](TargetSpec* target, uint32_t address) { target->address = address; }) ||
      !read_column(fields, "port", 1, 65535, targets,
                   [](TargetSpec* target, uint32_t port) { target->port = port; }) ||
      !read_flag(fields, "eligible", select::kEligible, targets) ||
      !read_flag(fields, "reset", select::kResetFlows, targets) ||
      !read_flag(fields, "gone", select::kGone, targets) ||
      !read_flag(fields, "keeps", select::kKeepsFlows, targets) ||
      !read_column(fields, "generation", 0, base::kGenerations - 1, targets,
                   [](TargetSpec* target, uint32_t number) { target->generation = number; }) ||
      !read_column(fields, "weight", 1, base::kWeightMax, targets,
                   [](TargetSpec* target, uint32_t weight) { target->weight = weight; }) ||
      !read_identities(fields, targets)) {
    return false;
  }
  std::bitset<base::kTargetsMax> taken;
  for (size_t i = 0; i < targets->size(); ++i) {
    const uint16_t slot = (*targets)[i].slot;
    if (taken[slot]) {
      throw_range_error(env, "targets.slot[" + std::to_string(i) +
                                 "]: expected a slot of its own, received " + std::to_string(slot) +
                                 " again");
      return false;
    }
    taken[slot] = true;
  }
  return true;
}

}  // namespace gwlb::node
