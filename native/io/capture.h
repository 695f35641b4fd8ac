// Contract: capture files. Reads pcap (micro- and nanoseconds, both byte orders) and pcapng
// (both byte orders, several interfaces, time resolutions, Enhanced and Simple Packet Blocks);
// writes pcap. Works on memory: the caller maps or reads the file.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

namespace gwlb::io {

struct CapturedFrame {
  const uint8_t* data = nullptr;
  uint32_t captured = 0;   // bytes there
  uint32_t length = 0;     // bytes on the wire
  uint64_t time_ns = 0;    // since the epoch
  uint32_t link = 0;       // LINKTYPE_
};

class CaptureReader {
 public:
  // The memory must outlive the reader. `*error` is a sentence where it is no capture file.
  static bool open(const uint8_t* data, size_t bytes, CaptureReader* out, std::string* error);
  // The next frame; false at the end or where the file is cut (then error() is not empty, and what
  // came before was good).
  bool next(CapturedFrame* out);
  const std::string& error() const { return error_; }

 private:
  const uint8_t* data_ = nullptr;
  size_t bytes_ = 0;
  size_t at_ = 0;
  std::string error_;
  // ... interfaces, byte order, resolution
};

// Appends a pcap file's header, or one record (nanosecond resolution), to `out`.
void write_capture_header(std::vector<uint8_t>* out, uint32_t link, uint32_t snap_length);
void write_capture_record(std::vector<uint8_t>* out, const CapturedFrame& frame);

}  // namespace gwlb::io
