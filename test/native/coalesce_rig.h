// A batch of packets in blocks of their exact size, planned by the coalescer; and what its runs are
// as packets again.
#pragma once

#include <memory>
#include <utility>
#include <vector>

#include "test/native/oracle/coalesce_model.h"
#include "test/native/wire_rig.h"
#include "wire/coalesce.h"

namespace gwlb::test {

class Coalesced {
 public:
  explicit Coalesced(const std::vector<Bytes>& packets, bool udp = true) {
    for (const Bytes& packet : packets) {
      blocks_.emplace_back(packet);
      spans_.push_back({blocks_.back().data(), static_cast<uint32_t>(packet.size())});
    }
    plan_.plan(spans_.data(), static_cast<uint32_t>(spans_.size()), udp);
  }

  // The numbers of the packets of each run.
  std::vector<std::vector<size_t>> groups() const {
    std::vector<std::vector<size_t>> out(plan_.run_count());
    for (uint32_t k = 0; k < plan_.run_count(); ++k) {
      const wire::CoalescedRun& run = plan_.run(k);
      for (uint32_t i = 0; i < run.count; ++i) out[k].push_back(plan_.order()[run.first + i]);
    }
    return out;
  }
  size_t runs() const { return plan_.run_count(); }
  const wire::CoalescedRun& run(uint32_t k) const { return plan_.run(k); }

  // Run k as it is written: the only packet of one, or the headers of the super-packet (made in
  // place) and all payloads.
  Bytes written(uint32_t k) {
    const wire::CoalescedRun& run = plan_.run(k);
    const uint16_t* numbers = plan_.order() + run.first;
    const wire::PacketSpan& first = spans_[numbers[0]];
    if (run.count == 1) return Bytes(first.bytes, first.bytes + first.length);
    wire::Coalescer::write_headers(run, first, spans_[numbers[run.count - 1u]]);
    Bytes out(first.bytes, first.bytes + run.headers);
    for (uint32_t i = 0; i < run.count; ++i) {
      const wire::PacketSpan& packet = spans_[numbers[i]];
      append(out, Bytes(packet.bytes + run.headers, packet.bytes + packet.length));
    }
    return out;
  }

 private:
  std::vector<Exact> blocks_;
  std::vector<wire::PacketSpan> spans_;
  wire::Coalescer plan_;
};

using Groups = std::vector<std::vector<size_t>>;

// The packet that follows: behind the payload of `of`, which had `payload` bytes.
inline Bulk after(Bulk of, size_t payload = 100) {
  of.sequence += static_cast<uint32_t>(of.payload);
  ++of.id;
  ++of.seed;
  of.payload = payload;
  return of;
}

// What the coalescer makes of them, held against the model.
inline Groups plan(const std::vector<Bytes>& packets, bool udp = true) {
  const Groups got = Coalesced(packets, udp).groups();
  CHECK(got == model_plan(packets, udp, wire::Coalescer::kOpenRuns));
  return got;
}

// TCP and UDP over either IP version.
inline std::vector<Bulk> kinds() {
  std::vector<Bulk> out(4);
  out[1].version = out[3].version = 6;
  out[2].protocol = out[3].protocol = 17;
  return out;
}

}  // namespace gwlb::test
