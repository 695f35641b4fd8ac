// Capture files against a naive reader that takes numbers byte by byte; what was read and written
// again reads the same.
#include <algorithm>
#include <string>
#include <vector>

#include "io/capture.h"
#include "test/fuzz/fuzz.h"

namespace {

using gwlb::io::CapturedFrame;
using gwlb::io::CaptureReader;

struct ModelFrame {
  size_t offset = 0;
  uint64_t captured = 0;
  uint64_t length = 0;
  uint32_t link = 0;
  uint64_t time_ns = 0;
  bool time_known = false;  // the model reads the default resolution only
};

struct Model {
  bool opened = false;
  bool clean = false;  // the file ended where a frame or block ends
  std::vector<ModelFrame> frames;
};

class Bytes {
 public:
  Bytes(const uint8_t* data, size_t size) : bytes_(data, data + size) {}
  size_t size() const { return bytes_.size(); }
  uint64_t number(size_t at, int width, bool big) const {
    uint64_t value = 0;
    for (int i = 0; i < width; ++i)
      value = value * 256 + bytes_.at(big ? at + i : at + width - 1 - i);
    return value;
  }

 private:
  std::vector<uint8_t> bytes_;
};

Model model_pcap(const Bytes& file, bool big, bool nano) {
  Model out;
  if (file.size() < 24 || file.number(4, 2, big) != 2) return out;
  out.opened = true;
  size_t at = 24;
  while (at < file.size()) {
    if (file.size() - at < 16) return out;
    ModelFrame frame;
    frame.offset = at + 16;
    frame.captured = file.number(at + 8, 4, big);
    frame.length = std::max(frame.captured, file.number(at + 12, 4, big));
    frame.link = static_cast<uint32_t>(file.number(20, 4, big) % (1u << 26));
    frame.time_ns =
        file.number(at, 4, big) * 1000000000 + file.number(at + 4, 4, big) * (nano ? 1 : 1000);
    frame.time_known = true;
    if (frame.captured > file.size() - frame.offset) return out;
    out.frames.push_back(frame);
    at = frame.offset + frame.captured;
  }
  out.clean = true;
  return out;
}

struct ModelInterface {
  uint32_t link;
  uint64_t snap;
  bool default_time;
};

// One pcapng packet block; false where it is malformed.
bool model_packet(const Bytes& file, size_t at, uint64_t length, uint64_t type, bool big,
                  const std::vector<ModelInterface>& interfaces, Model* out) {
  const size_t body = at + 8;
  const uint64_t body_length = length - 12;
  const uint64_t header = type == 3 ? 4 : 20;
  if (body_length < header) return false;
  const uint64_t number = type == 3 ? 0 : file.number(body, type == 2 ? 2 : 4, big);
  if (number >= interfaces.size()) return false;
  ModelFrame frame;
  frame.offset = body + header;
  frame.link = interfaces[number].link;
  if (type == 3) {
    frame.length = file.number(body, 4, big);
    const uint64_t snap = interfaces[number].snap;
    frame.captured = snap == 0 ? frame.length : std::min(snap, frame.length);
    frame.time_known = true;
  } else {
    frame.captured = file.number(body + 12, 4, big);
    frame.length = std::max(frame.captured, file.number(body + 16, 4, big));
    const uint64_t high = file.number(body + 4, 4, big);
    frame.time_ns = ((high << 32) + file.number(body + 8, 4, big)) * 1000;
    frame.time_known = interfaces[number].default_time && high < (1u << 20);
  }
  if (frame.captured > body_length - header) return false;
  out->frames.push_back(frame);
  return true;
}

Model model_pcapng(const Bytes& file) {
  Model out;
  std::vector<ModelInterface> interfaces;
  bool big = false;
  size_t at = 0;
  while (at < file.size()) {
    if (file.size() - at < 12) return out;
    const bool section = file.number(at, 4, true) == 0x0a0d0d0a;
    if (section) {
      const uint64_t mark = file.number(at + 8, 4, true);
      if (mark != 0x1a2b3c4d && mark != 0x4d3c2b1a) return out;
      big = mark == 0x1a2b3c4d;
    }
    const uint64_t type = file.number(at, 4, big);
    const uint64_t length = file.number(at + 4, 4, big);
    if (length < 12 || length % 4 != 0 || length > file.size() - at) return out;
    if (file.number(at + length - 4, 4, big) != length) return out;
    if (section) {
      if (length < 28 || file.number(at + 12, 2, big) != 1) return out;
      interfaces.clear();
      out.opened = true;
    } else if (type == 1) {
      if (length < 20) return out;
      interfaces.push_back({static_cast<uint32_t>(file.number(at + 8, 2, big)),
                            file.number(at + 12, 4, big), length == 20});
    } else if (type == 2 || type == 3 || type == 6) {
      if (!model_packet(file, at, length, type, big, interfaces, &out)) return out;
    }
    at += length;
  }
  out.clean = true;
  return out;
}

Model model_capture(const uint8_t* data, size_t size) {
  const Bytes file(data, size);
  if (size < 4) return {};
  for (const bool big : {false, true}) {
    const uint64_t magic = file.number(0, 4, big);
    if (magic == 0xa1b2c3d4 || magic == 0xa1b23c4d) {
      return model_pcap(file, big, magic == 0xa1b23c4d);
    }
  }
  return file.number(0, 4, true) == 0x0a0d0d0a ? model_pcapng(file) : Model{};
}

void check_written(const std::vector<CapturedFrame>& frames) {
  std::vector<uint8_t> file;
  gwlb::io::write_capture_header(&file, 1, 262144);
  for (const CapturedFrame& frame : frames) gwlb::io::write_capture_record(&file, frame);
  CaptureReader reader;
  std::string error;
  FUZZ_CHECK(CaptureReader::open(file.data(), file.size(), true, &reader, &error));
  CapturedFrame again;
  for (const CapturedFrame& frame : frames) {
    FUZZ_CHECK(reader.next(&again));
    FUZZ_CHECK(again.captured == frame.captured && again.length == frame.length);
    FUZZ_CHECK(std::equal(frame.data, frame.data + frame.captured, again.data));
    if (frame.time_ns >> 32 < 1000000000) FUZZ_CHECK(again.time_ns == frame.time_ns);
  }
  FUZZ_CHECK(!reader.next(&again) && reader.error().empty());
}

// In windows that end anywhere, each in memory of its own, it is the same file.
void check_windows(const uint8_t* data, size_t size, const std::vector<CapturedFrame>& frames,
                   const std::string& error) {
  constexpr size_t kFirst = 64;
  size_t end = std::min(size, kFirst);
  size_t step = size % 61 + 1;
  std::vector<uint8_t> window(data, data + end);
  CaptureReader reader;
  std::string refused;
  if (!CaptureReader::open(window.data(), window.size(), end == size, &reader, &refused)) return;
  size_t read = 0;
  CapturedFrame frame;
  for (;;) {
    while (reader.next(&frame)) {
      FUZZ_CHECK(read < frames.size());
      const CapturedFrame& expected = frames[read++];
      FUZZ_CHECK(frame.captured == expected.captured && frame.length == expected.length);
      FUZZ_CHECK(frame.link == expected.link && frame.time_ns == expected.time_ns);
      FUZZ_CHECK(std::equal(frame.data, frame.data + frame.captured, expected.data));
    }
    if (!reader.wants_more()) break;
    FUZZ_CHECK(end < size);
    const size_t from = end - reader.unread();
    end = std::min(size, end + step);
    step *= 2;
    std::vector<uint8_t> next(data + from, data + end);
    reader.feed(next.data(), next.size(), end == size);
    window.swap(next);
  }
  FUZZ_CHECK(reader.error() == error);
  FUZZ_CHECK(read == frames.size());
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const Model model = model_capture(data, size);
  CaptureReader reader;
  std::string error;
  const bool opened = CaptureReader::open(data, size, true, &reader, &error);
  FUZZ_CHECK(opened == model.opened);
  FUZZ_CHECK(opened == error.empty());
  if (!opened) return 0;
  std::vector<CapturedFrame> frames;
  CapturedFrame frame;
  while (reader.next(&frame)) {
    FUZZ_CHECK(frames.size() < model.frames.size());
    const ModelFrame& expected = model.frames[frames.size()];
    FUZZ_CHECK(frame.data == data + expected.offset);
    FUZZ_CHECK(frame.captured == expected.captured && frame.length == expected.length);
    FUZZ_CHECK(frame.link == expected.link);
    if (expected.time_known) FUZZ_CHECK(frame.time_ns == expected.time_ns);
    frames.push_back(frame);
  }
  FUZZ_CHECK(frames.size() == model.frames.size());
  FUZZ_CHECK(reader.error().empty() == model.clean);
  FUZZ_CHECK(!reader.next(&frame));
  check_windows(data, size, frames, reader.error());
  check_written(frames);
  return 0;
}
