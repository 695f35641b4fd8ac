// The inside of ApplianceEngine: the worker thread, and the inspector's side of it.
#pragma once

#include <pthread.h>

#include <atomic>
#include <functional>
#include <memory>
#include <mutex>
#include <utility>
#include <vector>

#include "appliance/counters.h"
#include "engine/appliance_engine.h"
#include "engine/number_ring.h"
#include "io/udp_returner.h"

namespace gwlb::engine {

class ApplianceEngine::Worker {
 public:
  Worker(const ApplianceEngineConfig& config, std::function<void()> ready)
      : config_(config),
        tell_(std::move(ready)),
        scratch_(config.return_ports),
        order_(config.batches + kWaitingLoads),
        ready_(config.batches),
        returned_(config.batches) {}
  ~Worker();

  io::OsError start();
  void stop();

  // Inspector's thread.
  int next_batch();
  void take_verdicts(int number);
  bool release(int number);
  bool decide(int number, uint32_t i, appliance::FlowVerdict verdict, appliance::After after);
  bool set_inspect(bool inspect, const appliance::Filter& filter);
  void forget_flows();
  void count_losses();
  // Offline.
  Offline& offline() {
    GWLB_ASSERT(offline_ != nullptr);
    return *offline_;
  }
  void pump(uint32_t now_ms);
  ApplianceLoad& load(int number) {
    GWLB_ASSERT(number >= 0 && static_cast<size_t>(number) < config_.batches && !loads_.empty());
    return loads_[static_cast<size_t>(number)];
  }

  const ApplianceEngineConfig& config() const { return config_; }
  const appliance::Counters& counters() const { return counters_; }
  uint16_t port() const { return port_; }
  bool sends_trains() const { return sends_trains_; }
  bool receives_trains() const { return receives_trains_; }
  bool failed(io::OsError* error) const {
    if (!failed_.load(std::memory_order_acquire)) return false;
    *error = error_;
    return true;
  }

 private:
  // Loads for packets that only wait for earlier ones of their flow.
  static constexpr uint32_t kWaitingLoads = 2;
  static constexpr uint32_t kNoLoad = 0xffffffff;

  struct Settings {
    bool inspect = false;
    appliance::Filter filter;
    uint32_t forgets = 0;  // how often verdicts were to end
    bool operator==(const Settings&) const = default;
  };
  // What a batch that is sent from where it was received comes to.
  struct Sums {
    uint64_t packets = 0;
    uint64_t bytes = 0;
  };

  static void* enter(void* self) {
    static_cast<Worker*>(self)->run();
    return nullptr;
  }
  io::OsError start_thread();
  void run();
  bool settings_changed() const { return applied_version_ != version_.load(); }
  bool may_read() const;
  bool read_once();
  uint32_t receive();
  uint32_t receive_from_socket();
  uint32_t receive_offline();
  uint32_t now_ms() const;
  void open();
  void divert();
  void apply_settings();
  bool take_back();
  void finish_in_order();
  void finish(batch::PacketBatch& batch, appliance::Appliance& appliance,
              const ApplianceLoad* load);
  void send_offline(const batch::PacketBatch& batch, const appliance::Appliance& appliance,
                    const ApplianceLoad* load);
  void finish(ApplianceLoad& load);
  bool put(uint32_t* current, bool waits, uint32_t i);
  uint32_t open_load(bool waits);
  void hand_over();
  void sleep();
  void abandon();
  void fail(const io::OsError& error);
  void notify() {
    if (tell_ && !told_.exchange(true)) tell_();
  }
  bool create_loads();
  void change(const Settings& wanted);
  void look(ApplianceLoad& load);
  static void hide(ApplianceLoad& load, uint32_t i, appliance::FlowVerdicts::Sight sight);
  static void took_effect(ApplianceLoad& load, appliance::FlowVerdict verdict);
  void wake();

  const ApplianceEngineConfig config_;
  const std::function<void()> tell_;
  appliance::Counters counters_;
  std::unique_ptr<io::UdpReceiver> receiver_;
  io::UdpLosses losses_;  // the inspector's thread's, like their counters
  std::unique_ptr<io::UdpReturner> returner_;
  pthread_t thread_ = {};
  bool running_ = false;  // control thread's
  int wake_ = -1;
  uint16_t port_ = 0;
  bool sends_trains_ = false;
  bool receives_trains_ = false;

  std::unique_ptr<Offline> offline_;  // in place of sockets and thread

  // The worker's own.
  io::UdpSendScratch scratch_;
  std::unique_ptr<batch::PacketBatch> direct_;
  std::unique_ptr<appliance::Appliance> opener_;  // of direct_
  Settings settings_;
  uint64_t applied_version_ = 0;
  std::vector<uint32_t> free_;          // numbers of loads nobody uses
  std::vector<uint32_t> free_waiting_;  // the same of those for waiting
  std::vector<uint32_t> order_;         // ring: numbers of loads in use, in order
  uint32_t order_head_ = 0;
  uint32_t order_count_ = 0;
  uint32_t next_sequence_ = 1;
  uint32_t finished_ = 0;       // the sequence of the last load that is
  uint32_t filling_ = kNoLoad;  // not handed over yet
  uint32_t filling_age_ = 0;    // batches received since it was taken into use
  uint32_t waiting_ = kNoLoad;  // the last one of those for waiting

  // Made before inspect is first set; those for waiting behind the inspector's.
  std::vector<ApplianceLoad> loads_;
  std::unique_ptr<appliance::FlowVerdicts> flows_;
  NumberRing ready_;                    // worker -> inspector
  NumberRing returned_;                 // inspector -> worker
  std::atomic<uint64_t> decisions_{0};  // verdicts that the inspector has given
  std::atomic<bool> told_{false};
  std::atomic<bool> sleeping_{false};
  std::atomic<bool> stop_{false};
  std::atomic<bool> failed_{false};
  io::OsError error_;  // written before failed_

  std::mutex wanted_mutex_;
  Settings wanted_;
  std::atomic<uint64_t> version_{0};  // of wanted_

  // The inspector's: loads it holds.
  std::vector<uint32_t> lent_;
};

}  // namespace gwlb::engine
