// The devices of an appliance's worker: packets enter the kernel by them, and what comes out again
// goes back to the gateway with the header of its flow and direction.
//
//   tunnel -> open -> rules, verdicts, inspector -> enter(): learn -> device in -> kernel
//   tunnel <- header in front <- read()                            <- device in, out
//
// A device, or a pair, has a number: 0 where there is one for all; otherwise that of an endpoint,
// given when its first packet comes. Whoever makes devices is told then, and its packets are
// dropped until it has made one.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <vector>

#include "appliance/counters.h"
#include "appliance/return_headers.h"
#include "engine/endpoint_numbers.h"
#include "io/port.h"

namespace gwlb::engine {

struct ApplianceDevicesConfig {
  appliance::ReturnLimits limits;
  uint32_t devices = 1;       // 1..kDevicesMax
  bool per_endpoint = false;  // else number 0 has all
  bool any_endpoint = false;
  std::vector<uint64_t> endpoints;  // that get one, unless any does
  bool offload = true;              // super-packets both ways
};

class ApplianceDevices {
 public:
  static constexpr uint32_t kDevicesMax = 256;

  struct Setting {
    bool paths = false;  // batches keep outer paths
    uint16_t gateway_port = 0;
    base::HashKey key;
  };
  // `arrived` is called on the worker's thread when an endpoint got a number. ENOMEM where memory
  // is refused; other errors are epoll's.
  static io::OsError create(const ApplianceDevicesConfig& config, const Setting& setting,
                            std::function<void()> arrived, std::unique_ptr<ApplianceDevices>* out);
  ~ApplianceDevices();
  ApplianceDevices(const ApplianceDevices&) = delete;
  ApplianceDevices& operator=(const ApplianceDevices&) = delete;

  // --- the worker's thread

  // Takes what of a batch is not dropped, rejected, direct or moved already: it enters the kernel,
  // and is `moved`, or is dropped for good, which the caller counts.
  void enter(batch::PacketBatch& batch, appliance::Appliance& opener, appliance::Counters& counters,
             uint64_t now_ms);
  // A batch of what each device has that may have something, to the tunnel. False: nothing came.
  bool read(io::Port& tunnel, appliance::Counters& counters, uint64_t now_ms);
  // Instead of those it has, if any; null: none. `out` null: the device is no pair.
  io::OsError set_ports(uint32_t number, std::shared_ptr<io::Port> in,
                        std::shared_ptr<io::Port> out);
  // Readable when a device may have packets.
  int fd() const { return epoll_; }
  // While there are flows they are looked after this often.
  int tick_ms() const;

  // --- any thread

  uint32_t size() const { return static_cast<uint32_t>(devices_.size()); }
  appliance::ReturnHeaders::Flows flows() const { return headers_->flows(); }
  const EndpointNumbers& numbers() const { return numbers_; }
  appliance::DeviceCounters& counters(uint32_t number) { return *devices_[number].counters; }
  // Of packets that have no device.
  appliance::DeviceCounters& other_counters() { return other_; }

 private:
  static constexpr uint16_t kEnd = 0xffff;
  struct Source {
    std::shared_ptr<io::Port> port;  // null: none, or it is lost
    bool hot = false;                // may have packets
  };
  struct Device {
    Source in, out;
    std::unique_ptr<appliance::DeviceCounters> counters;
    // Packets of the batch that enter by it, linked by next_; kEnd between batches.
    uint16_t first = kEnd;
    uint16_t last = kEnd;
  };

  ApplianceDevices(const ApplianceDevicesConfig& config, const Setting& setting,
                   std::function<void()> arrived);
  base::DropReason device_of(uint64_t endpoint_id, uint16_t* number);
  void write(Device& device, batch::PacketBatch& batch, appliance::Appliance& opener,
             appliance::Counters& counters);
  Source& source(uint32_t number) {
    Device& device = devices_[number / 2];
    return number % 2 == 0 ? device.in : device.out;
  }
  io::OsError set_port(uint32_t number, std::shared_ptr<io::Port> port);
  void find_hot();
  bool read_source(uint32_t number, io::Port& tunnel, appliance::Counters& counters,
                   uint64_t now_ms);
  void send_back(Device& device, io::Port& tunnel, appliance::Counters& counters, uint64_t now_ms);

  const ApplianceDevicesConfig config_;
  const Setting setting_;
  const std::function<void()> arrived_;
  std::unique_ptr<appliance::ReturnHeaders> headers_;
  std::unique_ptr<batch::PacketBatch> batch_;  // of what is read
  EndpointNumbers numbers_;
  std::vector<Device> devices_;
  appliance::DeviceCounters other_;
  std::vector<uint32_t> hot_;       // sources that may have packets: 2 * number, and 1 for `out`
  std::vector<uint16_t> entering_;  // numbers of devices that packets of the batch enter by
  uint16_t next_[base::kBatchPacketsMax];
  int epoll_ = -1;
};

}  // namespace gwlb::engine
