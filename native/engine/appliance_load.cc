#include "engine/appliance_load.h"

#include "base/bytes.h"

namespace gwlb::engine {

void ApplianceLoad::describe(uint32_t v, uint32_t i) {
  const appliance::Opened& opened = appliance->opened(i);
  const wire::InnerPacket& inner = opened.inner;
  uint32_t* out = details.get() + size_t{v} * kDetailWords;
  out[0] = inner.version | uint32_t{inner.protocol} << 8 | uint32_t{inner.flags} << 16 |
           uint32_t{inner.tcp_flags} << 24;
  out[1] = inner.source_port | uint32_t{inner.destination_port} << 16;
  out[2] =
      inner.transport_offset | uint32_t{inner.icmp_type} << 16 | uint32_t{inner.icmp_code} << 24;
  out[3] = opened.options.cookie;
  out[4] = static_cast<uint32_t>(opened.options.endpoint_id);
  out[5] = static_cast<uint32_t>(opened.options.endpoint_id >> 32);
  out[6] = static_cast<uint32_t>(opened.options.attachment_id);
  out[7] = static_cast<uint32_t>(opened.options.attachment_id >> 32);
  const uint32_t words = inner.version == 4 ? 1 : 4;
  for (uint32_t k = 0; k < 4; ++k) {
    out[8 + k] = k < words ? base::load_be32(inner.source + 4 * k) : 0;
    out[12 + k] = k < words ? base::load_be32(inner.destination + 4 * k) : 0;
  }
}

void ApplianceLoad::show_all() {
  shown_count = batch->count;
  for (uint32_t i = 0; i < shown_count; ++i) shown[i] = static_cast<uint16_t>(i);
  shadow->show(shown, shown_count);
}

}  // namespace gwlb::engine
