// One worker of the gateway engine: a thread that runs the packet loop to completion over its own
// gateway core, the tunnel's port, its port of every device, and a ring from every other worker.
//
//   round:  wait (not at all while a source had a full batch) -> commands -> clock -> sweep
//           -> one batch of each device, of the tunnel, of each ring
//   batch:  hand over what others own -> gateway core -> ports
//
// Who counts: the core counts every packet it is given and every drop it decides, and what left
// once it was sent. The worker counts, as drops of the same core, what input loses:
// receive_truncated, bad_super_packet, worker_ring_full (before the core, so not in packets_in).
// What the kernel loses before a worker sees it the engine counts (GatewayEngine::count_losses).
// What output loses (send_failed, send_would_block, endpoint_has_no_device) it tells the core: then
// it is that drop and nothing else. So, at rest, packets_in = packets_to_targets + packets_bypassed
// + packets_waiting + drops of what entered.
#pragma once

#include <functional>
#include <memory>
#include <vector>

#include "engine/record_ring.h"
#include "engine/recorder.h"
#include "engine/ring.h"
#include "engine/worker_thread.h"
#include "gateway/gateway.h"
#include "io/port.h"

namespace gwlb::engine {

// One round's part of the walk over the flow tables: at most `due` positions of each, and no more
// than takes 50 us, even where all flows in them are over. Returns how many positions it was.
uint32_t sweep_piece(gateway::Gateway& gateway, uint64_t now_ms, uint64_t due);

class GatewayWorker {
 public:
  using Command = std::function<void(GatewayWorker&)>;

  struct Config {
    gateway::GatewayConfig gateway;  // this worker's share of flows
    uint32_t index = 0;
    uint32_t workers = 1;
    uint32_t stride = 0;      // a slot that takes the largest packet
    bool offload = false;     // super-packets and trains: slots of kSlotStrideTrain
    uint32_t ring_slots = 0;  // of the ring from each other worker
  };

  static io::OsError create(const Config& config, std::shared_ptr<io::Port> tunnel,
                            std::unique_ptr<GatewayWorker>* out);
  ~GatewayWorker();

  // --- control thread ---
  // All workers of the engine, itself included; before start().
  void set_workers(std::vector<GatewayWorker*> workers) { workers_ = std::move(workers); }
  io::OsError start();
  // WorkerThread::post and wait.
  void post_command(const Command& command) {
    thread_.post([this, command] { command(*this); });
  }
  void wait_command() { thread_.wait(); }
  void ask_stop() { thread_.ask_stop(); }
  void join() { thread_.join(); }
  // After all workers have been joined: what is still in the rings goes its way, then all ports are
  // given back.
  void finish();
  bool failed(io::OsError* error) const { return thread_.failed(error); }
  uint32_t index() const { return config_.index; }
  gateway::Gateway& gateway() { return *gateway_; }  // counters and events; the rest by commands

  // One round without a thread, at this time. It does not wait: false where nothing is left to do
  // before a port or another worker brings something.
  bool step(uint64_t now_ms);

  // --- the worker's thread (commands) ---
  // Instead of the one it has, if any.
  io::OsError add_port(uint16_t endpoint, std::shared_ptr<io::Port> port);
  void remove_port(uint16_t endpoint);
  // Keeps the headers of packets that enter; null: none any more.
  void set_recording(std::unique_ptr<RecordRing> ring);
  const RecordRing* recording() const { return record_.get(); }

 private:
  static constexpr uint16_t kEnd = 0xffff;
  // Where packets come from: a port, through a recorder while there is a recording.
  struct Source {
    std::shared_ptr<io::Port> port;  // null: none, or it is lost
    std::unique_ptr<Recorder> recorder;
    bool hot = false;  // may have packets
    io::Port& reader() { return recorder != nullptr ? *recorder : *port; }
  };
  struct Device {
    Source source;
    // Packets of the batch that leave by it, linked by leaving_next_; kEnd between batches.
    uint16_t first = kEnd;
    uint16_t last = kEnd;
  };

  // What epoll reports: an endpoint's index, or one of these.
  static constexpr uint64_t kSourceWakeup = 1u << 16;
  static constexpr uint64_t kSourceTunnel = kSourceWakeup + 1;

  GatewayWorker(const Config& config, std::shared_ptr<io::Port> tunnel);
  void run();
  void round(uint64_t now_ms);
  bool idle() const;
  void wait();
  void poll_ports(int timeout_ms);
  bool asked() const;
  void sweep();
  void read_devices();
  void read_tunnel();
  bool read(Source& source, PacketKind kind, uint16_t endpoint, io::OsError* error);
  void read_rings();
  void read_held();
  void process(PacketKind kind);
  void decide(PacketKind kind);
  void hand_over(PacketKind kind);
  bool push(PacketRing& ring, uint32_t i, PacketKind kind);
  void emit();
  bool leave_by_endpoint(uint32_t i);
  void write_devices();
  void count_input_drops();
  void lose_device(uint16_t endpoint);
  void stop_reading();
  void record_source(Source& source);
  io::OsError watch(int fd, uint64_t source);
  void unwatch(int fd);

  const Config config_;
  std::unique_ptr<gateway::Gateway> gateway_;
  std::unique_ptr<batch::PacketBatch> batch_;
  int epoll_ = -1;
  uint64_t now_ms_ = 0;
  std::unique_ptr<RecordRing> record_;
  Source tunnel_;
  std::vector<std::unique_ptr<PacketRing>> rings_;  // by producing worker; null for itself
  std::vector<GatewayWorker*> workers_;

  std::vector<Device> devices_;    // by endpoint index
  std::vector<uint16_t> hot_;      // endpoints whose devices may have packets
  std::vector<uint16_t> leaving_;  // endpoints by which packets of the batch leave
  uint16_t leaving_next_[base::kEngineBatchPackets];
  uint64_t swept_ms_ = 0;
  uint64_t sweep_due_ = 0;  // table positions
  uint32_t sweep_per_ms_ = 0;

  WorkerThread thread_;  // ends first
};

}  // namespace gwlb::engine
