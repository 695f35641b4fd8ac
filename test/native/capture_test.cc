#include "io/capture.h"

#include <memory>

#include "test/native/wire_rig.h"

namespace gwlb::test {
namespace {

using io::CapturedFrame;
using io::CaptureReader;

// Writes numbers in the byte order of a file.
class Writer {
 public:
  explicit Writer(bool big) : big_(big) {}
  Writer& u8(uint8_t v) {
    bytes_.push_back(v);
    return *this;
  }
  Writer& u16(uint16_t v) { return number(v, 2); }
  Writer& u32(uint32_t v) { return number(v, 4); }
  Writer& u64(uint64_t v) { return number(v, 8); }
  Writer& raw(const Bytes& v) {
    bytes_.insert(bytes_.end(), v.begin(), v.end());
    return *this;
  }
  Writer& pad() {
    while (bytes_.size() % 4 != 0) bytes_.push_back(0);
    return *this;
  }
  // A pcapng block around `body`.
  Writer& block(uint32_t type, Writer& body) {
    const auto length = static_cast<uint32_t>(body.pad().bytes().size() + 12);
    return u32(type).u32(length).raw(body.bytes()).u32(length);
  }
  const Bytes& bytes() const { return bytes_; }

 private:
  Writer& number(uint64_t v, int width) {
    for (int i = 0; i < width; ++i) {
      bytes_.push_back(static_cast<uint8_t>(v >> 8 * (big_ ? width - 1 - i : i)));
    }
    return *this;
  }
  Bytes bytes_;
  bool big_;
};

constexpr uint32_t kMicro = 0xa1b2c3d4;
constexpr uint32_t kNano = 0xa1b23c4d;

Bytes pcap(bool big, uint32_t magic, uint32_t link = 1) {
  return Writer(big).u32(magic).u16(2).u16(4).u64(0).u32(65535).u32(link).bytes();
}
Bytes record(bool big, uint32_t seconds, uint32_t fraction, const Bytes& data, uint32_t length) {
  return Writer(big)
      .u32(seconds)
      .u32(fraction)
      .u32(static_cast<uint32_t>(data.size()))
      .u32(length)
      .raw(data)
      .bytes();
}
Bytes section(bool big) {
  Writer body(big);
  body.u32(0x1a2b3c4d).u16(1).u16(0).u64(~uint64_t{0});
  return Writer(big).block(0x0a0d0d0a, body).bytes();
}
// `options` in the file's byte order.
Bytes interface(bool big, uint16_t link, uint32_t snap = 0, const Bytes& options = {}) {
  Writer body(big);
  body.u16(link).u16(0).u32(snap).raw(options);
  return Writer(big).block(1, body).bytes();
}
Bytes enhanced(bool big, uint32_t number, uint64_t time, const Bytes& data, uint32_t length) {
  Writer body(big);
  body.u32(number).u32(static_cast<uint32_t>(time >> 32)).u32(static_cast<uint32_t>(time));
  body.u32(static_cast<uint32_t>(data.size())).u32(length).raw(data);
  return Writer(big).block(6, body).bytes();
}
Bytes resolution(bool big, uint8_t value) {
  return Writer(big).u16(9).u16(1).u8(value).pad().bytes();
}

struct Read {
  bool opened = false;
  std::string error;
  std::vector<CapturedFrame> frames;  // `data` points into a block that is gone: see `bytes`
  std::vector<Bytes> bytes;
};

// What is read of the file when it comes in windows of which none ends where a record does, if it
// can be avoided.
void check_windows(const Bytes& file, const Read& whole, size_t step) {
  size_t end = std::min<size_t>(file.size(), 64);
  auto window = std::make_unique<Exact>(Bytes(file.begin(), file.begin() + end));
  CaptureReader reader;
  std::string error;
  REQUIRE(CaptureReader::open(window->data(), window->size(), end == file.size(), &reader, &error));
  size_t n = 0;
  CapturedFrame frame;
  for (;;) {
    while (reader.next(&frame)) {
      REQUIRE(n < whole.frames.size());
      CHECK_EQ(frame.time_ns, whole.frames[n].time_ns);
      CHECK_EQ(frame.length, whole.frames[n].length);
      CHECK_EQ(frame.link, whole.frames[n].link);
      CHECK(Bytes(frame.data, frame.data + frame.captured) == whole.bytes[n++]);
    }
    if (!reader.wants_more()) break;
    REQUIRE(end < file.size());
    const size_t from = end - reader.unread();
    end = std::min(file.size(), end + step);
    auto next = std::make_unique<Exact>(Bytes(file.begin() + from, file.begin() + end));
    reader.feed(next->data(), next->size(), end == file.size());
    window = std::move(next);
  }
  CHECK_EQ(n, whole.frames.size());
  CHECK_EQ(reader.error(), whole.error);
}

Read read(const Bytes& file) {
  Exact exact(file);
  CaptureReader reader;
  Read out;
  out.opened = CaptureReader::open(exact.data(), exact.size(), true, &reader, &out.error);
  if (!out.opened) return out;
  CapturedFrame frame;
  while (reader.next(&frame)) {
    CHECK(frame.length >= frame.captured);
    out.bytes.emplace_back(frame.data, frame.data + frame.captured);
    out.frames.push_back(frame);
  }
  CHECK(!reader.next(&frame));
  out.error = reader.error();
  for (const size_t step : {1, 7, 100}) check_windows(file, out, step);
  return out;
}

const Bytes kData = hex("0102030405");

TEST(pcap_in_both_orders_and_resolutions) {
  for (const bool big : {false, true}) {
    for (const uint32_t magic : {kMicro, kNano}) {
      const Read got = read(pcap(big, magic, 113) + record(big, 1700000000, 123456, kData, 1500) +
                            record(big, 1700000001, 0, {}, 0));
      CHECK(got.error.empty());
      REQUIRE(got.frames.size() == 2);
      CHECK_EQ(got.frames[0].time_ns,
               1700000000000000000u + (magic == kMicro ? 123456000u : 123456u));
      CHECK_EQ(got.frames[0].length, 1500);
      CHECK_EQ(got.frames[0].link, 113);
      CHECK(got.bytes[0] == kData);
      CHECK_EQ(got.frames[1].captured, 0);
    }
  }
}

TEST(the_link_field_without_its_frame_check_bits) {
  const Read got = read(pcap(false, kMicro, 0xf4000001) + record(false, 1, 2, kData, 5));
  REQUIRE(got.frames.size() == 1);
  CHECK_EQ(got.frames[0].link, 1);
}

TEST(a_length_below_what_was_captured_is_corrected) {
  const Read got = read(pcap(false, kMicro) + record(false, 1, 2, kData, 0));
  REQUIRE(got.frames.size() == 1);
  CHECK_EQ(got.frames[0].length, 5);
}

TEST(pcap_cut_anywhere_keeps_what_came_before) {
  const Bytes head = pcap(true, kMicro);
  const Bytes one = record(true, 1, 2, kData, 5);
  const Bytes file = head + one + one;
  for (size_t length = 0; length <= file.size(); ++length) {
    const Read got = read(Bytes(file.begin(), file.begin() + static_cast<std::ptrdiff_t>(length)));
    CHECK_EQ(got.opened, length >= head.size());
    if (!got.opened) {
      CHECK(!got.error.empty());
      continue;
    }
    const size_t behind = length - head.size();
    CHECK_EQ(got.frames.size(), behind / one.size());
    CHECK_EQ(got.error.empty(), behind % one.size() == 0);
    if (!got.error.empty())
      CHECK(got.error.find("frame " + std::to_string(got.frames.size() + 1)) == 0);
  }
}

TEST(hostile_record_lengths) {
  for (const uint32_t length : {6u, 0x7fffffffu, 0x80000000u, 0xfffffff0u, 0xffffffffu}) {
    const Bytes bad = Writer(false).u32(1).u32(2).u32(length).u32(5).raw(kData).bytes();
    const Read got = read(pcap(false, kMicro) + record(false, 1, 2, kData, 5) + bad);
    CHECK_EQ(got.frames.size(), 1);
    CHECK(!got.error.empty());
  }
}

TEST(no_capture_files) {
  struct Row {
    Bytes file;
    const char* says;
  };
  for (const Row& row :
       {Row{{}, "received 0"}, Row{hex("d4c3b2"), "received 3"},
        Row{hex("1f8b0800 00000000"), "compressed"}, Row{hex("7b226672 616d6522"), "0x7b226672"},
        Row{hex("d4c3b2a1 0100 0400") + Bytes(16), "expected 2, received 1"},
        Row{hex("0a0d0d0a 1c000000 00000000") + Bytes(20), "byte-order mark"}}) {
    const Read got = read(row.file);
    CHECK(!got.opened);
    CHECK(got.error.find(row.says) != std::string::npos);
  }
}

TEST(pcapng_in_both_orders) {
  for (const bool big : {false, true}) {
    const Read got = read(section(big) + interface(big, 1) + interface(big, 113) +
                          enhanced(big, 1, 1700000000123456, kData, 1500) +
                          enhanced(big, 0, 1700000000123457, hex("aabbccdd"), 4));
    CHECK(got.error.empty());
    REQUIRE(got.frames.size() == 2);
    CHECK_EQ(got.frames[0].link, 113);
    CHECK_EQ(got.frames[0].time_ns, 1700000000123456000u);
    CHECK_EQ(got.frames[0].length, 1500);
    CHECK(got.bytes[0] == kData);
    CHECK_EQ(got.frames[1].link, 1);
    CHECK(got.bytes[1] == hex("aabbccdd"));
  }
}

TEST(pcapng_sections_have_their_own_order_and_interfaces) {
  const Read got = read(section(false) + interface(false, 1) + enhanced(false, 0, 1, kData, 5) +
                        section(true) + interface(true, 101) + enhanced(true, 0, 2, kData, 5) +
                        section(false) + enhanced(false, 0, 3, kData, 5));
  REQUIRE(got.frames.size() == 2);
  CHECK_EQ(got.frames[0].link, 1);
  CHECK_EQ(got.frames[1].link, 101);
  CHECK_EQ(got.frames[1].time_ns, 2000);
  // The third section names an interface it does not have.
  CHECK(got.error.find("frame 3: expected one of 0 interfaces") == 0);
}

TEST(pcapng_time_resolution_and_offset) {
  struct Row {
    uint8_t resolution;
    uint64_t units;
    uint64_t ns;
  };
  for (const Row& row :
       {Row{0, 1700000000, 1700000000000000000}, Row{3, 1700000000123, 1700000000123000000},
        Row{6, 5, 5000}, Row{9, 1700000000123456789, 1700000000123456789},
        Row{12, 1700000000123456789, 1700000000123456},
        Row{0x80 | 32, uint64_t{3} << 31, 1500000000}, Row{0x80 | 20, 1, 953},
        Row{19, ~uint64_t{0}, 1844674407}, Row{28, ~uint64_t{0}, 1}, Row{29, ~uint64_t{0}, 0},
        Row{127, ~uint64_t{0}, 0}, Row{0xff, ~uint64_t{0}, 0},
        Row{0, ~uint64_t{0}, ~uint64_t{0}}}) {
    for (const bool big : {false, true}) {
      const Bytes options = resolution(big, row.resolution);
      const Read got = read(section(big) + interface(big, 1, 0, options) +
                            enhanced(big, 0, row.units, kData, 5));
      REQUIRE(got.frames.size() == 1);
      CHECK_EQ(got.frames[0].time_ns, row.ns);
    }
  }
  for (const bool big : {false, true}) {
    const auto offset = [big](int64_t seconds) {
      // A comment first: options are walked with their padding.
      return Writer(big)
          .u16(1)
          .u16(5)
          .raw(hex("6161616161"))
          .pad()
          .u16(14)
          .u16(8)
          .u64(static_cast<uint64_t>(seconds))
          .bytes();
    };
    Read got = read(section(big) + interface(big, 1, 0, offset(1700000000)) +
                    enhanced(big, 0, 7, kData, 5));
    REQUIRE(got.frames.size() == 1);
    CHECK_EQ(got.frames[0].time_ns, 1700000000000007000u);
    got = read(section(big) + interface(big, 1, 0, offset(-5)) + enhanced(big, 0, 7, kData, 5));
    REQUIRE(got.frames.size() == 1);
    CHECK_EQ(got.frames[0].time_ns, 0);
  }
}

TEST(options_behind_the_end_of_options_are_not_read) {
  const Bytes options = Writer(false).u16(0).u16(0).bytes() + resolution(false, 9);
  const Read got =
      read(section(false) + interface(false, 1, 0, options) + enhanced(false, 0, 7, kData, 5));
  REQUIRE(got.frames.size() == 1);
  CHECK_EQ(got.frames[0].time_ns, 7000);
}

TEST(simple_and_obsolete_packet_blocks) {
  for (const bool big : {false, true}) {
    Writer simple(big);
    simple.u32(1500).raw(hex("01020304"));
    Writer obsolete(big);
    obsolete.u16(0).u16(9).u32(0).u32(77).u32(5).u32(60).raw(kData);
    const Read got =
        read(section(big) + interface(big, 1, 4) + Writer(big).block(3, simple).bytes() +
             Writer(big).block(2, obsolete).bytes());
    CHECK(got.error.empty());
    REQUIRE(got.frames.size() == 2);
    CHECK(got.bytes[0] == hex("01020304"));  // cut by the snap length of the interface
    CHECK_EQ(got.frames[0].length, 1500);
    CHECK_EQ(got.frames[0].time_ns, 0);
    CHECK(got.bytes[1] == kData);
    CHECK_EQ(got.frames[1].length, 60);
    CHECK_EQ(got.frames[1].time_ns, 77000);
  }
}

TEST(unknown_blocks_are_skipped) {
  Writer name_resolution(false);
  name_resolution.raw(Bytes(40, 0xee));
  Writer empty(false);
  const Bytes odd =
      Writer(false).block(4, name_resolution).bytes() + Writer(false).block(0x0bad, empty).bytes();
  const Read got = read(section(false) + odd + interface(false, 1) + odd +
                        enhanced(false, 0, 1, kData, 5) + odd);
  CHECK(got.error.empty());
  CHECK_EQ(got.frames.size(), 1);
}

TEST(pcapng_cut_anywhere_keeps_what_came_before) {
  const Bytes head = section(true) + interface(true, 1, 0, resolution(true, 9));
  const Bytes one = enhanced(true, 0, 1, kData, 5);
  const Bytes file = head + one + one;
  for (size_t length = 0; length < file.size(); ++length) {
    const Read got = read(Bytes(file.begin(), file.begin() + static_cast<std::ptrdiff_t>(length)));
    CHECK_EQ(got.opened, length >= section(true).size());
    const size_t whole = length < head.size() ? 0 : (length - head.size()) / one.size();
    CHECK_EQ(got.frames.size(), whole);
    const bool at_a_block =
        length == section(true).size() || length == head.size() + whole * one.size();
    CHECK_EQ(got.error.empty(), at_a_block);
  }
}

TEST(hostile_block_lengths) {
  for (const uint32_t length : {0u, 4u, 8u, 11u, 13u, 0x7ffffffcu, 0xfffffffcu, 0xffffffffu}) {
    const Bytes bad = Writer(false).u32(6).u32(length).raw(Bytes(40)).u32(length).bytes();
    const Read got = read(section(false) + interface(false, 1) + bad);
    CHECK(got.opened);
    CHECK(got.frames.empty());
    CHECK(!got.error.empty());
  }
  // A captured length that its block does not hold, a trailer that differs, bodies too short.
  Writer long_packet(false);
  long_packet.u32(0).u64(0).u32(9).u32(9).raw(Bytes(8));
  Writer short_packet(false);
  short_packet.u32(0).u64(0).u32(0);
  Writer short_interface(false);
  short_interface.u32(1);
  Bytes trailer = enhanced(false, 0, 1, kData, 5);
  trailer[trailer.size() - 4] ^= 4;
  for (const Bytes& bad :
       {Writer(false).block(6, long_packet).bytes(), Writer(false).block(6, short_packet).bytes(),
        Writer(false).block(1, short_interface).bytes(), trailer}) {
    const Read got = read(section(false) + interface(false, 1) + bad);
    CHECK(got.frames.empty());
    CHECK(!got.error.empty());
  }
}

TEST(every_flipped_bit_ends_in_frames_or_a_sentence) {
  const Bytes one = enhanced(false, 0, 1, kData, 5);
  const Bytes pcapng = section(false) + interface(false, 1, 0, resolution(false, 9)) + one + one;
  const Bytes plain =
      pcap(false, kNano) + record(false, 1, 2, kData, 5) + record(false, 1, 2, kData, 5);
  // A packet block that became one of an unknown type is skipped; nothing else goes unsaid.
  const size_t first = pcapng.size() - 2 * one.size();
  for (const Bytes& file : {pcapng, plain}) {
    const bool blocks = file == pcapng;
    with_every_bit_flipped(file, file.size(), [&](const uint8_t* data, size_t size, size_t bit) {
      const Read got = read(Bytes(data, data + size));
      const size_t at = bit / 8;
      const bool type = blocks && at >= first && (at - first) % one.size() < 4;
      CHECK(got.frames.size() <= 2);
      CHECK(got.frames.size() == 2 || !got.error.empty() || (type && got.frames.size() == 1));
    });
  }
}

TEST(written_files_read_back) {
  Bytes file;
  io::write_capture_header(&file, 101, 262144);
  const uint64_t times[] = {0, 1, 999999999, 1700000000123456789, 4294967295999999999};
  for (const uint64_t time : times) {
    CapturedFrame frame;
    frame.data = kData.data();
    frame.captured = 5;
    frame.length = 1400;
    frame.time_ns = time;
    io::write_capture_record(&file, frame);
  }
  const Read got = read(file);
  CHECK(got.error.empty());
  REQUIRE(got.frames.size() == 5);
  for (size_t i = 0; i < 5; ++i) {
    CHECK_EQ(got.frames[i].time_ns, times[i]);
    CHECK_EQ(got.frames[i].length, 1400);
    CHECK_EQ(got.frames[i].link, 101);
    CHECK(got.bytes[i] == kData);
  }
  CHECK(Bytes(file.begin(), file.begin() + 24) ==
        hex("4d3cb2a1 0200 0400 00000000 00000000 00000400 65000000"));
}

TEST(a_record_longer_than_any_is_refused_in_windows) {
  Bytes file = pcap(false, kNano) + record(false, 1, 2, kData, 5);
  put32(file, 24 + 8, 0xffffff7f);  // 2,147,483,647 in the file's order
  Exact exact(file);
  CaptureReader reader;
  CapturedFrame frame;
  std::string error;
  REQUIRE(CaptureReader::open(exact.data(), exact.size(), false, &reader, &error));
  CHECK(!reader.next(&frame));
  CHECK(!reader.wants_more());
  CHECK(reader.error().find("frame 1 at byte 24: expected at most 67108864 bytes") == 0);
  CHECK(!reader.next(&frame));
}

TEST(a_reader_can_be_opened_again) {
  Exact one(pcap(false, kNano) + record(false, 1, 2, kData, 5));
  Exact two(section(true) + interface(true, 101) + enhanced(true, 0, 1, kData, 5));
  CaptureReader reader;
  CapturedFrame frame;
  std::string error;
  for (int i = 0; i < 2; ++i) {
    REQUIRE(CaptureReader::open(one.data(), one.size(), true, &reader, &error));
    CHECK(reader.next(&frame));
    CHECK_EQ(frame.link, 1);
    REQUIRE(CaptureReader::open(two.data(), two.size(), true, &reader, &error));
    CHECK(reader.next(&frame));
    CHECK_EQ(frame.link, 101);
    CHECK(!CaptureReader::open(two.data(), 3, true, &reader, &error));
    CHECK(!reader.next(&frame));
  }
}

}  // namespace
}  // namespace gwlb::test
