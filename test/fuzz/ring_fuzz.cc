// The ring between workers against a queue of copies: pushes, publications and pops in any order.
#include <deque>
#include <memory>
#include <vector>

#include "engine/ring.h"
#include "test/fuzz/fuzz.h"

namespace {

using gwlb::batch::PacketBatch;
using gwlb::engine::PacketKind;
using gwlb::engine::PacketRing;

struct Model {
  struct Packet {
    std::vector<uint8_t> bytes;
    uint32_t address;
    uint16_t port, endpoint;
    uint8_t tos;
    PacketKind kind;
  };
  std::deque<Packet> packets;
  size_t published = 0;
};

constexpr uint32_t kSlotBytes = 300;
constexpr uint32_t kStride = 7 * 64;  // 320 bytes behind the headroom

void push(PacketRing& ring, PacketBatch& batch, Model& model, const uint8_t* op) {
  const uint32_t i = op[1] % batch.capacity();
  const uint32_t length = (op[2] | (op[3] & 1u) << 8) % 320;
  batch.reset(i, length);
  for (uint32_t k = 0; k < length; ++k)
    batch.packet(i)[k] = static_cast<uint8_t>(op[1] + k * op[2]);
  batch.address[i] = 0x01010101u * op[1];
  batch.port[i] = static_cast<uint16_t>(op[2] * 257);
  batch.endpoint[i] = static_cast<uint16_t>(op[3] * 16);
  batch.tos[i] = op[3];
  const auto kind = op[3] & 2 ? PacketKind::datagram : PacketKind::ingress;
  const bool fits = length <= kSlotBytes && model.packets.size() < ring.slots();
  FUZZ_CHECK(ring.push(batch, i, kind) == fits);
  if (!fits) return;
  model.packets.push_back({{batch.packet(i), batch.packet(i) + length},
                           batch.address[i],
                           batch.port[i],
                           batch.endpoint[i],
                           batch.tos[i],
                           kind});
}

void pop(PacketRing& ring, PacketBatch& batch, Model& model) {
  FUZZ_CHECK(ring.empty() == (model.published == 0));
  PacketKind kind{};
  const uint32_t n = ring.pop(batch, &kind);
  FUZZ_CHECK(n == batch.count && n <= model.published);
  for (uint32_t i = 0; i < n; ++i) {
    const Model::Packet& packet = model.packets.front();
    FUZZ_CHECK(packet.kind == kind && batch.pending(i));
    FUZZ_CHECK(std::vector<uint8_t>(batch.packet(i), batch.packet(i) + batch.length[i]) ==
               packet.bytes);
    FUZZ_CHECK(batch.address[i] == packet.address && batch.port[i] == packet.port &&
               batch.endpoint[i] == packet.endpoint && batch.tos[i] == packet.tos);
    model.packets.pop_front();
    --model.published;
  }
  // It stopped for a reason.
  FUZZ_CHECK(n == batch.capacity() || model.published == 0 || model.packets.front().kind != kind);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) return 0;
  const auto ring = PacketRing::create(1u << data[0] % 6, kSlotBytes);
  const auto in = PacketBatch::create(4, kStride);
  const auto out = PacketBatch::create(5, kStride);
  Model model;
  for (size_t at = 1; at + 4 <= size; at += 4) {
    switch (data[at] % 8) {
      case 0:
        ring->publish();
        model.published = model.packets.size();
        break;
      case 1:
        pop(*ring, *out, model);
        break;
      default:
        push(*ring, *in, model, data + at);
    }
  }
  ring->publish();
  model.published = model.packets.size();
  while (!ring->empty()) pop(*ring, *out, model);
  FUZZ_CHECK(model.packets.empty());
  return 0;
}
