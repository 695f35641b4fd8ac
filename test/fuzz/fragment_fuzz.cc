// IPv4 packets cut into fragments, against a model that cuts byte by byte and one that puts them
// together again. Input: MTU (2), flags (bit 0: mend version and lengths), packet.
#include <vector>

#include "test/fuzz/fuzz.h"
#include "test/native/oracle/fragment_model.h"
#include "wire/fragment.h"
#include "wire/inner.h"

namespace {

using namespace gwlb;
using test::Bytes;

void mend(Bytes& packet) {
  if (packet.size() < 20) return;
  packet[0] = static_cast<uint8_t>(0x40 | std::max(5, packet[0] % 16));
  test::put16(packet, 2, static_cast<uint16_t>(packet.size()));
}

// Whether RFC 791 lets a router cut the packet into pieces for this MTU.
bool may_be_cut(const Bytes& packet, size_t mtu) {
  const size_t header = packet[0] % 16 * 4u;
  const uint32_t field = test::get16(packet, 6);
  const bool room = mtu >= header + 8 && (mtu - header) / 8 * 8 < packet.size() - header;
  return packet[0] / 16 == 4 && (field & 0x4000) == 0 && room &&
         field % 8192 * 8 + packet.size() <= 65535;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size < 4 || size > 65535) return 0;
  const uint32_t mtu = data[0] * 256u + data[1];
  Bytes packet(data + 3, data + size);
  if ((data[2] & 1) != 0) mend(packet);
  packet.shrink_to_fit();
  wire::InnerPacket inner;
  if (!wire::parse_inner(packet.data(), packet.size(), &inner).ok()) return 0;
  packet.resize(inner.total_length);
  packet.shrink_to_fit();

  const auto length = static_cast<uint32_t>(packet.size());
  const uint32_t payload = wire::fragment_payload(packet.data(), mtu);
  wire::Ipv4Fragments cut;
  const bool cuts = wire::parse_fragments(packet.data(), length, payload, &cut);
  FUZZ_CHECK(cuts == may_be_cut(packet, mtu));
  if (!cuts) return 0;
  const std::vector<Bytes> expected = test::model_fragments(packet, payload);
  FUZZ_CHECK(cut.count == expected.size());
  std::vector<Bytes> got;
  for (uint32_t k = 0; k < cut.count; ++k) {
    Bytes one(wire::fragment_headers(cut, k));
    wire::write_fragment_header(cut, k, one.data());
    const uint8_t* from = wire::fragment_payload_at(cut, k);
    test::append(one, Bytes(from, from + wire::fragment_payload(cut, k)));
    FUZZ_CHECK(one == expected[k]);
    FUZZ_CHECK(one.size() <= mtu);
    FUZZ_CHECK(!cut.even() || k + 1 == cut.count || one.size() == cut.headers + payload);
    got.push_back(one);
  }
  // The checksum of what came may have been wrong; what is put together has a right one. A piece of
  // a datagram is no whole one either way.
  if (test::get16(packet, 6) % 0x4000 != 0) return 0;
  Bytes whole = test::model_reassembled(got);
  test::put16(whole, 10, static_cast<uint16_t>(test::get16(packet, 10)));
  FUZZ_CHECK(whole == packet);
  return 0;
}
