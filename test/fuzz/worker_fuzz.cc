// Drives the packet loop of two workers over faulty ports in memory, all read from the input:
// packets by device, from peers, targets and strangers, refused sends, devices that come and go,
// recordings, time. Whatever happens, every packet that was read has one fate or one reason, and
// what is counted as sent has been sent.
#include <cerrno>

#include "test/fuzz/fuzz.h"
#include "test/native/worker_rig.h"

using namespace gwlb;
using namespace gwlb::test;

namespace {

constexpr uint32_t kWorkers = 2;

int refusal_of(uint8_t byte) {
  constexpr int kErrors[] = {0, 0, 0, EAGAIN, ENOBUFS, EMSGSIZE, EPERM, ENETUNREACH};
  return kErrors[byte % std::size(kErrors)];
}

void check_books(const WorkerRig& rig) {
  const std::string wrong = rig.books();
  if (!wrong.empty()) std::fprintf(stderr, "%s\n", wrong.c_str());
  FUZZ_CHECK(wrong.empty());
}

void act(WorkerRig& rig, Input& input, Traffic& traffic, int* refused) {
  constexpr uint32_t kFrom[] = {kRigTarget, kRigPeer, 0x01020304};
  const uint8_t op = input.byte();
  const uint32_t worker = op >> 7;
  engine::GatewayWorker& at = *rig.workers[worker];
  switch (op % 10) {
    case 0:
      return rig.enter(worker, {input.bytes(input.byte())});
    case 1:
    case 2:
      for (uint32_t n = input.byte() % 80; n > 0; --n) rig.enter(worker, {traffic.next().bytes});
      return;
    case 3:
      return rig.send_as_peer(worker, traffic.next().bytes);
    case 4: {
      const uint32_t from = kFrom[input.byte() % 3];
      return rig.tunnels[worker]->put({input.bytes(input.byte()), from, 6081});
    }
    case 5:
      *refused = refusal_of(input.byte());
      return;
    case 6:
      at.remove_port(kRigDevice);
      return;
    case 7:
      FUZZ_CHECK(at.add_port(kRigDevice, rig.lines[2 * worker + 1]).ok());
      return;
    case 8: {
      const uint8_t packets = input.byte();
      at.set_recording(packets == 0 ? nullptr : engine::RecordRing::create(packets, 100));
      return;
    }
    default:
      rig.now_ms += input.byte() * 50u;
      at.step(rig.now_ms);
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  Input input(data, std::min<size_t>(size, 512));
  const uint8_t options = input.byte();
  int refused = 0;
  WorkerRigConfig config;
  config.workers = kWorkers;
  config.seed = input.byte();
  config.halves = (options & 1) != 0;
  config.returns = (options & 2) == 0;
  config.no_targets = (options & 4) != 0;
  config.offload = false;
  const uint32_t often = (options & 8) != 0 ? 100 : 0;
  config.faults = {often, often, often, often};
  config.refusal = [&refused](const Item&, uint64_t number) {
    return number % 3 == 0 ? refused : 0;
  };
  WorkerRig rig(config);
  Traffic traffic(config.seed);
  while (input.more()) act(rig, input, traffic, &refused);
  for (uint32_t k = 0; k < kWorkers; ++k) {
    FUZZ_CHECK(rig.workers[k]->add_port(kRigDevice, rig.lines[2 * k + 1]).ok());
  }
  FUZZ_CHECK(rig.settle());
  check_books(rig);
  rig.now_ms += 60'000;
  FUZZ_CHECK(rig.settle());
  rig.finish();
  check_books(rig);
  return 0;
}
