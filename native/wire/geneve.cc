#include "wire/geneve.h"

#include "base/assert.h"
#include "base/bytes.h"
#include "base/limits.h"

namespace gwlb::wire {

using base::DropReason;

namespace {

constexpr uint8_t kControlBit = 0x80;
constexpr uint8_t kCriticalBit = 0x40;
constexpr uint32_t kOptionHeaderBytes = 4;
constexpr uint8_t kOptionWordsMask = 0x1f;

}  // namespace

ParseError parse_geneve(const uint8_t* data, size_t length, GeneveHeader* out,
                        uint32_t base_offset) {
  const auto had = static_cast<uint32_t>(length);
  if (length < kGeneveBaseBytes) {
    return {DropReason::geneve_truncated, Layer::geneve, base_offset, kGeneveBaseBytes, had};
  }
  out->version = data[0] >> 6;
  out->option_bytes = static_cast<uint16_t>((data[0] & 0x3f) * 4);
  out->control = (data[1] & kControlBit) != 0;
  out->critical = (data[1] & kCriticalBit) != 0;
  out->protocol_type = base::load_be16(data + 2);
  out->vni = base::load_be32(data + 4) >> 8;
  if (out->version != 0) {
    return {DropReason::geneve_bad_version, Layer::geneve, base_offset, 0, out->version};
  }
  if (length < out->header_length()) {
    return {DropReason::geneve_truncated, Layer::geneve, base_offset, out->header_length(), had};
  }
  return {};
}

bool GeneveOptionWalk::next(GeneveOption* out) {
  if (at_ == bytes_ || !error_.ok()) return false;
  const uint32_t left = bytes_ - at_;
  const uint8_t* option = options_ + at_;
  uint32_t needed = kOptionHeaderBytes;
  if (left >= needed) needed += (option[3] & kOptionWordsMask) * 4u;
  if (left < needed) {
    error_ = {DropReason::geneve_bad_options, Layer::geneve_option, base_offset_ + at_, needed,
              left};
    return false;
  }
  out->data = option + kOptionHeaderBytes;
  out->option_class = base::load_be16(option);
  out->type = option[2];
  out->length = static_cast<uint8_t>(needed - kOptionHeaderBytes);
  at_ += needed;
  return true;
}

void write_geneve(uint8_t* to, const GeneveHeader& header) {
  GWLB_ASSERT(header.option_bytes % 4 == 0 && header.option_bytes <= base::kGeneveOptionBytesMax);
  to[0] = static_cast<uint8_t>((header.version << 6) | (header.option_bytes / 4));
  to[1] = static_cast<uint8_t>((header.control ? kControlBit : 0) |
                               (header.critical ? kCriticalBit : 0));
  base::store_be16(to + 2, header.protocol_type);
  base::store_be32(to + 4, header.vni << 8);
}

uint32_t write_geneve_option(uint8_t* to, const GeneveOption& option) {
  GWLB_ASSERT(option.length % 4 == 0 && option.length <= 124);
  base::store_be16(to, option.option_class);
  to[2] = option.type;
  to[3] = option.length / 4;
  if (option.length > 0) std::memcpy(to + kOptionHeaderBytes, option.data, option.length);
  return kOptionHeaderBytes + option.length;
}

}  // namespace gwlb::wire
