#include "wire/gwlb_options.h"

#include "base/assert.h"
#include "base/bytes.h"
#include "wire/checksum.h"
#include "wire/inner.h"

namespace gwlb::wire {

using base::DropReason;
using namespace gateway_header;

namespace {

constexpr uint8_t kAllFound = 7;

void read_option(const GeneveOption& option, GatewayOptions* out) {
  if (option.type == kEndpointType) out->endpoint_id = base::load_be64(option.data);
  if (option.type == kAttachmentType) out->attachment_id = base::load_be64(option.data);
  if (option.type == kCookieType) out->cookie = base::load_be32(option.data);
}

bool is_gateway_option(const GeneveOption& option, uint16_t option_class) {
  return option.option_class == option_class && option.type >= kEndpointType &&
         option.type <= kCookieType;
}

uint32_t offset_of(const GeneveOption& option, const uint8_t* data, uint32_t base_offset) {
  return base_offset + static_cast<uint32_t>(option.data - data) - kOptionHeader;
}

ParseError critical_error(const GeneveOption& option, uint32_t offset) {
  return {DropReason::geneve_critical_option, Layer::geneve_option, offset, 0,
          uint32_t{option.option_class} << 8 | option.type};
}

ParseError control_error(uint32_t base_offset) {
  return {DropReason::geneve_control, Layer::geneve, base_offset, 0, 1};
}

ParseError walk_gateway_options(const uint8_t* data, const GeneveHeader& header,
                                uint16_t option_class, GatewayOptions* options,
                                uint32_t base_offset) {
  uint8_t found = 0;
  GeneveOption option;
  GeneveOptionWalk walk(data + kGeneveBaseBytes, header.option_bytes,
                        base_offset + kGeneveBaseBytes);
  while (walk.next(&option)) {
    const uint32_t offset = offset_of(option, data, base_offset);
    if (option.critical()) return critical_error(option, offset);
    if (!is_gateway_option(option, option_class)) continue;
    const uint32_t needed = option_bytes_of(option.type);
    if (option.length != needed) {
      return {DropReason::gateway_options_length, Layer::geneve_option, offset, needed,
              option.length};
    }
    const auto bit = static_cast<uint8_t>(1u << (option.type - 1));
    if ((found & bit) == 0) read_option(option, options);
    found |= bit;
  }
  if (!walk.error().ok()) return walk.error();
  if (found != kAllFound) {
    return {DropReason::gateway_options_missing, Layer::geneve, base_offset, 3,
            static_cast<uint32_t>(__builtin_popcount(found))};
  }
  return {};
}

}  // namespace

ParseError parse_gateway_header(const uint8_t* data, size_t length, uint16_t option_class,
                                GeneveHeader* header, GatewayOptions* options,
                                uint32_t base_offset) {
  const ParseError error = parse_geneve(data, length, header, base_offset);
  if (!error.ok()) return error;
  uint16_t protocol_type;
  if (parse_expected_header(data, length, option_class, &protocol_type, options)) return {};
  if (header->control) return control_error(base_offset);
  return walk_gateway_options(data, *header, option_class, options, base_offset);
}

ParseError parse_plain_header(const uint8_t* data, size_t length, GeneveHeader* header,
                              uint32_t base_offset) {
  const ParseError error = parse_geneve(data, length, header, base_offset);
  if (!error.ok()) return error;
  if (header->control) return control_error(base_offset);
  GeneveOption option;
  GeneveOptionWalk walk(data + kGeneveBaseBytes, header->option_bytes,
                        base_offset + kGeneveBaseBytes);
  while (walk.next(&option)) {
    if (option.critical()) return critical_error(option, offset_of(option, data, base_offset));
  }
  return walk.error();
}

bool find_gateway_options(const uint8_t* data, const GeneveHeader& header, uint16_t option_class,
                          GatewayOptions* out) {
  uint8_t found = 0;
  GeneveOption option;
  GeneveOptionWalk walk(data + kGeneveBaseBytes, header.option_bytes);
  while (walk.next(&option)) {
    if (!is_gateway_option(option, option_class)) continue;
    if (option.length != option_bytes_of(option.type)) return false;
    const auto bit = static_cast<uint8_t>(1u << (option.type - 1));
    if ((found & bit) == 0) read_option(option, out);
    found |= bit;
  }
  return walk.error().ok() && found == kAllFound;
}

void write_outer_checksum(uint8_t* to, uint32_t payload_length) {
  uint8_t* udp = to + 20;
  const uint16_t sum =
      transport_checksum(to + 12, to + 16, 4, kUdp, udp, size_t{8} + payload_length);
  base::store_be16(udp + 6, sum == 0 ? 0xffff : sum);  // RFC 768: 0 would mean "no checksum"
}

}  // namespace gwlb::wire
