#pragma once

#include "node/class_wrap.h"
#include "node/configs.h"

namespace gwlb::node {

struct TargetTable {
  static constexpr ClassId kClass = {"TargetTable", 0x42c8b1e65f07d93a};
  Targets targets;
};

// False, with an exception pending, where it was released.
bool built(napi_env env, const TargetTable& table);

}  // namespace gwlb::node
