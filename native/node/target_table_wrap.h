#pragma once

#include "node/class_wrap.h"
#include "node/configs.h"

namespace gwlb::node {

struct TargetTable {
  static constexpr ClassId kClass = {"TargetTable", 0x42c8b1e65f07d93a};
  Targets targets;
};

}  // namespace gwlb::node
