// Worker threads that run the packet loop to completion over io and gateway (worker.h). Each worker
// has its own gateway core (a flow has one owner), its own receiving socket and one queue of every
// TUN device. Idle workers block in epoll; busy ones are never woken per packet. A packet of
// another worker's flow crosses in a bounded single-producer single-consumer ring, copied into the
// ring's slots, with one wake-up per batch at most. With one worker there is no ring.
//
// All functions may be called from any thread. What changes or asks the cores runs on the workers
// between batches, one command at a time, and returns when every worker has taken it over: some
// microseconds. Before run() and after stop() it runs at once; while stop() is at work it does
// nothing. What takes long (sockets, devices, threads and their ends: milliseconds, since the
// kernel has one lock for all devices) are the functions of their own below: of those one is at
// work at a time, and none of the others waits for it.
//
// Every packet that a worker reads is in the counters once: packets_in or packets_from_targets and
// then, if it does not go on, one drop reason; or a drop reason of input alone. Which the core
// counts and which the worker is said in worker.h. packets_out are those decided to leave; where
// writing one then fails, that is a drop as well.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "engine/device_state.h"
#include "engine/record_ring.h"
#include "gateway/gateway.h"
#include "io/port.h"
#include "io/tun.h"
#include "io/udp.h"
#include "io/udp_port.h"

namespace gwlb::engine {

class GatewayWorker;

struct GatewayEngineConfig {
  // flows_* are divided among the workers (each at least kFlowsMin); outer_headers is not for here.
  gateway::GatewayConfig gateway;
  // `reuse_port` is decided here. `offload` is also about the super-packets of TUN devices.
  io::UdpConfig udp;
  uint32_t workers = 1;  // 1..kWorkersMax
};

// What the kernel granted of UdpConfig::offload.
struct Offloads {
  io::PortOffloads tunnel;
  io::PortOffloads device;  // of the one that was opened last
};

class GatewayEngine {
 public:
  // --- what takes long ---
  // Opens the sockets and takes the memory; nothing is left on an error. Errors: those of
  // io::UdpReceiver and io::UdpSender; EINVAL for `workers`; ENOMEM from "malloc" naming what for.
  static io::OsError open(const GatewayEngineConfig& config, std::unique_ptr<GatewayEngine>* out);
  ~GatewayEngine();  // stop()
  // Starts the workers: packets are read from now on. ESHUTDOWN after stop(), EAGAIN where the
  // system refuses a thread (then only stop() is left to do).
  io::OsError run();
  // Opens the device with a queue for each worker. Besides the errors of io::Tun: EEXIST where the
  // index has a device already, EINVAL for an index out of range or a device MTU above what the
  // packet slots take (the gateway's mtu, and never below 1,834), ESHUTDOWN after stop().
  io::OsError add_tun(uint16_t index, const gateway::EndpointSpec& endpoint,
                      const io::TunConfig& tun, std::string* device_name);
  // Makes a device that is gone again, sets up one that is down; the endpoint's flows live on. What
  // may go wrong is as with add_tun.
  io::OsError restore_tun(uint16_t index);
  // Endpoints without a device: kind geneve. Replaces what the index was. ESHUTDOWN after stop().
  io::OsError add_endpoint(uint16_t index, const gateway::EndpointSpec& endpoint);
  // Nothing after stop().
  void remove_endpoint(uint16_t index);
  // Asks the kernel about every device: how it is now, and what it has dropped.
  std::vector<DeviceState> look_at_devices();
  // Has the headers of packets that enter kept for `window_ms`, in rings of `bytes` in all (0: not
  // any more; what was kept is forgotten). ENOMEM: then nothing changes.
  io::OsError set_recording(uint64_t bytes, uint32_t window_ms);
  // Copies out what was kept, of each worker oldest first, and how many packets of the window had
  // been overwritten. Packets go on meanwhile. Nothing after release().
  void read_recording(std::vector<RecordedPacket>* out, uint64_t* lost);
  // Joins the workers, sends on what was between them, closes sockets and devices; idempotent, and
  // returns when it is done, whoever began. Counters and events stay readable until release().
  void stop();
  // Stops, and frees the workers' memory: there are no events, flows and recordings any more.
  void release();

  // --- what does not ---
  uint16_t port() const { return port_; }
  uint32_t workers() const { return worker_count_; }
  uint16_t source_ports() const { return source_ports_; }  // how many could be bound
  Offloads offloads() const;
  // Both at the same boundary between two batches of each worker; without a table it stays.
  void configure(const gateway::LiveConfig& live,
                 std::shared_ptr<const select::TargetTable> table = nullptr);
  void set_cookie_key(const base::HashKey& key, uint32_t overlap_ms);
  // As Gateway::preview, for all workers; `positions` of each.
  void preview(const select::TargetTable& table, uint32_t positions, uint32_t* cursor,
               std::vector<gateway::FlowMove>* out);

  // Of the worker that has the packet's flow; of any where none has it.
  gateway::Explanation explain(const uint8_t* packet, uint32_t length, uint16_t endpoint);

  // Sends one UDP datagram from the source port with this index, beside the packets. False where it
  // did not go, is longer than kDatagramBytesMax, or the engine was stopped.
  static constexpr uint32_t kDatagramBytesMax = base::kSlotStrideStandard - base::kHeadroom;
  bool send_datagram(uint32_t address, uint16_t port, uint16_t source, const uint8_t* bytes,
                     uint32_t length);
  // io::UdpSender::drain_unreachable; nothing after stop().
  uint32_t drain_unreachable(io::UdpPeer* out, uint32_t max);

  gateway::Counters& counters(uint32_t worker);
  uint32_t drain_events(gateway::FlowEvent* out, uint32_t max);  // of all workers
  void discard_events();
  // gateway::Gateway::end_flows of all workers, each with its own `positions`.
  void end_flows(uint32_t positions, uint32_t* cursor, std::vector<gateway::FlowEvent>* out);
  uint64_t now_ms() const;  // the clock the workers give to the core (CLOCK_MONOTONIC)
  // True once a worker's socket failed for good; `*error` is the first one. That worker takes no
  // more packets in. A device that was lost only takes its endpoint with it (device_state): packets
  // to it are dropped as endpoint_has_no_device.
  bool failed(io::OsError* error) const;

  // Has what the kernel lost in the counters (of worker 0): receive_overflow and outer_bad_checksum
  // as io::UdpLosses, device_overflow from the TUN devices' own counters, returned_to_source_port
  // from the sending sockets. Some system calls a socket, so not for each packet; stop() and
  // remove_endpoint() do it too. Devices are asked unless one is being made or taken away.
  void count_losses();

 private:
  // Which of its threads are there.
  enum class Life : uint8_t { opened, running, stopping, stopped };
  // What an endpoint's device was made with, the device (null: none), and its workers' ports.
  struct Device {
    io::TunConfig config;
    std::shared_ptr<io::Tun> tun;
    std::vector<std::shared_ptr<io::Port>> ports;
    uint64_t lost() const;
  };

  GatewayEngine();
  // All at the same time; returns when the last has done it. With mutex_.
  void on_workers(const std::function<void(GatewayWorker&)>& command);
  void one_by_one(const std::function<void(GatewayWorker&)>& command);  // takes mutex_
  io::OsError prepare(const GatewayEngineConfig& config);
  io::OsError open_sockets(const GatewayEngineConfig& config);
  bool ended() const;
  io::OsError attach(uint16_t index, std::shared_ptr<io::Tun> tun);  // with mutex_
  void take_away(uint16_t index);                                    // with slow_
  void stop_threads();                                               // with slow_
  void ask_devices();                                                // with slow_
  void write_losses();                                               // with mutex_

  // Held by what takes long, all the time; taken before mutex_.
  std::mutex slow_;
  // Held for moments: by whoever has a command with the workers, or uses what is below.
  mutable std::mutex mutex_;
  Life life_ = Life::opened;
  std::unique_ptr<io::UdpSender> sender_;
  std::unique_ptr<batch::PacketBatch> own_batch_;  // of send_datagram, like the next
  std::unique_ptr<io::UdpSendScratch> own_scratch_;
  std::vector<std::shared_ptr<io::UdpPort>> tunnels_;  // by worker
  std::vector<std::unique_ptr<GatewayWorker>> workers_;
  std::vector<Device> devices_;  // by endpoint index; changed with both mutexes, read with either
  uint64_t former_drops_ = 0;    // of devices that were removed or made again; with slow_
  uint64_t device_drops_ = 0;    // of all, when they were asked last
  io::UdpLosses losses_;
  Offloads offloads_;

  // As it was opened.
  bool offload_ = false;
  uint32_t worker_count_ = 0;
  uint32_t packet_bytes_max_ = 0;
  uint16_t port_ = 0;
  uint16_t source_ports_ = 0;
};

}  // namespace gwlb::engine
