// Coalescing against a model that tries every join by cutting its super-packet again; and whatever
// was joined comes back from segmentation byte for byte. Input: a byte (bit 0: UDP too), then
// records of four bytes: flow (bits 0-3), what is odd (bits 4-7), a value for that (2), payload.
// Each record is the packet that its flow would send next, but for what is odd.
#include <vector>

#include "test/fuzz/fuzz.h"
#include "test/native/oracle/coalesce_model.h"
#include "wire/coalesce.h"
#include "wire/segment.h"

namespace {

using namespace gwlb;
using test::Bulk;
using test::Bytes;

constexpr size_t kFlows = 12;
constexpr size_t kPackets = 48;  // the model is slow

Bulk flow(size_t number) {
  Bulk of;
  of.version = number % 4 == 3 ? 6 : 4;
  of.protocol = number % 3 == 2 ? 17 : 6;
  // Some differ in one address, some in one port.
  of.source += number % 2;
  of.destination_port = static_cast<uint16_t>(5000 + number / 2);
  if (number % 5 == 1) of.tcp_options = test::timestamps();
  return of;
}

void set_fields(Bulk& packet, uint32_t odd, uint32_t value) {
  const auto low = static_cast<uint8_t>(value);
  if (odd == 1) packet.flags = low;
  if (odd == 2) packet.flags |= 8;
  if (odd == 3) packet.id = static_cast<uint16_t>(packet.id + value);
  if (odd == 4) packet.sequence += value - 0x8000;
  if (odd == 5) packet.tos = low;
  if (odd == 6) packet.ttl = low;
  if (odd == 7) packet.fragment = static_cast<uint16_t>(value);
  if (odd == 8) packet.tcp_options = Bytes(low % 11 * 4, static_cast<uint8_t>(value >> 8));
  if (odd == 9) packet.ip_options = Bytes(low % 11 * 4, static_cast<uint8_t>(value >> 8));
  if (odd == 10) packet.extension = {packet.protocol, 0, 1, 4, 0, 0, 0, 0};
  if (odd == 10) packet.extension_kind = low;
  if (odd == 11) packet.payload += value;
  if (odd == 12) packet.window = static_cast<uint16_t>(value);
}

// Whether the packet has what its first byte says, which may be one that was changed.
bool has_headers(const Bytes& packet, size_t transport) {
  const size_t header = packet[0] >> 4 == 4 ? (packet[0] & 15u) * 4u : 40;
  return packet.size() >= transport + 20 && packet.size() >= header;
}

void set_bytes(Bytes& packet, size_t transport, uint8_t protocol, uint32_t odd, uint32_t value) {
  const size_t at = (value >> 8) % packet.size();
  if (odd == 13) packet[at] ^= static_cast<uint8_t>(value);  // mostly a wrong checksum
  if (odd == 14) {
    packet[at] ^= static_cast<uint8_t>(value);
    if (has_headers(packet, transport)) test::fix_checksums(packet, transport, protocol);
  }
  if (odd == 15) packet.resize(value % (packet.size() + 9));
}

std::vector<Bytes> packets_of(const uint8_t* data, size_t size) {
  std::vector<Bulk> flows;
  for (size_t k = 0; k < kFlows; ++k) flows.push_back(flow(k));
  std::vector<Bytes> out;
  for (size_t i = 1; i + 4 <= size && out.size() < kPackets; i += 4) {
    Bulk& of = flows[data[i] % 16 % kFlows];
    const uint32_t odd = data[i] >> 4;
    const uint32_t value = data[i + 1] * 256u + data[i + 2];
    of.payload = data[i + 3];
    of.seed = static_cast<uint8_t>(i);
    Bulk packet = of;
    set_fields(packet, odd, value);
    out.push_back(test::bulk_packet(packet));
    set_bytes(out.back(), test::bulk_transport(packet), packet.protocol, odd, value);
    of.sequence += static_cast<uint32_t>(of.payload);
    ++of.id;
  }
  return out;
}

// Returns run `k` as it is written.
Bytes written(const wire::Coalescer& plan, uint32_t k, std::vector<Bytes>& packets) {
  const wire::CoalescedRun& run = plan.run(k);
  const uint16_t* numbers = plan.order() + run.first;
  const auto span = [&](uint32_t i) {
    Bytes& packet = packets[numbers[i]];
    return wire::PacketSpan{packet.data(), static_cast<uint32_t>(packet.size())};
  };
  if (run.count > 1) wire::Coalescer::write_headers(run, span(0), span(run.count - 1u));
  Bytes out = packets[numbers[0]];
  for (uint32_t i = 1; i < run.count; ++i) {
    const Bytes& packet = packets[numbers[i]];
    test::append(out, Bytes(packet.begin() + run.headers, packet.end()));
  }
  return out;
}

void check_run(const wire::Coalescer& plan, uint32_t k, const std::vector<Bytes>& packets,
               const std::vector<size_t>& group) {
  const wire::CoalescedRun& run = plan.run(k);
  std::vector<Bytes> changed = packets;
  const Bytes super = written(plan, k, changed);
  FUZZ_CHECK(super.size() == run.length);
  if (run.count == 1) {
    FUZZ_CHECK(super == packets[group[0]]);
    return;
  }
  wire::SuperPacket parsed;
  FUZZ_CHECK(wire::parse_super_packet(super.data(), run.length, run.segment, &parsed));
  FUZZ_CHECK(parsed.count == run.count && parsed.headers == run.headers);
  FUZZ_CHECK(parsed.transport == run.transport && parsed.protocol == run.protocol);
  for (uint32_t i = 0; i < run.count; ++i) {
    Bytes segment(parsed.headers + wire::segment_payload(parsed, i));
    wire::write_segment(parsed, i, segment.data());
    FUZZ_CHECK(segment == packets[group[i]]);
  }
  // Whoever takes it completes its checksum: then it is a packet that is right.
  Bytes complete = super;
  FUZZ_CHECK(wire::complete_checksum(complete.data(), run.length, run.transport,
                                     run.protocol == 6 ? 16 : 6));
  Bytes right = super;
  test::fix_checksums(right, run.transport, run.protocol);
  const size_t field = run.transport + (run.protocol == 6 ? 16u : 6u);
  // Completion writes 0xffff for TCP's 0.
  if (complete[field] == 0xff && complete[field + 1] == 0xff) {
    test::put16(right, field, 0xffff);
  }
  FUZZ_CHECK(complete == right);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) return 0;
  const bool udp = (data[0] & 1) != 0;
  std::vector<Bytes> packets = packets_of(data, size);
  std::vector<wire::PacketSpan> spans;
  for (Bytes& packet : packets) {
    packet.shrink_to_fit();
    spans.push_back({packet.data(), static_cast<uint32_t>(packet.size())});
  }
  const std::vector<Bytes> before = packets;
  wire::Coalescer plan;
  plan.plan(spans.data(), static_cast<uint32_t>(spans.size()), udp);
  FUZZ_CHECK(packets == before);
  const auto model = test::model_plan(packets, udp, wire::Coalescer::kOpenRuns);
  FUZZ_CHECK(plan.run_count() == model.size());
  uint32_t at = 0;
  for (uint32_t k = 0; k < plan.run_count(); ++k) {
    const wire::CoalescedRun& run = plan.run(k);
    FUZZ_CHECK(run.first == at && run.count == model[k].size());
    for (uint32_t i = 0; i < run.count; ++i) FUZZ_CHECK(plan.order()[at + i] == model[k][i]);
    at += run.count;
    check_run(plan, k, packets, model[k]);
  }
  FUZZ_CHECK(at == packets.size());
  return 0;
}
