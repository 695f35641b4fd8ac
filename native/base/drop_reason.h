#pragma once

#include <cstdint>

namespace gwlb::base {

enum class DropReason : uint8_t {
  none = 0,
#define GWLB_DROP(name, sentence) name,
#include "base/drop_reasons.def"
#undef GWLB_DROP
  count
};

inline constexpr uint32_t kDropReasons = static_cast<uint32_t>(DropReason::count);

struct DropReasonText {
  const char* name;
  const char* sentence;
};

// Indexed by DropReason; entry 0 is "none".
inline constexpr DropReasonText kDropReasonTexts[kDropReasons] = {
    {"none", "not dropped"},
#define GWLB_DROP(name, sentence) {#name, sentence},
#include "base/drop_reasons.def"
#undef GWLB_DROP
};

}  // namespace gwlb::base
