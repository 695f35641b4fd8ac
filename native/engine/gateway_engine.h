// Contract: worker threads that run the packet loop to completion over io and gateway. Each worker
// has its own gateway core (a flow has one owner), its own receiving socket and one queue of every
// TUN device. Idle workers block in epoll; busy ones are never woken per packet. A packet of
// another worker's flow crosses in a bounded single-producer single-consumer ring, copied into the
// ring's slots, with one wake-up per batch at most.
//
// All control functions may be called from any one control thread (the JavaScript thread). They run
// on the workers between batches and return when every worker has taken them over.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "gateway/gateway.h"
#include "io/tun.h"
#include "io/udp.h"

namespace gwlb::engine {

struct GatewayEngineConfig {
  gateway::GatewayConfig gateway;  // flows_* are divided among the workers
  io::UdpConfig udp;
  uint32_t workers = 1;
};

class GatewayEngine {
 public:
  // Opens the sockets (nothing is left open on an error) and starts the workers.
  static io::OsError start(const GatewayEngineConfig& config, std::unique_ptr<GatewayEngine>* out);
  ~GatewayEngine();  // stop()

  uint16_t port() const;
  uint32_t workers() const;
  uint16_t source_ports() const;

  io::OsError add_tun(uint16_t index, const gateway::EndpointSpec& endpoint,
                      const io::TunConfig& tun, std::string* device_name);
  // Endpoints without a device: kind geneve.
  void add_endpoint(uint16_t index, const gateway::EndpointSpec& endpoint);
  void remove_endpoint(uint16_t index);
  void set_targets(std::shared_ptr<const select::TargetTable> table);
  void set_idle_timeouts(uint32_t tcp_ms, uint32_t other_ms);
  void set_fail_open(bool fail_open);

  // Runs on the worker that owns the packet's flow.
  gateway::Explanation explain(const uint8_t* packet, uint32_t length, uint16_t endpoint);

  gateway::Counters& counters(uint32_t worker);
  uint32_t drain_events(gateway::FlowEvent* out, uint32_t max);  // of all workers
  uint64_t now_ms() const;  // the clock the workers give to the core (CLOCK_MONOTONIC)
  // True once a worker had to stop for a lasting I/O error; `*error` says which.
  bool failed(io::OsError* error) const;

  void stop();  // joins the workers, closes sockets and devices; idempotent
};

}  // namespace gwlb::engine
