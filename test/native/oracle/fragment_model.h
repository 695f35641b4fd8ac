// RFC 791 fragmentation and reassembly, and RFC 9293's MSS option, written for reading and not from
// native/wire.
#pragma once

#include <algorithm>
#include <cstdint>
#include <map>
#include <vector>

#include "test/native/packets.h"

namespace gwlb::test {

inline uint32_t get16(const Bytes& b, size_t at) { return b[at] * 256u + b[at + 1]; }

// A header of these 20 bytes and these options, with the checksum.
inline Bytes model_header(const Bytes& packet, const Bytes& options, size_t total, uint32_t field) {
  Bytes header(packet.begin(), packet.begin() + 20);
  append(header, options);
  header[0] = static_cast<uint8_t>(0x40 + header.size() / 4);
  put16(header, 2, static_cast<uint16_t>(total));
  put16(header, 6, static_cast<uint16_t>(field));
  put16(header, 10, 0);
  put16(header, 10, ones_complement(header.data(), header.size()));
  return header;
}

inline Bytes model_copied_options(const Bytes& options) {
  Bytes copied;
  for (size_t at = 0; at < options.size() && options[at] != 0;) {
    const size_t length = options[at] == 1 ? 1 : at + 1 < options.size() ? options[at + 1] : 0;
    if (length == 0 || (length == 1 && options[at] != 1) || at + length > options.size()) break;
    if (options[at] >= 128) {
      copied.insert(copied.end(), options.begin() + static_cast<long>(at),
                    options.begin() + static_cast<long>(at + length));
    }
    at += length;
  }
  while (copied.size() % 4 != 0) copied.push_back(0);
  return copied;
}

// The packet in pieces of `payload` bytes (a multiple of 8).
inline std::vector<Bytes> model_fragments(const Bytes& packet, size_t payload) {
  const size_t header = packet[0] % 16 * 4u;
  const Bytes options(packet.begin() + 20, packet.begin() + static_cast<long>(header));
  const uint32_t field = get16(packet, 6);
  std::vector<Bytes> out;
  for (size_t at = header; at < packet.size(); at += payload) {
    const bool last = at + payload >= packet.size();
    const Bytes data(packet.begin() + static_cast<long>(at),
                     last ? packet.end() : packet.begin() + static_cast<long>(at + payload));
    const Bytes own = at == header ? options : model_copied_options(options);
    const uint32_t offset = field % 8192 + static_cast<uint32_t>(at - header) / 8;
    const uint32_t flags = field / 8192 * 8192 | (last ? 0u : 0x2000u);
    Bytes one = model_header(packet, own, 20 + own.size() + data.size(), flags | offset);
    append(one, data);
    out.push_back(one);
  }
  return out;
}

// What leaves of packets of which none may be longer than `mtu`.
inline std::vector<Bytes> model_fitting(const std::vector<Bytes>& packets, size_t mtu,
                                        size_t payload) {
  std::vector<Bytes> out;
  for (const Bytes& packet : packets) {
    if (packet.size() <= mtu) {
      out.push_back(packet);
      continue;
    }
    for (Bytes& one : model_fragments(packet, payload)) out.push_back(std::move(one));
  }
  return out;
}

// The whole of fragments that make one, in any order.
inline Bytes model_reassembled(const std::vector<Bytes>& fragments) {
  std::map<uint32_t, Bytes> parts;
  Bytes first;
  uint32_t flags = 0;
  for (const Bytes& one : fragments) {
    const size_t header = one[0] % 16 * 4u;
    const uint32_t field = get16(one, 6);
    if (field % 8192 == 0) first = one;
    if ((field & 0x2000) == 0) flags = field / 8192 * 8192;
    parts[field % 8192] = Bytes(one.begin() + static_cast<long>(header), one.end());
  }
  Bytes data;
  for (const auto& [offset, part] : parts) append(data, part);
  const size_t header = first[0] % 16 * 4u;
  const Bytes options(first.begin() + 20, first.begin() + static_cast<long>(header));
  Bytes whole = model_header(first, options, header + data.size(), flags);
  append(whole, data);
  return whole;
}

// Where in a TCP header, of an IP packet whose transport begins at `transport`, MSS values are.
inline std::vector<size_t> model_mss_places(const Bytes& packet, size_t transport) {
  std::vector<size_t> places;
  const size_t end = std::min(packet.size(), transport + packet[transport + 12] / 16 * 4u);
  for (size_t at = transport + 20; at < end && packet[at] != 0;) {
    if (packet[at] == 1) {
      ++at;
      continue;
    }
    const size_t length = at + 1 < end ? packet[at + 1] : 0;
    if (length < 2 || at + length > end) break;
    if (packet[at] == 2 && length == 4) places.push_back(at + 2);
    at += length;
  }
  return places;
}

}  // namespace gwlb::test
