// The appliance's worker thread. Datagrams are received and opened 64 at a time. What needs no
// inspector is decided and sent from where it was received: everything where there is none, what a
// drop rule takes, what the inspector's filter is not about, and flows that have a verdict. The
// rest is copied into loads, each packet into a slot of its own, which go to the inspector's thread
// through a ring, at most one wake-up per ring-full of work, and come back with verdicts:
//
//   worker:     receive -> open -> rules -> flows -> filter -> close -> send
//                                             |        |         ^
//                                           [waiting] [loads] ---+
//   inspector:                                next_batch ... release
//
// A slow inspector stops the reading (the kernel's buffer then drops, and that is counted); it
// never grows memory. Loads are returned in the order they were filled, whatever the order of their
// release. A flow that has got its verdict is sent directly only when its last packet in a load has
// been sent: until then its packets wait in a load of the worker's own. So every flow keeps its
// order. An idle worker sleeps; a busy one is never woken.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "appliance/appliance.h"
#include "appliance/filter.h"
#include "appliance/flow_verdicts.h"
#include "engine/appliance_devices.h"
#include "engine/appliance_load.h"
#include "engine/device_state.h"
#include "engine/offline.h"
#include "io/tun.h"
#include "io/udp.h"

namespace gwlb::engine {

struct ApplianceEngineConfig {
  appliance::ApplianceConfig appliance;
  io::UdpConfig udp;
  uint16_t gateway_port = 6081;  // where returned packets go (R6); not 0
  // Sockets for the ports that packets came from, so that they go back from them (R6):
  // 1..kReturnPortsMax.
  uint32_t return_ports = 4096;
  std::vector<appliance::DropRule> drop;
  uint32_t batches =
      16;             // of kBatchPacketsMax packets, in flight with the inspector; 1..kBatchesMax
  bool jumbo = true;  // slots for 8,500-byte inner packets, else for ordinary MTUs
  bool inspect = false;
  appliance::FlowLimits flows;
  // Of the flow tables. All zero: a random one.
  base::HashKey hash_key;
  // No sockets and no thread: datagrams come from put(), pump() does the worker's work.
  bool offline = false;
};

class ApplianceEngine {
 public:
  static constexpr uint32_t kBatchesMax = 256;

  // Opens the sockets (nothing is left open on an error) and starts the worker. `ready` is called
  // on the worker thread when batches wait for the inspector and it has not been told since
  // next_batch() last returned -1; also once when the worker failed. It must not block and must not
  // call the engine.
  static io::OsError start(const ApplianceEngineConfig& config, std::function<void()> ready,
                           std::unique_ptr<ApplianceEngine>* out);
  // The same over a port of the caller's; of `config.udp` only the network namespace, and whether
  // paths are kept, matter then.
  static io::OsError start_on(const ApplianceEngineConfig& config, std::shared_ptr<io::Port> port,
                              std::function<void()> ready, std::unique_ptr<ApplianceEngine>* out);
  ~ApplianceEngine();  // stop(); the inspector's thread must be done with its batches

  uint16_t port() const;  // 0 without sockets
  // What the kernel granted of UdpConfig::offload.
  bool sends_trains() const;
  bool receives_trains() const;

  // Inspector's thread: the number of the next batch to look at, or -1. After `ready`, call it
  // until it returns -1: only then is `ready` called again. A batch all of whose flows have got
  // their verdict meanwhile goes back by itself.
  int next_batch();
  // Between next_batch() and release() the inspector alone may read and write them. Packets are all
  // open. load().shown are those to look at; the verdict of the others is their flow's. Of the
  // descriptors verdict may be changed, the rest is read-only.
  batch::PacketBatch& batch(int number);
  appliance::Appliance& appliance(int number);  // for opened() and rewrite()
  ApplianceLoad& load(int number);
  // A verdict on the flow of packet i, which takes effect `after` so much more of it: no later
  // packet of it is shown any more, and later ones in batches that the inspector holds are hidden.
  // A direct one at once is about packet i too.
  // False where the flow is not known: it had no room, or the packet is a fragment of an unknown
  // train or an ICMP error about an unknown flow.
  bool decide(int number, uint32_t i, appliance::FlowVerdict verdict, appliance::After after);
  // Drops what JavaScript has marked as dropped, in the descriptors that it sees.
  void take_verdicts(int number);
  // Gives it back: packets whose verdict is drop are dropped, all others are returned. False (and
  // nothing happens) where the inspector does not hold this batch. A batch never given back holds
  // up all later ones.
  bool release(int number);
  uint32_t batches() const;

  // Inspector's thread: switches the inspector on or off while running, or changes what it is
  // shown. The batches' memory is taken when it is first switched on: false where the system
  // refuses it. Switching off returns the batches nobody has looked at and ends all verdicts on
  // flows. A change takes effect when everything received before has been returned; until then
  // nothing is read.
  bool set_inspect(bool inspect, const appliance::Filter& filter = {});
  // The verdicts on flows end, at the same point.
  void forget_flows();

  // appliance::Counters' block: GWLB_APPLIANCE_COUNTERS, then drops by reason.
  const std::shared_ptr<uint64_t[]>& counters() const;

  // True once the worker had to stop reading for a lasting I/O error; `*error` says which.
  bool failed(io::OsError* error) const;

  // Offline, all on one thread. Takes a datagram (UDP payload) in; `id` names it in its outcome.
  void put(uint16_t id, std::vector<uint8_t> datagram);
  // Goes on until there is nothing to do but for the inspector; time is `now_ms` meanwhile. Then
  // next_batch() has what there is to look at.
  void pump(uint32_t now_ms);
  // What has left since this was asked last, in the order it left.
  std::vector<Offline::Outcome> take_outcomes();

  // Devices: packets that no rule, verdict or inspector takes enter the kernel by them, and return
  // when they come out again (appliance_devices.h). Slow calls, one at a time: not the inspector's
  // thread. After stop() they are ESHUTDOWN.
  //
  // From now on; the devices are then added one by one, and packets of one that is not there are
  // dropped, device_unavailable. EEXIST where there are some.
  io::OsError attach_devices(const ApplianceDevicesConfig& config);
  // Packets go back past the kernel again, and the devices away. Nothing where there are none.
  void detach_devices();
  // Makes device `number`, a pair where there is an `out`. Errors: those of io::Tun::open, EEXIST
  // where it is there, EINVAL for another number than there may be. Nothing is left of it then.
  struct DeviceNames {
    std::string in, out;
    uint32_t in_ifindex = 0, out_ifindex = 0;
  };
  io::OsError add_device(uint32_t number, const io::TunConfig& in, const io::TunConfig* out,
                         DeviceNames* made);
  // The same over ports of the caller's, whose state nobody looks at.
  io::OsError add_device_on(uint32_t number, std::shared_ptr<io::Port> in,
                            std::shared_ptr<io::Port> out);
  // Makes device `number` work again, both of a pair: sets it up, or makes it anew.
  io::OsError restore_device(uint32_t number, DeviceNames* made);
  // Also asks the kernel what devices have lost, for the counters.
  std::vector<DeviceState> look_at_devices();

  // Any thread, and quick: the endpoints that have come, in the order of their numbers, from this
  // one on. `ready` is called when there is a new one.
  std::vector<uint64_t> endpoints_from(uint32_t number);
  // appliance::DeviceCounters' block of one device, or of packets without one; null where there is
  // none.
  std::shared_ptr<uint64_t[]> device_counters(uint32_t number);
  std::shared_ptr<uint64_t[]> deviceless_counters();
  appliance::ReturnHeaders::Flows device_flows();

  // Any thread: joins the worker and closes the sockets; idempotent, at any stage, and returns when
  // it is done, whoever began. What is with the inspector then counts as appliance_stopped;
  // release() has no effect any more, but batches stay readable until the engine is destroyed.
  // count_losses() must not be called at the same time.
  void stop();
  // Has what only the port knows in the counters: packets_other_port, and what the kernel lost of
  // its datagrams (receive_overflow, outer_bad_checksum: as io::UdpLosses). Inspector's thread;
  // stop() does it once more.
  void count_losses();

 private:
  class Worker;
  ApplianceEngine(const ApplianceEngineConfig& config, std::function<void()> ready);
  io::OsError open(std::shared_ptr<io::Port> port);
  io::OsError start_on(std::shared_ptr<io::Port> port);

  std::shared_ptr<io::Port> port_;
  Offline* offline_ = nullptr;  // the port, where it is one
  io::PortOffloads offloads_;
  uint16_t port_number_ = 0;
  io::UdpLosses losses_;
  // A device, or a pair, as it was made.
  struct Tun {
    io::TunConfig config;
    std::shared_ptr<io::Tun> tun;
    uint64_t former_drops = 0;  // of those before it
    uint64_t drops() const { return former_drops + (tun != nullptr ? tun->drops() : 0); }
  };
  struct Pair {
    Tun in, out;
  };
  io::OsError open_tun(const io::TunConfig& config, Tun* out);
  io::OsError restore_tun(Tun* tun, bool* renewed);
  io::OsError hand_over(uint32_t number);
  io::OsError hand_over(uint32_t number, std::shared_ptr<io::Port> in,
                        std::shared_ptr<io::Port> out);
  void detach();
  void ask_devices();
  std::shared_ptr<ApplianceDevices> devices() {
    const std::lock_guard<std::mutex> lock(mutex_);
    return devices_;
  }

  std::mutex slow_;   // of the calls about devices, all the time that they take
  std::mutex mutex_;  // of devices_, for moments
  bool stopped_ = false;
  bool offloads_devices_ = false;
  std::vector<Pair> pairs_;             // by number
  std::atomic<uint64_t> tun_drops_{0};  // of all devices, as they were asked last
  uint64_t former_tun_drops_ = 0;       // of devices that were taken away
  std::unique_ptr<Worker> worker_;
  // Ends after the worker has let go of it.
  std::shared_ptr<ApplianceDevices> devices_;
};

}  // namespace gwlb::engine
