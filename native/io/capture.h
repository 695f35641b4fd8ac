// Contract: capture files. Reads pcap (micro- and nanoseconds, both byte orders) and pcapng
// (both byte orders, several interfaces, time resolutions, Enhanced and Simple Packet Blocks and
// the obsolete Packet Block); writes pcap. Works on memory: the caller reads the file, as a whole
// or in windows.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

namespace gwlb::io {

struct CapturedFrame {
  const uint8_t* data = nullptr;
  uint32_t captured = 0;  // bytes there
  uint32_t length = 0;    // bytes on the wire, at least `captured`
  uint64_t time_ns = 0;   // since the epoch; 0 where the file does not say (Simple Packet Block)
  uint32_t link = 0;      // LINKTYPE_
};

class CaptureReader {
 public:
  // The memory must outlive the reader, or be replaced by feed(). `*error` is a sentence where it
  // is no capture file. Unless `whole` these are its first bytes, with all of the pcap header or of
  // the first pcapng block.
  static bool open(const uint8_t* data, size_t bytes, bool whole, CaptureReader* out,
                   std::string* error);
  // The next frame; false at the end or where the file is cut or damaged (then error() is not
  // empty, and what came before was good). After that it stays false. False with wants_more(): the
  // file goes on behind the window.
  bool next(CapturedFrame* out);
  bool wants_more() const { return wants_more_; }
  // The file's bytes from the first unread() ones of the window on; `last`: up to its end.
  void feed(const uint8_t* data, size_t bytes, bool last);
  size_t unread() const { return bytes_ - at_; }
  const std::string& error() const { return error_; }

 private:
  // An interface of a pcapng section, or the whole of a pcap file.
  struct Interface {
    uint32_t link = 0;
    uint32_t snap_length = 0;    // 0: no limit
    int64_t offset_seconds = 0;  // pcapng if_tsoffset
    uint8_t exponent = 6;        // a unit of time is 10^-exponent seconds, or 2^-exponent
    bool binary = false;
  };
  struct Block {
    const uint8_t* body = nullptr;
    size_t length = 0;
    uint32_t type = 0;
  };

  bool open_pcap(uint32_t magic, std::string* error);
  bool next_record(CapturedFrame* out);
  bool next_block(Block* out);
  bool start_section(const Block& block);
  bool add_interface(const Block& block);
  bool read_packet(const Block& block, CapturedFrame* out, bool* is_packet);
  bool fail(std::string sentence);
  bool cut(const std::string& what, uint64_t needed);
  std::string at_byte() const;
  std::string frame_name() const;

  uint16_t u16(const uint8_t* from) const;
  uint32_t u32(const uint8_t* from) const;
  static uint64_t to_ns(const Interface& interface, uint64_t units);

  const uint8_t* data_ = nullptr;
  size_t bytes_ = 0;
  size_t at_ = 0;
  uint64_t before_ = 0;  // bytes of the file in front of the window
  uint64_t frames_ = 0;
  std::vector<Interface> interfaces_;
  std::string error_;
  bool swapped_ = false;
  bool pcapng_ = false;
  bool last_ = true;  // the window reaches the end of the file
  bool wants_more_ = false;
};

// Appends a pcap file's header, or one record (nanosecond resolution), to `out`. Seconds are kept
// modulo 2^32, as the format has them.
void write_capture_header(std::vector<uint8_t>* out, uint32_t link, uint32_t snap_length);
void write_capture_record(std::vector<uint8_t>* out, const CapturedFrame& frame);

}  // namespace gwlb::io
