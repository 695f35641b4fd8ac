// Whole frames. Input: link type (one byte, an index), bytes that the capture lacks (two bytes),
// frame. Frames of the plain kind are held against a naive reading; all others against what always
// has to hold.
#include <algorithm>
#include <iterator>
#include <vector>

#include "test/fuzz/fuzz.h"
#include "test/native/oracle/geneve_model.h"
#include "test/native/oracle/inner_model.h"
#include "wire/captured.h"
#include "wire/frame.h"

namespace {

using namespace gwlb;
using base::DropReason;
using wire::Frame;

constexpr uint32_t kLinks[] = {1, 101, 12, 113, 276, 228, 229, 999, 0, 108};

bool inside(uint32_t offset, size_t size) { return offset == Frame::kAbsent || offset < size; }

void check_always(const Frame& frame, const wire::ParseError& error, size_t size) {
  FUZZ_CHECK(inside(frame.ip_offset, size) && inside(frame.udp_offset, size));
  FUZZ_CHECK(inside(frame.geneve_offset, size) && inside(frame.inner_offset, size));
  FUZZ_CHECK(inside(frame.inner_ethernet_offset, size));
  FUZZ_CHECK(frame.has_inner == (frame.inner_offset != Frame::kAbsent));
  FUZZ_CHECK(frame.is_geneve || frame.geneve_offset == Frame::kAbsent);
  FUZZ_CHECK(!frame.has_inner || frame.inner_offset >= frame.geneve_offset + 8);
  FUZZ_CHECK(!frame.has_gateway_options || frame.geneve.option_bytes >= 32);
  if (error.ok()) return;
  FUZZ_CHECK(error.offset <= size && error.layer < wire::Layer::count);
  const bool cut = error.reason == DropReason::outer_truncated ||
                   error.reason == DropReason::inner_truncated ||
                   error.reason == DropReason::geneve_truncated;
  if (cut) FUZZ_CHECK(error.needed > error.had);
}

// An Ethernet frame with a 20-byte IPv4 header, no fragment, UDP to 6081, all lengths true.
bool is_plain(const std::vector<uint8_t>& f) {
  if (f.size() < 42 || f[12] != 8 || f[13] != 0 || f[14] != 0x45 || f[23] != 17) return false;
  const size_t ip = f[16] * 256u + f[17];
  const size_t udp = f[38] * 256u + f[39];
  const bool fragment = (f[20] & 0x3f) != 0 || f[21] != 0;
  return !fragment && ip >= 36 && ip + 14 <= f.size() && udp == ip - 20 && f[36] == 0x17 &&
         f[37] == 0xc1;
}

void check_plain(const std::vector<uint8_t>& f, const Frame& frame, const wire::ParseError& error) {
  const size_t end = 14 + f[16] * 256u + f[17];
  const test::ModelGeneve geneve = test::model_geneve(f.data() + 42, end - 42);
  FUZZ_CHECK(frame.is_geneve && frame.udp_offset == 34 && frame.geneve_offset == 42);
  FUZZ_CHECK(frame.geneve.vni == geneve.vni && frame.geneve.critical == geneve.critical);
  uint64_t sum = 17 + (end - 34);
  for (size_t i = 26; i < end; i += 2) sum += f[i] * 256u + (i + 1 < end ? f[i + 1] : 0);
  while (sum > 0xffff) sum = sum / 65536 + sum % 65536;
  const auto expected = f[40] == 0 && f[41] == 0 ? wire::ChecksumState::zero
                        : sum == 0xffff          ? wire::ChecksumState::ok
                                                 : wire::ChecksumState::bad;
  FUZZ_CHECK(frame.checksum == expected);
  if (geneve.reason != DropReason::none) {
    FUZZ_CHECK(error.reason == geneve.reason);
    return;
  }
  const size_t inner = 42 + geneve.header_length;
  if (geneve.protocol_type != 0x0800 && geneve.protocol_type != 0x86dd) return;
  const int version = geneve.protocol_type == 0x0800 ? 4 : 6;
  if (inner == end || f[inner] / 16 != version) {
    FUZZ_CHECK(!error.ok() && !frame.has_inner);
    return;
  }
  const test::ModelInner model = test::model_inner(f.data() + inner, end - inner);
  const bool zero_length = version == 4 ? f[inner + 2] + f[inner + 3] == 0
                                        : end - inner >= 40 && f[inner + 4] + f[inner + 5] == 0;
  if (end - inner < 4 || zero_length) return;  // "to the end", which a gateway refuses
  FUZZ_CHECK(error.reason == model.reason);
  if (!error.ok()) return;
  FUZZ_CHECK(test::inner_difference(model, frame.inner, f.data() + inner)[0] == '\0');
}

// The frame's bytes as a packet of a host with segmentation offload: its segments have all of its
// payload, and none more than there is room for.
void check_segments(const std::vector<uint8_t>& packet, size_t missing) {
  const auto size = static_cast<uint32_t>(packet.size());
  const wire::CapturedPacket read =
      wire::read_captured(packet.data(), size, size + static_cast<uint32_t>(missing));
  FUZZ_CHECK(read.length <= size + missing && read.headers <= read.length);
  std::vector<uint8_t> whole = packet;
  whole.resize(read.length);
  // What is not there is taken for zeros: headers that were cut are whole now.
  const uint32_t headers = wire::read_captured(whole.data(), read.length, read.length).headers;
  FUZZ_CHECK(read.headers == 0 || read.headers == headers);
  size_t payload = 0;
  const auto segment = static_cast<uint32_t>(missing % 1500 + 1);
  for (uint32_t k = 0; k < 100; ++k) {
    std::vector<uint8_t> to(std::min<size_t>(whole.size(), 0xffff));
    const uint32_t bytes =
        wire::write_captured_segment(whole.data(), read.length, segment, k, to.data());
    if (bytes == 0) {
      FUZZ_CHECK(k == 0 || payload == read.length - headers);
      break;
    }
    FUZZ_CHECK(bytes <= to.size() && bytes <= headers + segment);
    payload += std::min(segment, read.length - headers - k * segment);
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size < 3) return 0;
  const uint32_t link = kLinks[data[0] % std::size(kLinks)];
  const size_t missing = data[1] * 256u + data[2];
  const std::vector<uint8_t> bytes(data + 3, data + size);
  Frame frame;
  const wire::ParseError error = wire::parse_frame(
      bytes.data(), bytes.size(), bytes.size() + missing, link, 0x0108, 6081, &frame);
  check_always(frame, error, bytes.size());
  check_segments(bytes, missing);
  if (link == 1 && missing == 0 && is_plain(bytes)) check_plain(bytes, frame, error);

  // Half the capture never shows more than the whole.
  const std::vector<uint8_t> half(bytes.begin(),
                                  bytes.begin() + static_cast<long>(bytes.size() / 2));
  Frame part;
  const wire::ParseError part_error = wire::parse_frame(
      half.data(), half.size(), bytes.size() + missing, link, 0x0108, 6081, &part);
  check_always(part, part_error, half.size());
  FUZZ_CHECK(!part.is_geneve || frame.is_geneve);
  FUZZ_CHECK(!part.has_inner || frame.has_inner);
  FUZZ_CHECK(!part.has_inner || part.inner_offset == frame.inner_offset);
  FUZZ_CHECK(!part.has_inner || part.inner.total_length == frame.inner.total_length);
  return 0;
}
