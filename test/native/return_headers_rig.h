// The headers of packets that go through the kernel, without one: what enters comes back when a
// test says so.
#pragma once

#include <cstring>
#include <memory>
#include <vector>

#include "appliance/return_headers.h"
#include "test/native/datagrams.h"
#include "test/native/test.h"

namespace gwlb::test {

using appliance::Appliance;
using appliance::ApplianceConfig;
using appliance::ReturnHeaders;
using appliance::ReturnLimits;
using base::DropReason;

inline constexpr uint32_t kClient = 0x0a000001;
inline constexpr uint32_t kServer = 0x0a000002;
inline constexpr uint16_t kGatewayPort = 6081;

// A datagram, where it came from, and the device that it enters the kernel by.
struct Entering {
  Bytes bytes;
  uint32_t peer = 0xc0000201;
  uint16_t port = 40000;
  uint16_t device = 0;
};

// What became of a packet that the kernel sent.
struct GivenBack {
  DropReason reason = DropReason::none;
  Bytes bytes;  // with its header
  uint32_t peer = 0;
  uint16_t port = 0;
  uint16_t source_port = 0;
  Bytes header(const Bytes& inner) const {
    return Bytes(bytes.begin(), bytes.end() - static_cast<std::ptrdiff_t>(inner.size()));
  }
};

struct ReturnBench {
  std::unique_ptr<batch::PacketBatch> in =
      batch::PacketBatch::create(base::kEngineBatchPackets, base::kSlotStrideJumbo);
  std::unique_ptr<batch::PacketBatch> out =
      batch::PacketBatch::create(base::kEngineBatchPackets, base::kSlotStrideJumbo);
  Appliance opener{ApplianceConfig{}};
  std::unique_ptr<ReturnHeaders> headers;
  uint64_t now_ms = 1000;

  explicit ReturnBench(ReturnLimits limits = {2048, 2048, 64, 350'000, 120'000}, bool paths = false)
      : headers(ReturnHeaders::create(limits, paths, {1, 2})) {
    if (headers == nullptr) report_failure(__FILE__, __LINE__, "no memory");
    if (!paths) return;
    in->keep_paths();
    out->keep_paths();
  }

  std::vector<DropReason> enter(const std::vector<Entering>& datagrams) {
    uint16_t packets[base::kEngineBatchPackets];
    std::vector<DropReason> why(datagrams.size());
    in->count = static_cast<uint32_t>(datagrams.size());
    for (uint32_t i = 0; i < in->count; ++i) {
      const Bytes& bytes = datagrams[i].bytes;
      in->reset(i, static_cast<uint32_t>(bytes.size()));
      std::memcpy(in->packet(i), bytes.data(), bytes.size());
      in->address[i] = datagrams[i].peer;
      in->port[i] = datagrams[i].port;
      packets[i] = static_cast<uint16_t>(i);
    }
    opener.open(*in);
    for (uint32_t i = 0; i < in->count; ++i) {
      if (!opener.opened(i).is_open()) report_failure(__FILE__, __LINE__, "not a good datagram");
      in->endpoint[i] = datagrams[i].device;
    }
    headers->learn(*in, opener, packets, in->count, now_ms, why.data());
    return why;
  }
  DropReason enter(const Bytes& bytes, uint16_t device = 0) {
    return enter({{bytes, 0xc0000201, 40000, device}})[0];
  }

  std::vector<GivenBack> come_back(const std::vector<Bytes>& packets, uint16_t device = 0) {
    out->count = static_cast<uint32_t>(packets.size());
    for (uint32_t i = 0; i < out->count; ++i) {
      out->reset(i, static_cast<uint32_t>(packets[i].size()));
      std::memcpy(out->packet(i), packets[i].data(), packets[i].size());
      out->endpoint[i] = device;
    }
    headers->give_back(*out, kGatewayPort, now_ms);
    std::vector<GivenBack> back(packets.size());
    for (uint32_t i = 0; i < out->count; ++i) {
      if (out->verdict[i] == static_cast<uint8_t>(batch::Verdict::drop)) {
        back[i].reason = static_cast<DropReason>(out->reason[i]);
        continue;
      }
      CHECK_EQ(out->verdict[i], static_cast<uint8_t>(batch::Verdict::forward));
      back[i].bytes.assign(out->packet(i), out->packet(i) + out->length[i]);
      back[i].peer = out->address[i];
      back[i].port = out->port[i];
      back[i].source_port = out->source_port[i];
    }
    return back;
  }
  GivenBack come_back(const Bytes& packet, uint16_t device = 0) {
    return come_back(std::vector<Bytes>{packet}, device)[0];
  }
  // The cookie that a packet goes back with; 0 where it is dropped.
  uint32_t cookie_of(const Bytes& packet, uint16_t device = 0) {
    const GivenBack back = come_back(packet, device);
    if (back.reason != DropReason::none) return 0;
    return base::load_be32(back.bytes.data() + 36);
  }

  // Time passes, and somebody looks after the table.
  void pass(uint64_t ms) {
    for (uint64_t left = ms; left > 0;) {
      const uint64_t step = left < 100 ? left : 100;
      now_ms += step;
      left -= step;
      headers->sweep(now_ms);
    }
    // Twice round.
    for (uint32_t k = 0; k < 60; ++k) headers->sweep(now_ms += 100);
  }
};

inline Bytes tcp_from(bool client, uint8_t flags, uint32_t sequence = 1000, uint32_t ack = 0,
                      uint16_t port = 4000) {
  Bytes segment = client ? tcp(port, 443, flags) : tcp(443, port, flags);
  put32(segment, 4, sequence);
  put32(segment, 8, ack);
  return client ? ipv4(kClient, kServer, 6, segment) : ipv4(kServer, kClient, 6, segment);
}
inline Bytes udp_from(bool client, uint16_t port = 1000) {
  return client ? ipv4(kClient, kServer, 17, udp(port, 53))
                : ipv4(kServer, kClient, 17, udp(53, port));
}

}  // namespace gwlb::test
