// The headers of packets that go through an appliance's kernel, driven by the input, against a map:
// packets of a few flows in both directions, with headers of any length, come and go in bursts
// while time passes; hostile bytes among them.
#include <cstring>
#include <map>
#include <memory>
#include <tuple>
#include <vector>

#include "appliance/return_headers.h"
#include "test/fuzz/fuzz.h"
#include "test/native/datagrams.h"

using namespace gwlb;
using namespace gwlb::test;
using appliance::Appliance;
using appliance::ReturnHeaders;
using base::DropReason;

namespace {

// A flow is surely known for so long: the least of all timeouts is 10 s.
constexpr uint64_t kSurelyMs = 9'000;
constexpr uint32_t kHostileMax = 64;

// device, version, protocol, port
using Flow = std::tuple<uint16_t, uint8_t, uint8_t, uint16_t>;
struct Known {
  Bytes header[2];    // newest of each direction, ...
  bool sure[2] = {};  // ... which the flow has, unless it has ended since
  uint64_t seen_ms = 0;
  bool may_end = false;  // FIN or RST was seen: it may have ended, and begun anew
};

struct Picked {
  Flow flow;
  bool client;
  Bytes inner;
};

class Run {
 public:
  explicit Run(Input input) : input_(input) { FUZZ_CHECK(headers_ != nullptr); }

  void run() {
    while (input_.more()) {
      const uint8_t what = input_.byte();
      switch (what % 8) {
        case 0:
        case 1:
        case 2:
          enter(1 + what / 8 % 8);
          break;
        case 3:
        case 4:
          come_back(1 + what / 8 % 8);
          break;
        case 5:
          now_ms_ += input_.byte() * uint64_t{16};
          headers_->sweep(now_ms_);
          break;
        case 6:
          now_ms_ += input_.byte() * uint64_t{4096};
          for (uint32_t k = 0; k < 50; ++k) headers_->sweep(now_ms_ += 50);
          break;
        default:
          if (hostile_ < kHostileMax) hostile(what);
          break;
      }
    }
  }

 private:
  Picked pick() {
    const uint8_t which = input_.byte();
    const bool tcp = (which & 1) != 0, v6 = (which & 2) != 0, client = (which & 4) != 0;
    const auto port = static_cast<uint16_t>(1000 + (which >> 4));
    const auto device = static_cast<uint16_t>(which >> 3 & 1);
    const uint16_t from = client ? port : 53, to = client ? 53 : port;
    Bytes transport = tcp ? test::tcp(from, to, flags_ = input_.byte() & 0x1f) : udp(from, to);
    if (!tcp) flags_ = 0;
    const auto protocol = static_cast<uint8_t>(tcp ? 6 : 17);
    Picked out{{device, v6 ? uint8_t{6} : uint8_t{4}, protocol, port}, client, {}};
    if (v6) {
      out.inner = ipv6(client ? 1 : 2, client ? 2 : 1, protocol, transport);
    } else {
      out.inner = ipv4(client ? 1 : 2, client ? 2 : 1, protocol, transport);
      out.inner[12] = out.inner[16] = 10;
    }
    return out;
  }

  Bytes header_for(const Bytes& inner) {
    std::vector<Option> options = gateway_options(++cookie_);
    const uint8_t words = input_.byte();
    for (size_t left = words % 52; left > 0;) {
      const size_t some = left < 31 ? left : 31;
      options.push_back({0x7777, 9, Bytes(4 * some, static_cast<uint8_t>(words + left))});
      left -= some < left ? some + 1 : left;
    }
    const auto type = static_cast<uint16_t>(inner[0] >> 4 == 4 ? 0x0800 : 0x86dd);
    if (words % 5 == 0) return geneve(0x6558, options) + ethernet(type, {7});
    return geneve(type, options);
  }

  // Opens what is in `in_`, and learns it. Returns why for each that could be opened.
  std::vector<DropReason> learn() {
    opener_.open(*in_);
    uint16_t packets[base::kEngineBatchPackets];
    uint32_t n = 0;
    for (uint32_t i = 0; i < in_->count; ++i) {
      if (opener_.opened(i).is_open()) packets[n++] = static_cast<uint16_t>(i);
    }
    std::vector<DropReason> why(n + 1);
    headers_->learn(*in_, opener_, packets, n, now_ms_, why.data());
    why.resize(n);
    return why;
  }

  void put(batch::PacketBatch& batch, const Bytes& bytes, uint16_t device) {
    const uint32_t i = batch.count++;
    batch.reset(i, static_cast<uint32_t>(bytes.size()));
    if (!bytes.empty()) std::memcpy(batch.packet(i), bytes.data(), bytes.size());
    batch.endpoint[i] = device;
  }

  void enter(uint32_t n) {
    in_->count = 0;
    for (uint32_t k = 0; k < n; ++k) {
      const Picked picked = pick();
      const Bytes header = header_for(picked.inner);
      Known& known = model_[picked.flow];
      known.header[picked.client] = header;
      known.sure[picked.client] = true;
      if (now_ms_ - known.seen_ms >= kSurelyMs) known.sure[!picked.client] = false;
      known.seen_ms = now_ms_;
      known.may_end |= (flags_ & (wire::kFin | wire::kRst)) != 0;
      put(*in_, header + picked.inner, std::get<0>(picked.flow));
    }
    const std::vector<DropReason> why = learn();
    FUZZ_CHECK(why.size() == n);
    for (const DropReason one : why) FUZZ_CHECK(one == DropReason::none);
  }

  void come_back(uint32_t n) {
    out_->count = 0;
    std::vector<Picked> picked;
    for (uint32_t k = 0; k < n; ++k) {
      picked.push_back(pick());
      // What the kernel sends by itself may end a flow too.
      const auto found = model_.find(picked[k].flow);
      if (found != model_.end()) {
        found->second.may_end |= (flags_ & (wire::kFin | wire::kRst)) != 0;
      }
      put(*out_, picked[k].inner, std::get<0>(picked[k].flow));
    }
    headers_->give_back(*out_, 6081, now_ms_);
    for (uint32_t i = 0; i < n; ++i) check(picked[i], i);
  }

  void check(const Picked& picked, uint32_t i) {
    const auto found = model_.find(picked.flow);
    if (out_->verdict[i] == static_cast<uint8_t>(batch::Verdict::drop)) {
      FUZZ_CHECK(out_->reason[i] == static_cast<uint8_t>(DropReason::device_unknown_flow));
      FUZZ_CHECK(found == model_.end() || now_ms_ - found->second.seen_ms >= kSurelyMs);
      return;
    }
    FUZZ_CHECK(found != model_.end());
    const Known& known = found->second;
    const Bytes back(out_->packet(i), out_->packet(i) + out_->length[i]);
    const Bytes& own = known.header[picked.client];
    const Bytes& other = known.header[!picked.client];
    const bool is_own = !own.empty() && back == own + picked.inner;
    const bool is_other = !other.empty() && back == other + picked.inner;
    FUZZ_CHECK(is_own || is_other);
    const bool surely = now_ms_ - known.seen_ms < kSurelyMs && !known.may_end && known_both_;
    if (surely && known.sure[picked.client]) FUZZ_CHECK(is_own);
  }

  void hostile(uint8_t what) {
    ++hostile_;
    batch::PacketBatch& batch = what % 16 < 8 ? *in_ : *out_;
    batch.count = 0;
    put(batch, input_.bytes(what), what & 1);
    if (&batch == in_.get()) {
      learn();
    } else {
      headers_->give_back(batch, 6081, now_ms_);
    }
    // It may have been of one of the flows.
    known_both_ = false;
  }

  Input input_;
  std::unique_ptr<batch::PacketBatch> in_ = batch::PacketBatch::create(16, base::kSlotStrideJumbo);
  std::unique_ptr<batch::PacketBatch> out_ = batch::PacketBatch::create(16, base::kSlotStrideJumbo);
  Appliance opener_{appliance::ApplianceConfig{}};
  std::unique_ptr<ReturnHeaders> headers_ =
      ReturnHeaders::create({1024, 1024, 64, 350'000, 120'000}, false, {3, 4});
  std::map<Flow, Known> model_;
  uint64_t now_ms_ = 1000;
  uint32_t cookie_ = 0;
  uint32_t hostile_ = 0;
  uint8_t flags_ = 0;
  bool known_both_ = true;
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  Run(Input(data, size < 4096 ? size : 4096)).run();
  return 0;
}
