// Every kind of packet that anybody may send, and what a gateway has to have seen before it is that
// kind: for measuring the worst of them against a plain one. kinds.cc has the table.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "batch/packet_batch.h"
#include "gateway/gateway.h"
#include "test/native/packets.h"

namespace gwlb::bench {

// The n-th packet of its kind.
using MakePacket = test::Bytes (*)(uint32_t n);

enum class Flood : uint8_t {
  fresh,    // the flow tables are empty before each round
  evicts,   // every flow in the table is unanswered, and the oldest gives way
  refused,  // the table is full of flows that are established
};

struct Kind {
  std::string name;
  std::vector<MakePacket> before = {};  // go to a target and come back first, each of them
  MakePacket packet = nullptr;
  batch::Verdict verdict = batch::Verdict::forward;
  base::DropReason reason = base::DropReason::none;
  bool returned = false;       // measured when it comes back, not when it enters
  MakePacket reply = nullptr;  // what the target returns in its place
  void (*spoil)(batch::PacketBatch& batch, uint32_t i) = nullptr;  // the returned datagram
  void (*configure)(gateway::GatewayConfig& config) = nullptr;
  Flood flood = Flood::fresh;
};

// The first of either way is the plain packet that the others are held against.
const std::vector<Kind>& kinds();
inline const Kind& plain(bool returned) { return kinds()[returned ? 1 : 0]; }

// A gateway that meets packets of one kind, `packets()` a round.
class KindRig {
 public:
  explicit KindRig(const Kind& kind);
  // Everything up to the packets themselves.
  void prepare();
  // What is measured.
  void run();
  // Ends the program where packets were not of their kind.
  void check() const;
  uint32_t packets() const;

 private:
  void fill(MakePacket make, uint32_t from);
  void enter();
  void come_back();
  void turn();
  void round_trip(MakePacket make, uint32_t from);
  void establish_all();

  const Kind& kind_;
  std::unique_ptr<gateway::Gateway> gateway_;
  std::vector<std::unique_ptr<batch::PacketBatch>> batches_;
  uint64_t now_ms_ = 1;
  uint32_t next_ = 0;
};

}  // namespace gwlb::bench
