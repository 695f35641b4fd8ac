// The three options of a gateway load balancer, on every packet in both directions: AWS class
// 0x0108 (Tencent 0x0167 with the same layout), in this order, 32 bytes:
//
//   type 1  8 bytes  endpoint id (AWS: the VPC endpoint id without its leading digit)
//   type 2  8 bytes  attachment id
//   type 3  4 bytes  flow cookie
#pragma once

#include <cstddef>
#include <cstdint>

#include "base/assert.h"
#include "base/bytes.h"
#include "wire/geneve.h"

namespace gwlb::wire {

inline constexpr uint16_t kOptionClassAws = 0x0108;
inline constexpr uint32_t kGatewayOptionBytes = 32;
inline constexpr uint32_t kGatewayHeaderBytes = kGeneveBaseBytes + kGatewayOptionBytes;  // 40

struct GatewayOptions {
  uint64_t endpoint_id = 0;
  uint64_t attachment_id = 0;
  uint32_t cookie = 0;
};

// The layout that AWS (and Tencent) always send: options 1, 2, 3 in this order and nothing else.
namespace gateway_header {
inline constexpr uint32_t kEndpointOption = 8;
inline constexpr uint32_t kAttachmentOption = 20;
inline constexpr uint32_t kCookieOption = 32;
inline constexpr uint32_t kOptionHeader = 4;
enum : uint8_t { kEndpointType = 1, kAttachmentType = 2, kCookieType = 3 };
inline constexpr uint32_t option_bytes_of(uint8_t type) { return type == kCookieType ? 4 : 8; }
// An option's class, type and length as a little-endian load sees them.
inline uint32_t option_header(uint16_t option_class, uint8_t type) {
  return __builtin_bswap16(option_class) | uint32_t{type} << 16 | (option_bytes_of(type) / 4) << 24;
}
// Version 0, eight words of options, no O bit: the same for the base header's first two bytes.
inline constexpr uint16_t kBaseExpected = 0x0008;
}  // namespace gateway_header

// A GENEVE header as a gateway or an appliance has to understand it: the base header plus the three
// options in any order (R23) among others. Refuses: O bit (R13), unknown critical options (R17,
// R14), options that do not add up (R19), a gateway option of another length (R22), one missing.
// Of an option that occurs twice the first counts. An error's `had` is the class and type (three
// bytes) of a critical option, or how many of the three options are there.
// The expected layout is one compare; anything else is walked.
ParseError parse_gateway_header(const uint8_t* data, size_t length, uint16_t option_class,
                                GeneveHeader* header, GatewayOptions* options,
                                uint32_t base_offset = 0);

// The same for a header that need not carry gateway options (a `geneve` endpoint's peer): O bit,
// critical options and option lengths are checked, nothing is required.
ParseError parse_plain_header(const uint8_t* data, size_t length, GeneveHeader* header,
                              uint32_t base_offset = 0);

// For tools: the three options of a header that parse_geneve accepted, whatever else it holds (O
// bit, critical options). False where one is missing or of another length, or where the options do
// not add up.
bool find_gateway_options(const uint8_t* data, const GeneveHeader& header, uint16_t option_class,
                          GatewayOptions* out);

// 40 bytes: base header (VNI 0, flags 0) and the options in order 1, 2, 3. As words, since what is
// the same for all packets of an endpoint is made once.
class GatewayHeaderTemplate {
 public:
  GatewayHeaderTemplate() = default;
  GatewayHeaderTemplate(uint16_t option_class, uint64_t endpoint_id, uint64_t attachment_id) {
    using namespace gateway_header;
    const uint64_t id = __builtin_bswap64(endpoint_id);
    words_[0] = option_header(option_class, kEndpointType) | id << 32;
    words_[1] = id >> 32 | uint64_t{option_header(option_class, kAttachmentType)} << 32;
    words_[2] = __builtin_bswap64(attachment_id);
    words_[3] = option_header(option_class, kCookieType);
  }
  void write(uint8_t* to, uint16_t protocol_type, uint32_t cookie) const {
    using namespace gateway_header;
    const uint64_t base = kBaseExpected | uint32_t{__builtin_bswap16(protocol_type)} << 16;
    base::store(to, base);
    base::store(to + 8, words_[0]);
    base::store(to + 16, words_[1]);
    base::store(to + 24, words_[2]);
    base::store(to + 32, words_[3] | uint64_t{__builtin_bswap32(cookie)} << 32);
  }

 private:
  uint64_t words_[4] = {};
};
inline void write_gateway_header(uint8_t* to, uint16_t protocol_type, uint16_t option_class,
                                 const GatewayOptions& options) {
  GatewayHeaderTemplate(option_class, options.endpoint_id, options.attachment_id)
      .write(to, protocol_type, options.cookie);
}

// The layout that is always sent, at one compare: version 0, no O bit, the three options in their
// order and no others. False for everything else, which parse_gateway_header may take.
inline bool parse_expected_header(const uint8_t* data, size_t length, uint16_t option_class,
                                  uint16_t* protocol_type, GatewayOptions* options) {
  using namespace gateway_header;
  // Left out: the C bit (no option here is critical), reserved bits (R15, R19) and the VNI.
  constexpr uint32_t kBaseMask = 0x80ff;
  constexpr uint32_t kOptionMask = 0x1fffffff;
  if (length < kGatewayHeaderBytes) return false;
  const auto base = base::load<uint32_t>(data);
  const auto difference = [&](uint32_t offset, uint8_t type) {
    return base::load<uint32_t>(data + offset) ^ option_header(option_class, type);
  };
  const uint32_t in_options = difference(kEndpointOption, kEndpointType) |
                              difference(kAttachmentOption, kAttachmentType) |
                              difference(kCookieOption, kCookieType);
  if ((((base ^ kBaseExpected) & kBaseMask) | (in_options & kOptionMask)) != 0) return false;
  *protocol_type = __builtin_bswap16(static_cast<uint16_t>(base >> 16));
  options->endpoint_id = base::load_be64(data + kEndpointOption + kOptionHeader);
  options->attachment_id = base::load_be64(data + kAttachmentOption + kOptionHeader);
  options->cookie = base::load_be32(data + kCookieOption + kOptionHeader);
  return true;
}

// 28 bytes: IPv4 (no options, DF off, id 0) and UDP in front of `payload_length` bytes. The UDP
// checksum is left 0 (a kernel socket or the device computes it); with `checksum` it is computed
// over the payload, which has to follow the 28 bytes. Addresses are in host order. At most 65,507
// bytes of payload.
struct OuterHeader {
  uint32_t source = 0;
  uint32_t destination = 0;
  uint16_t source_port = 0;
  uint16_t destination_port = kGenevePort;
  uint8_t ttl = 255;
  uint8_t tos = 0;
  bool checksum = false;
};
inline constexpr uint32_t kOuterHeaderBytes = 28;
// The UDP checksum of what write_outer_header() wrote, and of what follows it.
void write_outer_checksum(uint8_t* to, uint32_t payload_length);
inline void write_outer_header(uint8_t* to, const OuterHeader& outer, uint32_t payload_length) {
  const uint32_t total = kOuterHeaderBytes + payload_length;
  GWLB_ASSERT(total <= 0xffff);
  // The header checksum: what does not change, and the rest (RFC 1071).
  uint32_t sum = 0x4500u + outer.tos + total + (uint32_t{outer.ttl} << 8 | 17);
  sum += (outer.source >> 16) + (outer.source & 0xffff);
  sum += (outer.destination >> 16) + (outer.destination & 0xffff);
  sum = (sum & 0xffff) + (sum >> 16);
  sum += sum >> 16;
  const auto checksum = static_cast<uint16_t>(~sum);
  base::store(to, uint64_t{0x45u | uint32_t{outer.tos} << 8 |
                           uint32_t{__builtin_bswap16(static_cast<uint16_t>(total))} << 16});
  base::store(to + 8, (outer.ttl | 17u << 8 | uint32_t{__builtin_bswap16(checksum)} << 16) |
                          uint64_t{__builtin_bswap32(outer.source)} << 32);
  base::store_be32(to + 16, outer.destination);
  const auto udp_length = static_cast<uint16_t>(8 + payload_length);
  base::store(to + 20, __builtin_bswap16(outer.source_port) |
                           uint32_t{__builtin_bswap16(outer.destination_port)} << 16 |
                           uint64_t{__builtin_bswap16(udp_length)} << 32);
  if (outer.checksum) write_outer_checksum(to, payload_length);
}

}  // namespace gwlb::wire
