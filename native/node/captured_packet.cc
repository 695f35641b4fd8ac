// The packets of captured frames: where they are, and their segments where they are longer than any
// link takes.
#include <algorithm>

#include "node/addon.h"
#include "wire/captured.h"
#include "wire/frame.h"

namespace gwlb::node {
namespace {

using wire::Frame;

// What locatePacket() found, as words that JavaScript views; src/replay/frames.ts reads them.
enum LocatedWord : uint32_t {
  kOffset,  // first byte of the IP header
  kReason,  // why a GENEVE packet has no IP packet inside, or 0; then the rest means nothing
  kLength,  // bytes of the packet, maybe more than were captured
  kLengthZero,
  kHeaders,
  kTransport,
  kProtocol,
  kTcpFlags,
  kHasEndpoint,  // a GENEVE packet with all three gateway options
  kEndpointId,   // low half, high half
  kLocatedWords = kEndpointId + 2,
};

enum Located : uint32_t { kFound, kNoIp, kUnknownLink };

void put_packet(uint32_t* words, const Bytes& frame, size_t offset, uint32_t end) {
  const auto there = static_cast<uint32_t>(std::min<size_t>(frame.size, end) - offset);
  const wire::CapturedPacket packet =
      wire::read_captured(frame.data + offset, there, end - static_cast<uint32_t>(offset));
  words[kOffset] = static_cast<uint32_t>(offset);
  words[kLength] = packet.length;
  words[kLengthZero] = packet.length_zero;
  words[kHeaders] = packet.headers;
  words[kTransport] = packet.transport;
  words[kProtocol] = packet.protocol;
  words[kTcpFlags] = packet.tcp_flags;
}

// The IP packet that a frame carries: inside of GENEVE where it is a GENEVE packet, else its own.
// What may be wrong with the packet itself is left to whoever takes it.
Located locate(const Bytes& bytes, const Frame& frame, const wire::ParseError& error,
               uint32_t wire_length, uint32_t* words) {
  const bool cut_link = !error.ok() && frame.network_offset == Frame::kAbsent;
  if (frame.network_offset == Frame::kAbsent && !cut_link) return kNoIp;
  words[kHasEndpoint] = frame.has_gateway_options;
  words[kEndpointId] = static_cast<uint32_t>(frame.gateway.endpoint_id);
  words[kEndpointId + 1] = static_cast<uint32_t>(frame.gateway.endpoint_id >> 32);
  base::DropReason reason = base::DropReason::none;
  if (!frame.is_geneve) {
    put_packet(words, bytes, cut_link ? bytes.size : frame.network_offset, wire_length);
  } else if (frame.geneve.control) {
    reason = base::DropReason::geneve_control;
  } else if (frame.inner.source != nullptr) {
    const auto at = static_cast<size_t>(frame.inner.source - bytes.data);
    put_packet(words, bytes, at - (frame.inner.version == 4 ? 12 : 8), frame.datagram_end);
  } else {
    reason = error.ok() ? base::DropReason::geneve_bad_protocol : error.reason;
  }
  words[kReason] = static_cast<uint32_t>(reason);
  return kFound;
}

napi_value locate_packet(const Napi::CallbackInfo& info) {
  const napi_env env = info.Env();
  Bytes bytes;
  uint32_t wire_length;
  uint32_t link;
  uint16_t option_class;
  uint16_t port;
  if (!read_bytes(env, info[0], "frame", &bytes) ||
      !read_number(env, info[1], "wireLength", bytes.size, 0xffffffff, &wire_length) ||
      !read_number(env, info[2], "link", 0, 0xffffffff, &link) ||
      !read_number(env, info[3], "optionClass", 0, 0xffff, &option_class) ||
      !read_number(env, info[4], "port", 0, 0xffff, &port)) {
    return nullptr;
  }
  if (!wire::link_supported(link)) return number_value(env, kUnknownLink);
  Frame frame;
  const wire::ParseError error =
      wire::parse_frame(bytes.data, bytes.size, wire_length, link, option_class, port, &frame);
  uint32_t* words = Napi::Env(env).GetInstanceData<AddonData>()->located_words.get();
  return number_value(env, locate(bytes, frame, error, wire_length, words));
}

napi_value cut_packet(const Napi::CallbackInfo& info) {
  const napi_env env = info.Env();
  Bytes packet;
  Bytes out;
  uint32_t segment;
  uint32_t k;
  constexpr size_t kPacketBytesMax = size_t{1} << 30;
  if (!read_number(env, info[1], "segment", 1, 0xffff, &segment) ||
      !read_number(env, info[2], "k", 0, 0xffffffff, &k) ||
      !read_bytes(env, info[0], "packet", &packet) || !read_bytes(env, info[3], "out", &out)) {
    return nullptr;
  }
  if (packet.size > kPacketBytesMax || out.size < std::min<size_t>(packet.size, 0xffff)) {
    throw_range_error(env, "out: expected room for the packet, or 65535 bytes, received " +
                               std::to_string(out.size));
    return nullptr;
  }
  const auto length = static_cast<uint32_t>(packet.size);
  return number_value(env, wire::write_captured_segment(packet.data, length, segment, k, out.data));
}

napi_value located_words_value(napi_env env) {
  AddonData* data = Napi::Env(env).GetInstanceData<AddonData>();
  data->located_words.reset(new uint32_t[kLocatedWords]());
  const std::shared_ptr<uint32_t[]>& words = data->located_words;
  return typed_array(env, napi_uint32_array, kLocatedWords,
                     external_buffer(env, words.get(), kLocatedWords * sizeof(uint32_t), words));
}

}  // namespace

void add_captured_packet_functions(napi_env env, ObjectBuilder& exports) {
  exports.value("locatePacket", plain_function<locate_packet>(env, "locatePacket"))
      .value("locatedWords", located_words_value(env))
      .value("cutPacket", plain_function<cut_packet>(env, "cutPacket"));
}

}  // namespace gwlb::node
