// One worker of the gateway engine: a thread that runs the packet loop to completion over its own
// gateway core, its own receiving socket, its queue of every TUN device, and a ring from every
// other worker.
//
//   round:  wait (not at all while a source had a full batch) -> commands -> clock -> sweep
//           -> one batch of each TUN queue, of the socket, of each ring
//   batch:  hand over what others own -> gateway core -> sockets and devices
//
// Who counts: the core counts every packet it is given and every drop it decides, and what left
// once it was sent. The worker counts, as drops of the same core, what input loses:
// receive_truncated, bad_super_packet, worker_ring_full (before the core, so not in packets_in).
// What the kernel loses before a worker sees it the engine counts (GatewayEngine::count_losses).
// What output loses (send_failed, send_would_block, endpoint_has_no_device) it tells the core: then
// it is that drop and nothing else. So, at rest, packets_in = packets_to_targets + packets_bypassed
// + packets_waiting + drops of what entered.
#pragma once

#include <pthread.h>

#include <atomic>
#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
#include <vector>

#include "engine/record_ring.h"
#include "engine/ring.h"
#include "engine/wakeup.h"
#include "gateway/gateway.h"
#include "io/tun.h"
#include "io/udp.h"

namespace gwlb::engine {

// CLOCK_MONOTONIC.
uint64_t monotonic_ms();

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

  static io::OsError create(const Config& config, std::unique_ptr<io::UdpReceiver> receiver,
                            const io::UdpSender* sender, std::unique_ptr<GatewayWorker>* out);
  ~GatewayWorker();

  // --- control thread ---
  // All workers of the engine, itself included; before start().
  void set_workers(std::vector<GatewayWorker*> workers) { workers_ = std::move(workers); }
  io::OsError start();
  // Runs between batches, or at once where the thread does not run. One command at a time;
  // wait_command() returns when it has been run.
  void post_command(const Command& command);
  void wait_command();
  void ask_stop();
  void join();
  // After all workers have been joined: what is still in the rings goes its way, then everything
  // is closed.
  void finish();
  bool failed(io::OsError* error) const;
  gateway::Gateway& gateway() { return *gateway_; }  // counters and events; the rest by commands
  uint64_t receiver_drops() { return receiver_->drops(); }  // until finish()

  // --- the worker's thread (commands) ---
  // Instead of the one it has, if any.
  io::OsError add_queue(uint16_t endpoint, std::shared_ptr<io::Tun> tun);
  void remove_queue(uint16_t endpoint);
  // Keeps the headers of packets that enter; null: none any more.
  void set_recording(std::unique_ptr<RecordRing> ring) { record_ = std::move(ring); }
  const RecordRing* recording() const { return record_.get(); }

 private:
  static constexpr uint16_t kEnd = 0xffff;
  struct Device {
    std::shared_ptr<io::Tun> tun;
    io::TunQueue* queue = nullptr;  // null: no device, or it is lost
    bool hot = false;               // in hot_
    // Packets of the batch that leave by it, linked by leaving_next_; kEnd between batches.
    uint16_t first = kEnd;
    uint16_t last = kEnd;
  };

  // What epoll reports: an endpoint's index, or one of these.
  static constexpr uint64_t kSourceWakeup = 1u << 16;
  static constexpr uint64_t kSourceSocket = kSourceWakeup + 1;

  GatewayWorker(const Config& config, std::unique_ptr<io::UdpReceiver> receiver,
                const io::UdpSender* sender);
  static void* enter(void* self);
  void run();
  void wait();
  bool asked() const;
  void run_command();
  void sweep();
  void read_devices();
  void read_socket();
  void read_rings();
  void read_held();
  void process(PacketKind kind);
  void decide(PacketKind kind);
  void record(PacketKind kind);
  void record_segments(uint32_t i);
  void hand_over(PacketKind kind);
  bool push(PacketRing& ring, uint32_t i, PacketKind kind);
  void emit();
  bool leave_by_endpoint(uint32_t i);
  void write_devices();
  void count_input_drops();
  void fail(const io::OsError& error);
  void lose_device(uint16_t endpoint);
  void stop_reading();
  io::OsError watch(int fd, uint64_t source);
  void unwatch(int fd);

  const Config config_;
  std::unique_ptr<gateway::Gateway> gateway_;
  std::unique_ptr<io::UdpReceiver> receiver_;
  const io::UdpSender* sender_;
  io::UdpSendScratch scratch_;
  std::unique_ptr<batch::PacketBatch> batch_;
  Wakeup wakeup_;
  int epoll_ = -1;
  std::unique_ptr<RecordRing> record_;
  std::vector<std::unique_ptr<PacketRing>> rings_;  // by producing worker; null for itself
  std::vector<GatewayWorker*> workers_;

  std::vector<Device> devices_;    // by endpoint index
  std::vector<uint16_t> hot_;      // endpoints whose devices may have packets
  std::vector<uint16_t> leaving_;  // endpoints by which packets of the batch leave
  uint16_t leaving_next_[base::kEngineBatchPackets];
  bool socket_hot_ = false;
  uint64_t now_ms_ = 0;
  uint64_t swept_ms_ = 0;
  uint64_t sweep_due_ = 0;  // table positions
  uint32_t sweep_per_ms_ = 0;

  pthread_t thread_ = {};
  bool running_ = false;  // the control thread's
  std::atomic<bool> stop_{false};
  std::atomic<bool> command_waits_{false};
  const Command* command_ = nullptr;  // under mutex_
  std::mutex mutex_;
  std::condition_variable command_done_;
  std::atomic<bool> failed_{false};
  io::OsError error_;  // written once, before failed_
};

}  // namespace gwlb::engine
