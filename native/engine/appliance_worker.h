// The inside of ApplianceEngine: the worker thread, and the inspector's side of it.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <utility>
#include <vector>

#include "appliance/counters.h"
#include "engine/appliance_devices.h"
#include "engine/appliance_engine.h"
#include "engine/number_ring.h"
#include "engine/worker_thread.h"
#include "io/port.h"

namespace gwlb::engine {

class ApplianceEngine::Worker {
 public:
  Worker(const ApplianceEngineConfig& config, std::function<void()> ready)
      : config_(config),
        tell_(std::move(ready)),
        order_(config.batches + kWaitingLoads),
        ready_(config.batches),
        returned_(config.batches) {}

  // What it works on. `offline` is the same port where pump() does the work instead of a thread.
  io::OsError open(std::shared_ptr<io::Port> port, Offline* offline);
  io::OsError start();
  // Gives the port back.
  void stop();

  // Inspector's thread.
  int next_batch();
  void take_verdicts(int number);
  bool release(int number);
  bool decide(int number, uint32_t i, appliance::FlowVerdict verdict, appliance::After after);
  bool set_inspect(bool inspect, const appliance::Filter& filter);
  void forget_flows();
  void pump();

  // Any one thread but the inspector's. From when this returns packets go through the kernel, or
  // not any more (null). `devices` outlives that.
  void set_devices(ApplianceDevices* devices);
  // Runs between two batches, and returns when it has.
  void between_batches(const std::function<void()>& what) {
    thread_.post(what);
    thread_.wait();
  }
  // What the inspector is told of arrivals by, too.
  void notify() {
    if (tell_ && !told_.exchange(true)) tell_();
  }
  ApplianceLoad& load(int number) {
    GWLB_ASSERT(number >= 0 && static_cast<size_t>(number) < config_.batches && !loads_.empty());
    return loads_[static_cast<size_t>(number)];
  }

  const ApplianceEngineConfig& config() const { return config_; }
  appliance::Counters& counters() { return counters_; }
  bool failed(io::OsError* error) const { return thread_.failed(error); }

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

  void run();
  bool settings_changed() const { return changed_; }
  bool may_read() const;
  bool reads_devices() const { return devices_ != nullptr && !thread_.has_failed(); }
  bool read_once();
  uint32_t receive();
  uint64_t now_ms() const;
  void open_packets();
  void divert();
  void apply_settings();
  bool take_back();
  void finish_in_order();
  void finish(batch::PacketBatch& batch, appliance::Appliance& appliance,
              const ApplianceLoad* load);
  void tell_outcomes(const batch::PacketBatch& batch, const appliance::Appliance& appliance,
                     const ApplianceLoad* load);
  void finish(ApplianceLoad& load);
  bool put(uint32_t* current, bool waits, uint32_t i);
  uint32_t open_load(bool waits);
  void hand_over();
  void sleep();
  void abandon();
  void fail(const io::OsError& error);
  bool create_loads();
  void change(const Settings& wanted);
  void look(ApplianceLoad& load);
  static void hide(ApplianceLoad& load, uint32_t i, appliance::FlowVerdicts::Sight sight);
  static void took_effect(ApplianceLoad& load, appliance::FlowVerdict verdict);

  const ApplianceEngineConfig config_;
  const std::function<void()> tell_;
  appliance::Counters counters_;
  std::shared_ptr<io::Port> port_;
  WorkerThread thread_;
  Offline* offline_ = nullptr;

  // The worker's own.
  ApplianceDevices* devices_ = nullptr;
  io::Rest rest_ = io::Rest::none;
  std::unique_ptr<batch::PacketBatch> direct_;
  std::unique_ptr<appliance::Appliance> opener_;  // of direct_
  Settings settings_;
  // Take effect when everything received before has been returned.
  Settings wanted_;
  bool changed_ = false;
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

  // The inspector's: what it asked for last, and loads it holds.
  Settings asked_;
  std::vector<uint32_t> lent_;
};

}  // namespace gwlb::engine
