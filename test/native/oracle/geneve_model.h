// A second reading of RFC 8926, slow and simple: bytes are taken one at a time from a copy, and no
// arithmetic is shared with native/wire. Tests and fuzz targets compare the two.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "base/drop_reason.h"

namespace gwlb::test {

struct ModelOption {
  uint16_t option_class = 0;
  uint8_t type = 0;
  std::vector<uint8_t> data;
};

struct ModelGeneve {
  base::DropReason reason = base::DropReason::none;  // of the base header and the options' sum
  bool control = false;
  bool critical = false;
  uint16_t protocol_type = 0;
  uint32_t vni = 0;
  std::vector<ModelOption> options;  // those before the first that does not fit
  size_t header_length = 0;
};

class ByteReader {
 public:
  ByteReader(const uint8_t* data, size_t size) : bytes_(data, data + size) {}
  std::optional<uint8_t> take() {
    if (at_ == bytes_.size()) return std::nullopt;
    return bytes_[at_++];
  }
  size_t left() const { return bytes_.size() - at_; }

 private:
  std::vector<uint8_t> bytes_;
  size_t at_ = 0;
};

// The options area; `*fits` is whether they add up to it.
inline std::vector<ModelOption> model_options(const uint8_t* data, size_t size, bool* fits) {
  std::vector<ModelOption> out;
  ByteReader reader(data, size);
  *fits = true;
  while (reader.left() != 0) {
    uint8_t head[4];
    for (uint8_t& byte : head) {
      const auto taken = reader.take();
      if (!taken) {
        *fits = false;
        return out;
      }
      byte = *taken;
    }
    ModelOption option;
    option.option_class = static_cast<uint16_t>(head[0] * 256 + head[1]);
    option.type = head[2];
    for (int words = head[3] % 32; words > 0; --words) {
      for (int i = 0; i < 4; ++i) {
        const auto taken = reader.take();
        if (!taken) {
          *fits = false;
          return out;
        }
        option.data.push_back(*taken);
      }
    }
    out.push_back(option);
  }
  return out;
}

inline ModelGeneve model_geneve(const uint8_t* data, size_t size) {
  using base::DropReason;
  ModelGeneve out;
  if (size < 8) {
    out.reason = DropReason::geneve_truncated;
    return out;
  }
  const int version = data[0] / 64;
  const size_t words = data[0] % 64;
  out.control = data[1] >= 128;
  out.critical = data[1] % 128 >= 64;
  out.protocol_type = static_cast<uint16_t>(data[2] * 256 + data[3]);
  out.vni = data[4] * 65536u + data[5] * 256u + data[6];
  out.header_length = 8 + words * 4;
  if (version != 0) {
    out.reason = DropReason::geneve_bad_version;
  } else if (size < out.header_length) {
    out.reason = DropReason::geneve_truncated;
  } else {
    bool fits = false;
    out.options = model_options(data + 8, words * 4, &fits);
    if (!fits) out.reason = DropReason::geneve_bad_options;
  }
  return out;
}

inline uint64_t model_number(const std::vector<uint8_t>& data) {
  uint64_t value = 0;
  for (const uint8_t byte : data) value = value * 256 + byte;
  return value;
}

struct ModelGateway {
  base::DropReason reason = base::DropReason::none;
  std::optional<uint64_t> value[3];  // endpoint, attachment, cookie
};

// What a gateway has to make of the header: the first thing wrong in the order of the bytes counts;
// that the options do not add up is seen at the option that does not fit.
inline ModelGateway model_gateway(const uint8_t* data, size_t size, uint16_t option_class) {
  using base::DropReason;
  const ModelGeneve header = model_geneve(data, size);
  ModelGateway out;
  if (header.reason != DropReason::none && header.reason != DropReason::geneve_bad_options) {
    out.reason = header.reason;
    return out;
  }
  if (header.control) {
    out.reason = DropReason::geneve_control;
    return out;
  }
  for (const ModelOption& option : header.options) {
    if (option.type >= 128) {
      out.reason = DropReason::geneve_critical_option;
      return out;
    }
    if (option.option_class != option_class || option.type < 1 || option.type > 3) continue;
    const size_t wanted = option.type == 3 ? 4 : 8;
    if (option.data.size() != wanted) {
      out.reason = DropReason::gateway_options_length;
      return out;
    }
    auto& value = out.value[option.type - 1];
    if (!value) value = model_number(option.data);
  }
  out.reason = header.reason;
  if (out.reason == DropReason::none && !(out.value[0] && out.value[1] && out.value[2])) {
    out.reason = DropReason::gateway_options_missing;
  }
  return out;
}

}  // namespace gwlb::test
