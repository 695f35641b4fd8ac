// GENEVE (RFC 8926): base header and options.
//
//   0       1       2               4                       7
//   +-------+-------+---------------+-----------------------+-------+
//   |Ver|Opt|O|C|rsv| protocol type |          VNI          |  rsv  |   8 bytes
//   +-------+-------+---------------+-----------------------+-------+
//   | option class  | type  |R|len  | data, len x 4 bytes  ...          Opt x 4 bytes in all
#pragma once

#include <cstddef>
#include <cstdint>

#include "wire/parse_error.h"

namespace gwlb::wire {

inline constexpr uint16_t kGenevePort = 6081;
inline constexpr uint32_t kGeneveBaseBytes = 8;
inline constexpr uint16_t kEtherTypeIpv4 = 0x0800;
inline constexpr uint16_t kEtherTypeIpv6 = 0x86dd;
inline constexpr uint16_t kEtherTypeEthernet = 0x6558;  // transparent Ethernet bridging

struct GeneveHeader {
  uint32_t vni = 0;
  uint16_t protocol_type = 0;
  uint16_t option_bytes = 0;  // 0..252
  uint8_t version = 0;
  bool control = false;   // O bit
  bool critical = false;  // C bit
  uint32_t header_length() const { return kGeneveBaseBytes + option_bytes; }
};

struct GeneveOption {
  const uint8_t* data = nullptr;
  uint16_t option_class = 0;
  uint8_t type = 0;    // all eight bits; 0x80 is the critical bit
  uint8_t length = 0;  // bytes of data: 0..124
  bool critical() const { return (type & 0x80) != 0; }
};

// Reads the base header of a UDP payload. Checks length, version (R11) and that the options fit
// (R12); not the O bit and not the options themselves. Reserved bits are ignored (R15).
// On an error after the first 8 bytes were there, `out` holds what was readable.
ParseError parse_geneve(const uint8_t* data, size_t length, GeneveHeader* out,
                        uint32_t base_offset = 0);

// Walks the options of a header that parse_geneve accepted.
//   GeneveOptionWalk walk(data + 8, header.option_bytes);
//   while (walk.next(&option)) ...
//   if (!walk.error().ok()) ...      // the sum of the options is not the options length (R19)
class GeneveOptionWalk {
 public:
  GeneveOptionWalk(const uint8_t* options, uint32_t bytes, uint32_t base_offset = 0)
      : options_(options), bytes_(bytes), base_offset_(base_offset) {}
  bool next(GeneveOption* out);
  const ParseError& error() const { return error_; }

 private:
  const uint8_t* options_;
  uint32_t bytes_;
  uint32_t base_offset_;
  uint32_t at_ = 0;
  ParseError error_;
};

// Writes the 8 bytes of a base header with reserved bits 0.
void write_geneve(uint8_t* to, const GeneveHeader& header);
// Writes one option with reserved bits 0 and returns its bytes (4 + length). `length` must be a
// multiple of 4, at most 124.
uint32_t write_geneve_option(uint8_t* to, const GeneveOption& option);

}  // namespace gwlb::wire
