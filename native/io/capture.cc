#include "io/capture.h"

#include <algorithm>
#include <array>
#include <utility>

#include "base/bytes.h"

namespace gwlb::io {
namespace {

using base::load;
using base::store;

constexpr uint32_t kMagicMicro = 0xa1b2c3d4;
constexpr uint32_t kMagicNano = 0xa1b23c4d;
constexpr uint32_t kMagicSection = 0x0a0d0d0a;  // the same in both byte orders
constexpr uint32_t kByteOrderMark = 0x1a2b3c4d;
constexpr size_t kPcapHeaderBytes = 24;
constexpr size_t kPcapRecordBytes = 16;
constexpr size_t kBlockFrameBytes = 12;     // type, length, length again
constexpr uint32_t kLinkMask = 0x03ffffff;  // above it: how long the frame check sequence is
// No capture has longer records: one that says so is not waited for.
constexpr uint64_t kRecordBytesMax = uint64_t{64} << 20;
constexpr uint64_t kNsPerSecond = 1'000'000'000;

enum BlockType : uint32_t {
  kInterfaceBlock = 1,
  kPacketBlock = 2,
  kSimplePacketBlock = 3,
  kEnhancedPacketBlock = 6,
};

enum OptionCode : uint16_t { kTimeResolution = 9, kTimeOffset = 14 };

uint32_t swap_if(bool swapped, uint32_t value) {
  return swapped ? __builtin_bswap32(value) : value;
}

std::string hex(uint32_t value) {
  static constexpr char kDigits[] = "0123456789abcdef";
  std::string text = "0x";
  for (int shift = 28; shift >= 0; shift -= 4) text += kDigits[(value >> shift) & 0xf];
  return text;
}

std::string cut_sentence(const std::string& what, uint64_t at, uint64_t needed, size_t had) {
  return what + " at byte " + std::to_string(at) + ": expected " + std::to_string(needed) +
         " bytes, the file has " + std::to_string(had) + " more";
}

}  // namespace

uint16_t CaptureReader::u16(const uint8_t* from) const {
  const auto value = load<uint16_t>(from);
  return swapped_ ? __builtin_bswap16(value) : value;
}

uint32_t CaptureReader::u32(const uint8_t* from) const {
  return swap_if(swapped_, load<uint32_t>(from));
}

bool CaptureReader::fail(std::string sentence) {
  error_ = std::move(sentence);
  at_ = bytes_;
  return false;
}

// Of what begins here and does not end in the window.
bool CaptureReader::cut(const std::string& what, uint64_t needed) {
  if (needed > kRecordBytesMax) {
    return fail(what + at_byte() + ": expected at most " + std::to_string(kRecordBytesMax) +
                " bytes, received " + std::to_string(needed));
  }
  if (last_) return fail(cut_sentence(what, before_ + at_, needed, bytes_ - at_));
  wants_more_ = true;
  return false;
}

void CaptureReader::feed(const uint8_t* data, size_t bytes, bool last) {
  before_ += at_;
  data_ = data;
  bytes_ = bytes;
  at_ = 0;
  last_ = last;
  wants_more_ = false;
}

std::string CaptureReader::at_byte() const { return " at byte " + std::to_string(before_ + at_); }

std::string CaptureReader::frame_name() const { return "frame " + std::to_string(frames_ + 1); }

bool CaptureReader::open(const uint8_t* data, size_t bytes, bool whole, CaptureReader* out,
                         std::string* error) {
  *out = CaptureReader();
  out->data_ = data;
  out->bytes_ = bytes;
  const auto refuse = [&](std::string sentence) {
    *out = CaptureReader();
    *error = std::move(sentence);
    return false;
  };
  if (bytes < 4) {
    return refuse("not a capture file: expected at least 4 bytes, received " +
                  std::to_string(bytes));
  }
  const auto magic = load<uint32_t>(data);
  if (magic == kMagicSection) {
    out->pcapng_ = true;
    // The first section has to be whole: without it there is no byte order.
    Block block;
    if (!out->next_block(&block)) return refuse(out->error_);
    out->last_ = whole;
    return true;
  }
  for (const bool swapped : {false, true}) {
    const uint32_t native = swap_if(swapped, magic);
    if (native != kMagicMicro && native != kMagicNano) continue;
    out->swapped_ = swapped;
    if (!out->open_pcap(native, error)) return refuse(*error);
    out->last_ = whole;
    return true;
  }
  if ((magic & 0xffff) == 0x8b1f) {
    return refuse("not a capture file: it is compressed (gzip); expected pcap or pcapng");
  }
  return refuse("not a capture file: expected pcap or pcapng, received a file that starts with " +
                hex(__builtin_bswap32(magic)));
}

bool CaptureReader::open_pcap(uint32_t magic, std::string* error) {
  if (bytes_ < kPcapHeaderBytes) {
    *error = cut_sentence("pcap header", 0, kPcapHeaderBytes, bytes_);
    return false;
  }
  const uint16_t version = u16(data_ + 4);
  if (version != 2) {
    *error = "pcap version: expected 2, received " + std::to_string(version);
    return false;
  }
  Interface whole;
  whole.link = u32(data_ + 20) & kLinkMask;
  whole.exponent = magic == kMagicNano ? 9 : 6;
  interfaces_.push_back(whole);
  at_ = kPcapHeaderBytes;
  return true;
}

bool CaptureReader::next(CapturedFrame* out) {
  if (at_ == bytes_) {
    wants_more_ = !last_;
    return false;
  }
  if (!pcapng_) return next_record(out);
  while (at_ < bytes_) {
    Block block;
    bool is_packet = false;
    if (!next_block(&block) || !read_packet(block, out, &is_packet)) return false;
    if (is_packet) {
      ++frames_;
      return true;
    }
  }
  wants_more_ = !last_;
  return false;
}

bool CaptureReader::next_record(CapturedFrame* out) {
  const size_t left = bytes_ - at_;
  if (left < kPcapRecordBytes) return cut(frame_name() + " (record header)", kPcapRecordBytes);
  const uint8_t* record = data_ + at_;
  const uint32_t captured = u32(record + 8);
  if (captured > left - kPcapRecordBytes) {
    return cut(frame_name(), uint64_t{kPcapRecordBytes} + captured);
  }
  // The fraction may be a second or more in a damaged file; it is added as it stands.
  const uint64_t unit = interfaces_[0].exponent == 9 ? 1 : 1000;
  out->time_ns = u32(record) * kNsPerSecond + u32(record + 4) * unit;
  out->data = record + kPcapRecordBytes;
  out->captured = captured;
  out->length = std::max(captured, u32(record + 12));
  out->link = interfaces_[0].link;
  at_ += kPcapRecordBytes + captured;
  ++frames_;
  return true;
}

// Moves behind the next block of any kind. A section header changes the byte order before its own
// length is read.
bool CaptureReader::next_block(Block* out) {
  const size_t left = bytes_ - at_;
  const uint8_t* block = data_ + at_;
  if (left < kBlockFrameBytes) return cut("pcapng block", kBlockFrameBytes);
  const bool section = load<uint32_t>(block) == kMagicSection;
  // Until the block is whole, and this comes by again.
  const bool swapped_before = swapped_;
  if (section) {
    const auto mark = load<uint32_t>(block + 8);
    if (mark != kByteOrderMark && mark != __builtin_bswap32(kByteOrderMark)) {
      return fail("pcapng section" + at_byte() + ": expected byte-order mark " +
                  hex(kByteOrderMark) + ", received " + hex(mark));
    }
    swapped_ = mark != kByteOrderMark;
  }
  const uint32_t length = u32(block + 4);
  if (length < kBlockFrameBytes || length % 4 != 0) {
    return fail("pcapng block" + at_byte() +
                ": expected a length that is a multiple of 4 and at least 12, received " +
                std::to_string(length));
  }
  if (length > left) {
    swapped_ = swapped_before;
    return cut("pcapng block", length);
  }
  const uint32_t trailer = u32(block + length - 4);
  if (trailer != length) {
    return fail("pcapng block" + at_byte() + ": expected its length " + std::to_string(length) +
                " again at the end, received " + std::to_string(trailer));
  }
  out->type = u32(block);
  out->body = block + 8;
  out->length = length - kBlockFrameBytes;
  if (section && !start_section(*out)) return false;
  if (!section && out->type == kInterfaceBlock && !add_interface(*out)) return false;
  at_ += length;
  return true;
}

bool CaptureReader::start_section(const Block& block) {
  constexpr size_t kSectionBytes = 16;
  if (block.length < kSectionBytes) {
    return fail("pcapng section" + at_byte() + ": expected a body of " +
                std::to_string(kSectionBytes) + " bytes, received " + std::to_string(block.length));
  }
  const uint16_t major = u16(block.body + 4);
  if (major != 1) {
    return fail("pcapng version" + at_byte() + ": expected 1, received " + std::to_string(major));
  }
  interfaces_.clear();
  return true;
}

bool CaptureReader::add_interface(const Block& block) {
  constexpr size_t kInterfaceBytes = 8;
  if (block.length < kInterfaceBytes) {
    return fail("pcapng interface" + at_byte() + ": expected a body of " +
                std::to_string(kInterfaceBytes) + " bytes, received " +
                std::to_string(block.length));
  }
  Interface interface;
  interface.link = u16(block.body);
  interface.snap_length = u32(block.body + 4);
  size_t at = kInterfaceBytes;
  while (at + 4 <= block.length) {
    const uint16_t code = u16(block.body + at);
    const uint16_t length = u16(block.body + at + 2);
    const uint8_t* value = block.body + at + 4;
    if (code == 0 || length > block.length - at - 4) break;
    if (code == kTimeResolution && length >= 1) {
      interface.exponent = value[0] & 0x7f;
      interface.binary = (value[0] & 0x80) != 0;
    } else if (code == kTimeOffset && length >= 8) {
      const auto seconds = load<uint64_t>(value);
      interface.offset_seconds =
          static_cast<int64_t>(swapped_ ? __builtin_bswap64(seconds) : seconds);
    }
    at += 4 + (size_t{length} + 3) / 4 * 4;
  }
  interfaces_.push_back(interface);
  return true;
}

// Times before 1970 and after 2554 do not fit: they become the nearest that does.
uint64_t CaptureReader::to_ns(const Interface& interface, uint64_t units) {
  __extension__ using Wide = __int128;
  Wide ns = 0;
  if (interface.binary) {
    ns = (static_cast<Wide>(units) * kNsPerSecond) >> interface.exponent;
  } else {
    uint64_t factor = 1;
    const int digits = interface.exponent - 9;
    const int steps = std::min(digits < 0 ? -digits : digits, 19);
    for (int i = 0; i < steps; ++i) factor *= 10;
    ns = digits <= 0 ? static_cast<Wide>(units) * factor : static_cast<Wide>(units / factor);
    if (digits > 19) ns = 0;
  }
  ns += static_cast<Wide>(interface.offset_seconds) * kNsPerSecond;
  return static_cast<uint64_t>(std::clamp<Wide>(ns, 0, ~uint64_t{0}));
}

bool CaptureReader::read_packet(const Block& block, CapturedFrame* out, bool* is_packet) {
  const bool simple = block.type == kSimplePacketBlock;
  const bool obsolete = block.type == kPacketBlock;
  *is_packet = simple || obsolete || block.type == kEnhancedPacketBlock;
  if (!*is_packet) return true;
  const size_t header = simple ? 4 : 20;
  if (block.length < header) {
    return fail(frame_name() + ": expected a block body of " + std::to_string(header) +
                " bytes, received " + std::to_string(block.length));
  }
  const uint32_t number = simple ? 0 : obsolete ? u16(block.body) : u32(block.body);
  if (number >= interfaces_.size()) {
    return fail(frame_name() + ": expected one of " + std::to_string(interfaces_.size()) +
                " interfaces of the section, received interface " + std::to_string(number));
  }
  const Interface& interface = interfaces_[number];
  const size_t room = block.length - header;
  uint32_t captured = 0;
  if (simple) {
    out->length = u32(block.body);
    captured =
        interface.snap_length == 0 ? out->length : std::min(out->length, interface.snap_length);
    out->time_ns = 0;
  } else {
    captured = u32(block.body + 12);
    out->length = std::max(captured, u32(block.body + 16));
    const uint64_t units = uint64_t{u32(block.body + 4)} << 32 | u32(block.body + 8);
    out->time_ns = to_ns(interface, units);
  }
  if (captured > room) {
    return fail(frame_name() + ": expected " + std::to_string(captured) +
                " captured bytes, its block has " + std::to_string(room));
  }
  out->data = block.body + header;
  out->captured = captured;
  out->link = interface.link;
  return true;
}

void write_capture_header(std::vector<uint8_t>* out, uint32_t link, uint32_t snap_length) {
  std::array<uint8_t, kPcapHeaderBytes> header{};
  store(&header[0], kMagicNano);
  store<uint16_t>(&header[4], 2);
  store<uint16_t>(&header[6], 4);
  store(&header[16], snap_length);
  store(&header[20], link);
  out->insert(out->end(), header.begin(), header.end());
}

void write_capture_record(std::vector<uint8_t>* out, const CapturedFrame& frame) {
  std::array<uint8_t, kPcapRecordBytes> header{};
  store(&header[0], static_cast<uint32_t>(frame.time_ns / kNsPerSecond));
  store(&header[4], static_cast<uint32_t>(frame.time_ns % kNsPerSecond));
  store(&header[8], frame.captured);
  store(&header[12], std::max(frame.captured, frame.length));
  out->insert(out->end(), header.begin(), header.end());
  out->insert(out->end(), frame.data, frame.data + frame.captured);
}

}  // namespace gwlb::io
