// close(open(datagram)) against a model: what a plain reading of RFC 8926 accepts comes back byte
// for byte, with its own ports and header; everything else is a drop that stays one. Then the same
// with a rewrite in between. The packets before and behind it in the batch stay untouched.
//
//   input: outer TOS | mode | bytes of the datagram, 16 bits | datagram ... | rewrite ...
//   mode bit 0: the datagram's bytes are instead the choices for building a valid one
//   mode bit 1: the inspector drops it
#include <algorithm>
#include <cstring>
#include <memory>
#include <vector>

#include "appliance/appliance.h"
#include "test/fuzz/fuzz.h"
#include "test/native/datagrams.h"

namespace {

using gwlb::appliance::Appliance;
using gwlb::appliance::Opened;
using gwlb::batch::PacketBatch;
using gwlb::batch::Verdict;
using gwlb::test::Bytes;
using gwlb::test::operator+;

uint16_t read16(const Bytes& b, size_t at) { return static_cast<uint16_t>(b[at] << 8 | b[at + 1]); }

// Bytes in front of the inner IP packet and its version by the header, or version 0 where the
// header is not one to open.
struct Model {
  size_t header_bytes = 0;
  uint8_t version = 0;
};

uint8_t version_of(uint16_t ether_type) {
  return ether_type == 0x0800 ? 4 : ether_type == 0x86dd ? 6 : 0;
}

bool has_gateway_options(const Bytes& b, size_t end) {
  bool found[4] = {};
  size_t at = 8;
  while (at < end) {
    if (end - at < 4) return false;
    const size_t length = (b[at + 3] & 0x1fu) * 4;
    if (length > end - at - 4) return false;
    const uint8_t type = b[at + 2];
    if ((type & 0x80) != 0) return false;
    if (read16(b, at) == 0x0108 && type >= 1 && type <= 3) {
      if (length != (type == 3 ? 4u : 8u)) return false;
      found[type] = true;
    }
    at += 4 + length;
  }
  return found[1] && found[2] && found[3];
}

Model read_header(const Bytes& b) {
  if (b.size() < 8 || b[0] >> 6 != 0 || (b[1] & 0x80) != 0) return {};
  size_t at = 8 + (b[0] & 0x3fu) * 4;
  if (at > b.size() || !has_gateway_options(b, at)) return {};
  uint16_t type = read16(b, 2);
  if (type == 0x6558) {
    if (b.size() - at < 14) return {};
    at += 12;
    for (int tags = 0; tags < 2 && (read16(b, at) == 0x8100 || read16(b, at) == 0x88a8); ++tags) {
      if (b.size() - at < 6) return {};
      at += 4;
    }
    type = read16(b, at);
    at += 2;
  }
  return {at, version_of(type)};
}

// A valid datagram, chosen by bytes.
Bytes build(const Bytes& choices) {
  size_t at = 0;
  const auto next = [&]() -> uint8_t { return at < choices.size() ? choices[at++] : 0; };
  std::vector<gwlb::test::Option> options = gwlb::test::gateway_options(next() * 0x01010101u);
  std::rotate(options.begin(), options.begin() + next() % 3, options.end());
  size_t room = 252 - 32;
  for (int extra = next() % 5; extra > 0; --extra) {
    const size_t length = std::min<size_t>(next() % 32 * 4, room < 4 ? 0 : (room - 4) / 4 * 4);
    if (room < 4) break;
    room -= 4 + length;
    gwlb::test::Option option{static_cast<uint16_t>(0x0100 + next()),
                              static_cast<uint8_t>(4 + next() % 124), Bytes(length, next())};
    options.insert(options.begin() + next() % (options.size() + 1), option);
  }
  const bool six = next() % 2 != 0;
  const uint16_t type = six ? 0x86dd : 0x0800;
  const Bytes transport = gwlb::test::udp(next(), next(), next() * 6);
  const Bytes packet = six ? gwlb::test::ipv6(next(), next(), 17, transport)
                           : gwlb::test::ipv4(next(), next(), 17, transport);
  const bool reserved = next() % 2 != 0;
  switch (next() % 4) {
    case 0:
      return gwlb::test::geneve(0x6558, options, 9, reserved) + gwlb::test::ethernet(type) + packet;
    case 1:
      return gwlb::test::geneve(0x6558, options, 9, reserved) +
             gwlb::test::ethernet(type, {next(), next()}) + packet;
    default:
      return gwlb::test::geneve(type, options, 0, reserved) + packet;
  }
}

// The ECN bits, and with them IPv4's checksum, may have changed.
void forget_ecn(Bytes* b, size_t ip) {
  if ((*b)[ip] >> 4 == 4) {
    (*b)[ip + 1] &= 0xfc;
    (*b)[ip + 10] = (*b)[ip + 11] = 0;
  } else {
    (*b)[ip + 1] &= 0xcf;
  }
}

struct Bench {
  std::unique_ptr<PacketBatch> batch = PacketBatch::create(3, gwlb::base::kSlotStrideStandard);
  std::unique_ptr<Appliance> appliance =
      std::make_unique<Appliance>(gwlb::appliance::ApplianceConfig{});
  const Bytes neighbour =
      gwlb::test::datagram(gwlb::test::ipv4(1, 2, 17, gwlb::test::udp(3, 4, 2112 - 68)));

  void put(uint32_t i, const Bytes& bytes, uint8_t tos) {
    batch->reset(i, static_cast<uint32_t>(bytes.size()));
    if (!bytes.empty()) std::memcpy(batch->packet(i), bytes.data(), bytes.size());
    batch->address[i] = 0x0a000001;
    batch->port[i] = static_cast<uint16_t>(40000 + i);
    batch->tos[i] = tos;
  }
  Bytes bytes(uint32_t i) const { return {batch->packet(i), batch->packet(i) + batch->length[i]}; }
  void open(const Bytes& datagram, uint8_t tos) {
    batch->count = 3;
    put(0, neighbour, 0);
    put(1, datagram, tos);
    put(2, neighbour, 0);
    appliance->open(*batch);
  }
  void close() {
    appliance->close(*batch, 6081);
    for (const uint32_t i : {0u, 2u}) FUZZ_CHECK(bytes(i) == neighbour);
    for (uint32_t i = 0; i < 3; ++i) {
      if (batch->verdict[i] == static_cast<uint8_t>(Verdict::drop)) {
        FUZZ_CHECK(batch->reason[i] != 0 && batch->reason[i] < gwlb::base::kDropReasons);
        continue;
      }
      FUZZ_CHECK(batch->verdict[i] == static_cast<uint8_t>(Verdict::forward));
      FUZZ_CHECK(batch->port[i] == 6081 && batch->source_port[i] == 40000 + i);
      FUZZ_CHECK(batch->address[i] == 0x0a000001);
    }
  }
  bool dropped() const { return batch->verdict[1] == static_cast<uint8_t>(Verdict::drop); }
};

// What has to be in slot 1 after close(); empty where it has to be dropped for its header or
// packet.
Bytes expected_of(const Bytes& datagram, const Model& model) {
  if (model.version == 0) return {};
  gwlb::wire::InnerPacket inner;
  const auto error = gwlb::wire::parse_inner(datagram.data() + model.header_bytes,
                                             datagram.size() - model.header_bytes, &inner);
  if (!error.ok() || inner.version != model.version) return {};
  return datagram;
}

void set_version(Bytes* header, uint8_t version) {
  const uint16_t type = version == 4 ? 0x0800 : 0x86dd;
  gwlb::test::put16(*header, read16(*header, 2) == 0x6558 ? header->size() - 2 : 2, type);
}

void check_rewrite(Bench& bench, const Bytes& datagram, const Model& model, const Bytes& bytes) {
  bench.open(datagram, 0);
  const std::unique_ptr<uint8_t[]> exact(new uint8_t[bytes.size()]);
  std::copy(bytes.begin(), bytes.end(), exact.get());
  gwlb::wire::InnerPacket inner;
  const bool fits = model.header_bytes + bytes.size() <= bench.batch->slot_bytes();
  const bool packet = gwlb::wire::parse_inner(exact.get(), bytes.size(), &inner).ok() &&
                      inner.total_length == bytes.size();
  const bool done =
      bench.appliance->rewrite(*bench.batch, 1, exact.get(), static_cast<uint32_t>(bytes.size()));
  FUZZ_CHECK(done == (fits && packet));
  const Opened& opened = bench.appliance->opened(1);
  FUZZ_CHECK(opened.inner.source > bench.batch->packet(1));
  FUZZ_CHECK(opened.inner.source < bench.batch->packet(1) + bench.batch->length[1]);
  bench.close();
  if (!done) {
    FUZZ_CHECK(bench.bytes(1) == expected_of(datagram, model));
    return;
  }
  Bytes header(datagram.begin(),
               datagram.begin() + static_cast<std::ptrdiff_t>(model.header_bytes));
  if (inner.version != model.version) set_version(&header, inner.version);
  FUZZ_CHECK(bench.bytes(1) == header + bytes);
}

// An answer is a packet of its own from the other end, behind the header as received, and no longer
// than what it may be; otherwise nothing has changed.
void check_reject(Bench& bench, const Bytes& datagram, const Model& model) {
  bench.open(datagram, 0);
  const gwlb::wire::InnerPacket before = bench.appliance->opened(1).inner;
  const size_t address_bytes = before.version == 4 ? 4 : 16;
  const Bytes source(before.source, before.source + address_bytes);
  const bool done = bench.appliance->reject(*bench.batch, 1);
  const Opened& opened = bench.appliance->opened(1);
  FUZZ_CHECK(opened.rejected == done && !bench.appliance->reject(*bench.batch, 1));
  if (done) {
    FUZZ_CHECK(opened.inner.version == before.version);
    FUZZ_CHECK(std::equal(source.begin(), source.end(), opened.inner.destination));
    FUZZ_CHECK(opened.length <= std::min(before.total_length + 48, 1280u));
  }
  bench.close();
  const Bytes returned = bench.bytes(1);
  if (!done) {
    FUZZ_CHECK(returned == expected_of(datagram, model));
    return;
  }
  FUZZ_CHECK(std::equal(datagram.begin(),
                        datagram.begin() + static_cast<std::ptrdiff_t>(model.header_bytes),
                        returned.begin()));
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static Bench bench;
  if (size < 4) return 0;
  const uint8_t tos = data[0];
  const bool built = (data[1] & 1) != 0;
  const bool verdict = (data[1] & 2) != 0;
  const size_t length = std::min<size_t>(static_cast<size_t>(data[2] << 8 | data[3]), size - 4);
  Bytes datagram(data + 4, data + 4 + length);
  const Bytes rewrite(data + 4 + length, data + size);
  if (built) datagram = build(datagram);
  if (datagram.size() > bench.batch->slot_bytes()) return 0;

  const Model model = read_header(datagram);
  Bytes expected = expected_of(datagram, model);
  FUZZ_CHECK(!built || expected == datagram);
  bench.open(datagram, tos);
  const bool marked_wrongly =
      bench.batch->reason[1] == static_cast<uint8_t>(gwlb::base::DropReason::ecn_not_capable);
  FUZZ_CHECK(!marked_wrongly || ((tos & 3) == 3 && !expected.empty()));
  FUZZ_CHECK(bench.dropped() == (expected.empty() || marked_wrongly));
  if (verdict) bench.batch->verdict[1] = static_cast<uint8_t>(Verdict::drop);
  bench.close();
  FUZZ_CHECK(bench.dropped() == (expected.empty() || marked_wrongly || verdict));
  if (bench.dropped()) return 0;

  Bytes returned = bench.bytes(1);
  FUZZ_CHECK(returned.size() == expected.size());
  if ((tos & 3) != 0) {
    forget_ecn(&returned, model.header_bytes);
    forget_ecn(&expected, model.header_bytes);
  }
  FUZZ_CHECK(returned == expected);
  check_rewrite(bench, datagram, model, rewrite);
  check_reject(bench, datagram, model);
  return 0;
}
