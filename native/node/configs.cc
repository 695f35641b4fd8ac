#include "node/configs.h"

#include <bitset>
#include <cstring>

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

bool read_flow_policy(const Fields& fields, gateway::GatewayConfig* out) {
  napi_value stickiness;
  bool strict = false;
  bool promote_on_ingress = false;
  uint8_t mid_stream = 0;
  if (!fields.get("stickiness", &stickiness) ||
      !read_stickiness(fields.env(), stickiness, fields.path("stickiness"), &out->stickiness) ||
      !fields.boolean("scopeGateway", &out->scope_gateway) ||
      !fields.boolean("strictCookies", &strict) || !fields.number("midStream", 0, 2, &mid_stream) ||
      !fields.number("learningMs", 0, kUint32Max, &out->learning_ms) ||
      !fields.number("flowsIpv4", base::kFlowsMin, base::kFlowsMax, &out->flows_ipv4) ||
      !fields.number("flowsIpv6", base::kFlowsMin, base::kFlowsMax, &out->flows_ipv6) ||
      !fields.number("tcpIdleMs", 1, kIdleMsMax, &out->tcp_idle_ms) ||
      !fields.number("otherIdleMs", 1, kIdleMsMax, &out->other_idle_ms) ||
      !fields.boolean("failOpen", &out->fail_open) ||
      !fields.boolean("promoteOnIngress", &promote_on_ingress) ||
      !fields.boolean("pathMtuDiscovery", &out->path_mtu_discovery) ||
      !fields.number("clampMss", 0, 0xffff, &out->clamp_mss) ||
      !fields.boolean("resetOnIdle", &out->reset_on_idle) ||
      !fields.boolean("flowCounters", &out->flow_counters) ||
      !fields.number("events", 0, kEventsMax, &out->events)) {
    return false;
  }
  out->cookie_check = strict ? gateway::CookieCheck::strict : gateway::CookieCheck::lenient;
  if (promote_on_ingress) out->promotion = gateway::Promotion::ingress;
  out->mid_stream = static_cast<gateway::MidStream>(mid_stream);
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

bool read_target(const Fields& fields, uint32_t zones, select::TargetSpec* out) {
  bool eligible = false;
  bool reset = false;
  bool gone = false;
  bool keeps = false;
  if (!fields.number("slot", 0, base::kTargetsMax - 1, &out->slot) ||
      !fields.number("zone", 0, zones - 1, &out->zone) ||
      !fields.number("address", 0, kUint32Max, &out->address) ||
      !fields.number("port", 1, 65535, &out->port) || !fields.boolean("eligible", &eligible) ||
      !fields.boolean("reset", &reset) || !fields.boolean("gone", &gone) ||
      !fields.boolean("keeps", &keeps) ||
      !fields.number("generation", 0, base::kGenerations - 1, &out->generation) ||
      !fields.number("weight", 1, base::kWeightMax, &out->weight) ||
      !fields.bigint("identity", &out->identity)) {
    return false;
  }
  out->flags = static_cast<uint8_t>(select::kRegistered | (eligible ? select::kEligible : 0) |
                                    (reset ? select::kResetFlows : 0) | (gone ? select::kGone : 0) |
                                    (keeps ? select::kKeepsFlows : 0));
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
  uint8_t lifetime;
  if (!Fields::open(env, value, "tun", &fields) ||
      !fields.text("name", kDeviceNameBytesMax, &out->name) ||
      !fields.text("netns", kNamespaceBytesMax, &out->netns) ||
      !fields.number("mtu", kMtuMin, base::kInnerBytesMax, &out->mtu) ||
      !fields.number("queuePackets", 0, io::kTunQueueMax, &out->queue_packets) ||
      !fields.number("lifetime", 0, 2, &lifetime)) {
    return false;
  }
  out->lifetime = static_cast<io::TunLifetime>(lifetime);
  return true;
}

bool read_target_specs(napi_env env, napi_value value, TargetSpecs* out) {
  Fields fields;
  napi_value array;
  uint32_t length;
  if (!Fields::open(env, value, "targets", &fields) ||
      !fields.number("zones", 1, base::kZonesMax, &out->zones) ||
      !fields.boolean("crossZone", &out->cross_zone) || !fields.bigint("seed", &out->seed) ||
      !fields.array("targets", base::kTargetsMax, &array, &length)) {
    return false;
  }
  std::vector<select::TargetSpec>& specs = out->targets;
  specs.resize(length);
  std::bitset<base::kTargetsMax> taken;
  for (uint32_t i = 0; i < length; ++i) {
    Fields target;
    if (!fields.element("targets", array, i, &target) ||
        !read_target(target, out->zones, &specs[i])) {
      return false;
    }
    if (taken[specs[i].slot]) {
      throw_range_error(env, target.path("slot").text() +
                                 ": expected a slot of its own, received " +
                                 std::to_string(specs[i].slot) + " again");
      return false;
    }
    taken[specs[i].slot] = true;
  }
  return true;
}

bool read_targets(napi_env env, napi_value value, const select::TargetTable* previous,
                  Targets* out) {
  TargetSpecs specs;
  if (!read_target_specs(env, value, &specs)) return false;
  out->zones = specs.zones;
  out->table = specs.build(previous);
  if (out->table != nullptr) return true;
  throw_range_error(env, "targets: no table could be built of them");
  return false;
}

}  // namespace gwlb::node
