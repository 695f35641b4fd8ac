// The devices of an appliance: methods of the ApplianceEngine's object
// (src/native/binding-appliance.ts).
#pragma once

#include <napi.h>

#include <vector>

namespace gwlb::node {

std::vector<napi_property_descriptor> appliance_device_methods();

}  // namespace gwlb::node
