// The gateway's worker threads. JavaScript configures them and reads counters and events.
#include <cerrno>

#include "engine/gateway_engine.h"
#include "node/addon.h"
#include "node/class_wrap.h"
#include "node/engine_stop.h"
#include "node/gateway_control.h"
#include "node/off_thread.h"

namespace gwlb::node {
namespace {

// Peers told at once; the rest is told the next time.
constexpr uint32_t kUnreachableMax = 256;

struct GatewayEngine {
  static constexpr ClassId kClass = {"GatewayEngine", 0x58c03be17d9264fa};

  GatewayEngine(napi_env env, std::shared_ptr<engine::GatewayEngine> opened)
      : native(std::move(opened)), hook(env, stop_hook, this) {}
  ~GatewayEngine() { stop(); }

  static void stop_hook(void* self) { static_cast<GatewayEngine*>(self)->stop(); }
  void stop() {
    stopped = true;
    native->stop();
  }

  const std::shared_ptr<engine::GatewayEngine> native;  // also of what runs off the thread
  Targets targets;
  bool stopped = false;  // or about to be
  StopWithEnvironment hook;
};

// After the arguments have been read: a getter among them may have stopped the engine.
bool running(napi_env env, const GatewayEngine& self) {
  if (!self.stopped) return true;
  napi_throw_error(env, "ERR_STOPPED", "the engine was stopped");
  return false;
}

std::unique_ptr<GatewayEngine> construct(const Napi::CallbackInfo& info) {
  const napi_env env = info.Env();
  std::shared_ptr<engine::GatewayEngine> native =
      std::move(info.Env().GetInstanceData<AddonData>()->opened_gateway);
  if (native == nullptr) {
    throw_type_error(env, "GatewayEngine: expected a call of openGatewayEngine");
    return nullptr;
  }
  std::vector<napi_value> counters;
  for (uint32_t worker = 0; worker < native->workers(); ++worker) {
    counters.push_back(counters_value(env, native->counters(worker)));
  }
  ObjectBuilder properties(env);
  properties.number("port", native->port())
      .number("sourcePorts", native->source_ports())
      .value("counters", array_value(env, counters));
  if (!properties.define_on(info.This())) return nullptr;
  return std::make_unique<GatewayEngine>(env, std::move(native));
}

napi_value open_gateway_engine(const Napi::CallbackInfo& info) {
  const napi_env env = info.Env();
  engine::GatewayEngineConfig config;
  if (!read_gateway_engine_config(env, info[0], &config)) return nullptr;
  auto opened = std::make_shared<std::unique_ptr<engine::GatewayEngine>>();
  return off_thread(
      env, nullptr, [opened, config] { return engine::GatewayEngine::open(config, opened.get()); },
      [opened](napi_env env, const io::OsError& error) -> napi_value {
        if (!error.ok()) return nullptr;
        AddonData* data = Napi::Env(env).GetInstanceData<AddonData>();
        data->opened_gateway = std::move(*opened);
        const napi_value object = data->gateway_engine.New({});
        data->opened_gateway = nullptr;
        return object;
      });
}

// What of the native engine takes long, as a promise of it.
napi_value slowly(const Napi::CallbackInfo& info, const GatewayEngine& self,
                  std::function<io::OsError(engine::GatewayEngine&)> work, Done done = nullptr) {
  const auto native = self.native;
  return off_thread(
      info.Env(), info.This(), [native, work = std::move(work)] { return work(*native); },
      std::move(done));
}

napi_value run(const Napi::CallbackInfo& info, GatewayEngine& self) {
  if (!running(info.Env(), self)) return nullptr;
  return slowly(info, self, [](engine::GatewayEngine& native) { return native.run(); });
}

napi_value configure(const Napi::CallbackInfo& info, GatewayEngine& self) {
  Configuration wanted;
  if (!read_configuration(info, &wanted) || !running(info.Env(), self)) return nullptr;
  self.native->configure(wanted.live, wanted.targets.table);
  if (wanted.targets.table != nullptr) self.targets = std::move(wanted.targets);
  return nullptr;
}

napi_value add_tun(const Napi::CallbackInfo& info, GatewayEngine& self) {
  const napi_env env = info.Env();
  uint16_t index;
  gateway::EndpointSpec endpoint;
  io::TunConfig tun;
  if (!read_endpoint_index(env, info[0], &index) ||
      !read_endpoint(env, info[1], gateway::EndpointKind::tun, &endpoint) ||
      !read_tun(env, info[2], &tun)) {
    return nullptr;
  }
  if (endpoint.kind != gateway::EndpointKind::tun) {
    throw_type_error(env, "endpoint.geneve: expected undefined with a TUN device, received it");
    return nullptr;
  }
  if (!running(env, self)) return nullptr;
  auto name = std::make_shared<std::string>();
  return slowly(
      info, self,
      [=](engine::GatewayEngine& native) {
        return native.add_tun(index, endpoint, tun, name.get());
      },
      [name](napi_env env, const io::OsError&) { return text_value(env, *name); });
}

napi_value look_at_devices(const Napi::CallbackInfo& info, GatewayEngine& self) {
  auto states = std::make_shared<std::vector<engine::DeviceState>>();
  return slowly(
      info, self,
      [states](engine::GatewayEngine& native) {
        native.count_losses();
        *states = native.look_at_devices();
        return io::OsError{};
      },
      [states](napi_env env, const io::OsError&) { return device_states_value(env, *states); });
}

napi_value restore_tun(const Napi::CallbackInfo& info, GatewayEngine& self) {
  uint16_t index;
  if (!read_endpoint_index(info.Env(), info[0], &index) || !running(info.Env(), self)) {
    return nullptr;
  }
  return slowly(info, self,
                [index](engine::GatewayEngine& native) { return native.restore_tun(index); });
}

napi_value offloads(const Napi::CallbackInfo& info, GatewayEngine& self) {
  const engine::Offloads granted = self.native->offloads();
  ObjectBuilder out(info.Env());
  return out.boolean("udpGso", granted.tunnel.uso)
      .boolean("udpGro", granted.tunnel.gro)
      .boolean("tunTso", granted.device.tso)
      .boolean("tunUso", granted.device.uso)
      .finish();
}

napi_value add_endpoint(const Napi::CallbackInfo& info, GatewayEngine& self) {
  uint16_t index;
  gateway::EndpointSpec endpoint;
  if (!read_endpoint_index(info.Env(), info[0], &index) ||
      !read_endpoint(info.Env(), info[1], gateway::EndpointKind::batch, &endpoint) ||
      !running(info.Env(), self)) {
    return nullptr;
  }
  return slowly(info, self, [index, endpoint](engine::GatewayEngine& native) {
    return native.add_endpoint(index, endpoint);
  });
}

napi_value remove_endpoint(const Napi::CallbackInfo& info, GatewayEngine& self) {
  uint16_t index;
  if (!read_endpoint_index(info.Env(), info[0], &index) || !running(info.Env(), self)) {
    return nullptr;
  }
  return slowly(info, self, [index](engine::GatewayEngine& native) {
    native.remove_endpoint(index);
    return io::OsError{};
  });
}

// The engine has its own clock.
napi_value set_cookie_key(const Napi::CallbackInfo& info, GatewayEngine& self) {
  CookieKey key;
  if (read_cookie_key(info, &key) && running(info.Env(), self)) {
    self.native->set_cookie_key(key.key, key.overlap_ms);
  }
  return nullptr;
}

napi_value set_recording(const Napi::CallbackInfo& info, GatewayEngine& self) {
  constexpr uint64_t kBytesMax = uint64_t{1} << 32;
  const napi_env env = info.Env();
  uint64_t bytes;
  uint32_t window_ms;
  if (!read_integer(env, info[0], "bytes", 0, kBytesMax, &bytes) ||
      !read_number(env, info[1], "windowMs", 0, 3'600'000, &window_ms) || !running(env, self)) {
    return nullptr;
  }
  return slowly(info, self, [bytes, window_ms](engine::GatewayEngine& native) {
    return native.set_recording(bytes, window_ms);
  });
}

// What the workers left is still there after they stopped. It is not copied: there may be 64 MiB.
napi_value read_recording(const Napi::CallbackInfo& info, GatewayEngine& self) {
  struct Recording {
    std::vector<engine::RecordedPacket> packets;
    uint64_t lost = 0;
  };
  auto all = std::make_shared<Recording>();
  return slowly(
      info, self,
      [all](engine::GatewayEngine& native) {
        native.read_recording(&all->packets, &all->lost);
        return io::OsError{};
      },
      [all](napi_env env, const io::OsError&) -> napi_value {
        const size_t bytes = all->packets.size() * sizeof(engine::RecordedPacket);
        const napi_value buffer =
            bytes == 0 ? nullptr : external_buffer(env, all->packets.data(), bytes, all);
        if (bytes != 0 && buffer == nullptr) return nullptr;
        ObjectBuilder out(env);
        return out
            .value("packets", bytes == 0 ? bytes_value(env, nullptr, 0)
                                         : typed_array(env, napi_uint8_array, bytes, buffer))
            .number("lost", static_cast<double>(all->lost))
            .finish();
      });
}

napi_value preview_flows(const Napi::CallbackInfo& info, GatewayEngine& self) {
  const napi_env env = info.Env();
  return preview_value(info, [&self, env](const select::TargetTable& table, uint32_t positions,
                                          uint32_t* cursor, std::vector<gateway::FlowMove>* out) {
    if (!running(env, self)) return false;
    self.native->preview(table, positions, cursor, out);
    return true;
  });
}

napi_value explain(const Napi::CallbackInfo& info, GatewayEngine& self) {
  Bytes packet;
  uint16_t endpoint;
  uint64_t now_ms;  // checked for the sake of one signature; the engine has its own clock
  if (!read_endpoint_index(info.Env(), info[1], &endpoint) ||
      !read_integer(info.Env(), info[2], "nowMs", 0, kIntegerMax, &now_ms) ||
      !read_packet(info.Env(), info[0], "packet", &packet) || !running(info.Env(), self)) {
    return nullptr;
  }
  const auto length = static_cast<uint32_t>(packet.size);
  return explanation_value(info.Env(), self.native->explain(packet.data, length, endpoint),
                           self.targets);
}

napi_value send_datagram(const Napi::CallbackInfo& info, GatewayEngine& self) {
  const napi_env env = info.Env();
  uint32_t address;
  uint16_t port, source;
  Bytes bytes;
  if (!read_number(env, info[0], "address", 0, UINT32_MAX, &address) ||
      !read_number(env, info[1], "port", 1, 65535, &port) ||
      !read_number(env, info[2], "source", 0, 65535, &source) ||
      !read_bytes(env, info[3], "bytes", &bytes)) {
    return nullptr;
  }
  constexpr size_t kMax = engine::GatewayEngine::kDatagramBytesMax;
  if (bytes.size > kMax) {
    throw_range_error(env, "bytes: expected at most " + std::to_string(kMax) + ", received " +
                               std::to_string(bytes.size));
    return nullptr;
  }
  if (!running(env, self)) return nullptr;
  const auto length = static_cast<uint32_t>(bytes.size);
  return boolean_value(env, self.native->send_datagram(address, port, source, bytes.data, length));
}

// Address and port as one number, which a double holds exactly.
napi_value drain_unreachable(const Napi::CallbackInfo& info, GatewayEngine& self) {
  io::UdpPeer peers[kUnreachableMax];
  const uint32_t n = self.native->drain_unreachable(peers, kUnreachableMax);
  std::vector<napi_value> out;
  for (uint32_t k = 0; k < n; ++k) {
    const uint64_t both = uint64_t{peers[k].address} << 16 | peers[k].port;
    out.push_back(number_value(info.Env(), static_cast<double>(both)));
  }
  return array_value(info.Env(), out);
}

// What the workers left is still there after they stopped.
napi_value drain_events(const Napi::CallbackInfo& info, GatewayEngine& self) {
  return events_value(info.Env(), info[0], [&self](gateway::FlowEvent* out, uint32_t max) {
    return self.native->drain_events(out, max);
  });
}

napi_value discard_events(const Napi::CallbackInfo&, GatewayEngine& self) {
  self.native->discard_events();
  return nullptr;
}

// Also of stopped workers.
napi_value end_flows(const Napi::CallbackInfo& info, GatewayEngine& self) {
  return end_flows_value(
      info, [&self](uint32_t positions, uint32_t* cursor, std::vector<gateway::FlowEvent>* out) {
        self.native->end_flows(positions, cursor, out);
      });
}

napi_value release(const Napi::CallbackInfo& info, GatewayEngine& self) {
  self.stopped = true;
  self.targets = {};
  return slowly(info, self, [](engine::GatewayEngine& native) {
    native.release();
    return io::OsError{};
  });
}

napi_value now_ms(const Napi::CallbackInfo& info, GatewayEngine& self) {
  return number_value(info.Env(), static_cast<double>(self.native->now_ms()));
}

napi_value count_losses(const Napi::CallbackInfo&, GatewayEngine& self) {
  self.native->count_losses();
  return nullptr;
}

napi_value failure(const Napi::CallbackInfo& info, GatewayEngine& self) {
  io::OsError error;
  const bool failed = self.native->failed(&error);
  return failure_value(info.Env(), failed, error);
}

napi_value stop(const Napi::CallbackInfo& info, GatewayEngine& self) {
  self.stopped = true;
  return slowly(info, self, [](engine::GatewayEngine& native) {
    native.stop();
    return io::OsError{};
  });
}

}  // namespace

napi_value gateway_engine_class(napi_env env) {
  return define_class<GatewayEngine, construct>(
      env, {
               method<GatewayEngine, run>("run"),
               method<GatewayEngine, configure>("configure"),
               method<GatewayEngine, add_tun>("addTun"),
               method<GatewayEngine, look_at_devices>("lookAtDevices"),
               method<GatewayEngine, restore_tun>("restoreTun"),
               method<GatewayEngine, offloads>("offloads"),
               method<GatewayEngine, add_endpoint>("addEndpoint"),
               method<GatewayEngine, remove_endpoint>("removeEndpoint"),
               method<GatewayEngine, set_cookie_key>("setCookieKey"),
               method<GatewayEngine, set_recording>("setRecording"),
               method<GatewayEngine, read_recording>("readRecording"),
               method<GatewayEngine, preview_flows>("previewFlows"),
               method<GatewayEngine, explain>("explain"),
               method<GatewayEngine, send_datagram>("sendDatagram"),
               method<GatewayEngine, drain_unreachable>("drainUnreachable"),
               method<GatewayEngine, drain_events>("drainEvents"),
               method<GatewayEngine, discard_events>("discardEvents"),
               method<GatewayEngine, end_flows>("endFlows"),
               method<GatewayEngine, release>("release"),
               method<GatewayEngine, now_ms>("nowMs"),
               method<GatewayEngine, count_losses>("countLosses"),
               method<GatewayEngine, failure>("failure"),
               method<GatewayEngine, stop>("stop"),
           });
}

void add_gateway_engine_function(napi_env env, ObjectBuilder& exports) {
  exports.value("openGatewayEngine", plain_function<open_gateway_engine>(env, "openGatewayEngine"));
}

}  // namespace gwlb::node
