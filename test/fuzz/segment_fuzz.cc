// Segmentation against a model that builds every segment from scratch; and checksums completed
// anywhere. Input: flags (bit 0: make the packet's lengths fit), payload bytes of a segment (2),
// packet.
#include <vector>

#include "test/fuzz/fuzz.h"
#include "test/native/oracle/segment_model.h"
#include "wire/segment.h"

namespace {

using namespace gwlb;
using test::Bytes;

constexpr uint8_t kMendLengths = 1;

void mend_lengths(Bytes& packet) {
  int protocol = 0;
  if (packet.size() >= 20 && packet[0] >> 4 == 4) {
    test::put16(packet, 2, static_cast<uint16_t>(packet.size()));
  } else if (packet.size() >= 40 && packet[0] >> 4 == 6) {
    test::put16(packet, 4, static_cast<uint16_t>(packet.size() - 40));
  }
  const size_t at = test::model_super_transport(packet, &protocol);
  if (at == 0 || protocol != 17 || packet.size() < at + 8) return;
  test::put16(packet, at + 4, static_cast<uint16_t>(packet.size() - at));
}

void check_segment(const wire::SuperPacket& super, const Bytes& packet, uint32_t segment,
                   uint32_t k) {
  const Bytes expected = test::model_segment(packet, segment, k);
  Bytes got(super.headers + wire::segment_payload(super, k));
  FUZZ_CHECK(wire::write_segment(super, k, got.data()) == expected.size());
  FUZZ_CHECK(got == expected);
  Bytes headers(super.headers);
  wire::write_segment_headers(super, k, headers.data());
  FUZZ_CHECK(std::equal(headers.begin(), headers.end(), expected.begin()));
}

void check_completion(Bytes packet, uint32_t start, uint32_t offset) {
  const Bytes before = packet;
  const auto length = static_cast<uint32_t>(packet.size());
  const bool inside = uint64_t{start} + offset + 2 <= length;
  FUZZ_CHECK(wire::complete_checksum(packet.data(), length, start, offset) == inside);
  if (inside) {
    const uint16_t sum = test::ones_complement(before.data() + start, length - start);
    Bytes expected = before;
    test::put16(expected, start + offset, sum == 0 ? 0xffff : sum);
    FUZZ_CHECK(packet == expected);
  } else {
    FUZZ_CHECK(packet == before);
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size < 3) return 0;
  const uint32_t segment = data[1] * 256u + data[2];
  // A vector of exactly that size: what reads behind it is seen.
  Bytes packet(data + 3, data + size);
  packet.shrink_to_fit();
  check_completion(packet, data[1], data[2]);
  if ((data[0] & kMendLengths) != 0) mend_lengths(packet);

  wire::SuperPacket super;
  const bool ok = wire::parse_super_packet(packet.data(), static_cast<uint32_t>(packet.size()),
                                           segment, &super);
  const test::ModelSuper model = test::model_super(packet, segment);
  FUZZ_CHECK(ok == model.ok);
  if (!ok) return 0;
  FUZZ_CHECK(super.packet == packet.data() && super.length == packet.size());
  FUZZ_CHECK(super.transport == model.transport && super.headers == model.headers);
  FUZZ_CHECK(super.protocol == (model.tcp ? 6 : 17) && super.version == packet[0] >> 4);
  FUZZ_CHECK(super.segment == segment);
  FUZZ_CHECK(super.count == test::model_segment_count(packet, segment));
  for (uint32_t k = 0; k < super.count; ++k) {
    // Of many the first and the last few.
    if (k < 40 || k + 8 > super.count) check_segment(super, packet, segment, k);
  }
  return 0;
}
