// MSS options lowered, against a model that looks for them byte by byte and computes checksums from
// nothing. Input: MSS (2), flags (bit 0: mend the checksum, bit 1: leave it to an offload), packet.
#include <vector>

#include "test/fuzz/fuzz.h"
#include "test/native/bulk_rig.h"
#include "test/native/oracle/fragment_model.h"
#include "wire/mss.h"

namespace {

using namespace gwlb;
using test::Bytes;

// The segment's checksum over pseudo header and all, as it is in the packet: 0 where it is right.
uint16_t residue(const Bytes& packet, size_t transport) {
  Bytes all = test::pseudo_header(packet, 6, packet.size() - transport);
  for (size_t i = transport; i < packet.size(); ++i) all.push_back(packet[i]);
  return test::ones_complement(all.data(), all.size());
}

uint16_t pseudo_sum(const Bytes& packet, size_t transport) {
  const Bytes pseudo = test::pseudo_header(packet, 6, packet.size() - transport);
  return static_cast<uint16_t>(~test::ones_complement(pseudo.data(), pseudo.size()));
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size < 4) return 0;
  const uint32_t mss = data[0] * 256u + data[1];
  Bytes packet(data + 3, data + size);
  packet.shrink_to_fit();
  wire::InnerPacket inner;
  if (!wire::parse_inner(packet.data(), packet.size(), &inner).ok() || inner.protocol != 6 ||
      (inner.flags & wire::kHasPorts) == 0) {
    return 0;
  }
  const size_t at = inner.transport_offset;
  packet.resize(inner.total_length);
  packet.shrink_to_fit();
  const bool whole = packet.size() >= at + 20;
  const bool fragment = (inner.flags & wire::kFirstFragment) != 0;
  if (whole && (data[2] & 1) != 0) {
    const uint32_t ip = test::get16(packet, 10);
    test::fix_checksums(packet, at, 6);
    if (packet[0] / 16 == 4) test::put16(packet, 10, static_cast<uint16_t>(ip));
  } else if (whole && (data[2] & 2) != 0) {
    test::put16(packet, at + 16, pseudo_sum(packet, at));
  }
  FUZZ_CHECK(wire::parse_inner(packet.data(), packet.size(), &inner).ok());

  const Bytes before = packet;
  const bool lowered = wire::clamp_mss(packet.data(), inner, static_cast<uint16_t>(mss));
  Bytes expected = before;
  bool lower = false;
  if (whole) {
    for (const size_t place : test::model_mss_places(before, at)) {
      if (test::get16(before, place) <= mss) continue;
      test::put16(expected, place, static_cast<uint16_t>(mss));
      lower = true;
    }
  }
  FUZZ_CHECK(lowered == lower);
  // All but the checksum.
  if (whole) test::put16(expected, at + 16, static_cast<uint16_t>(test::get16(packet, at + 16)));
  FUZZ_CHECK(packet == expected);
  if (!lower) {
    FUZZ_CHECK(packet == before);
    return 0;
  }
  const uint16_t field = static_cast<uint16_t>(test::get16(before, at + 16));
  const bool offload = !fragment && residue(before, at) != 0 && field == pseudo_sum(before, at);
  if (offload) {
    FUZZ_CHECK(test::get16(packet, at + 16) == field);
  } else {
    // As right or as wrong as it was. (0 and 0xffff are one number to a checksum.)
    FUZZ_CHECK(residue(packet, at) % 0xffff == residue(before, at) % 0xffff);
  }
  return 0;
}
