// One frame, header or key at a time: for tools and tests. Input is copied first, because results
// are made while native code still points into it.
#include <cstring>

#include "flow/flow_key.h"
#include "node/addon.h"
#include "node/configs.h"
#include "wire/frame.h"

namespace gwlb::node {
namespace {

using wire::Frame;

constexpr size_t kFrameBytesMax = 1u << 20;
constexpr uint32_t kOptionDataMax = 124;
constexpr uint32_t kOptionsMax = base::kGeneveOptionBytesMax / 4;

size_t address_bytes(uint8_t version) { return version == 4 ? 4 : 16; }

bool copy_bytes(napi_env env, napi_value value, const char* name, std::vector<uint8_t>* out) {
  Bytes bytes;
  if (!read_bytes(env, value, name, &bytes)) return false;
  if (bytes.size > kFrameBytesMax) {
    throw_range_error(env, std::string(name) + ": expected at most " +
                               std::to_string(kFrameBytesMax) + " bytes, received " +
                               std::to_string(bytes.size));
    return false;
  }
  out->assign(bytes.data, bytes.data + bytes.size);
  return true;
}

napi_value error_value(napi_env env, const wire::ParseError& error) {
  if (error.ok()) return null_value(env);
  ObjectBuilder out(env);
  return out.text("reason", base::kDropReasonTexts[static_cast<uint32_t>(error.reason)].name)
      .text("layer", wire::layer_name(error.layer))
      .number("offset", error.offset)
      .number("needed", error.needed)
      .number("had", error.had)
      .finish();
}

napi_value gateway_value(napi_env env, const wire::GatewayOptions& options) {
  ObjectBuilder out(env);
  return out.bigint("endpointId", options.endpoint_id)
      .bigint("attachmentId", options.attachment_id)
      .number("cookie", options.cookie)
      .finish();
}

// The options that can be read of `bytes` bytes.
napi_value options_value(napi_env env, const uint8_t* data, uint32_t bytes) {
  std::vector<napi_value> out;
  wire::GeneveOptionWalk walk(data, bytes);
  wire::GeneveOption option;
  while (walk.next(&option)) {
    ObjectBuilder entry(env);
    out.push_back(entry.number("class", option.option_class)
                      .number("type", option.type)
                      .bytes("data", option.data, option.length)
                      .finish());
  }
  return array_value(env, out);
}

// `there` bytes of the datagram begin at `data`, at least 8.
napi_value geneve_value(napi_env env, const wire::GeneveHeader& header, const uint8_t* data,
                        size_t there, uint32_t offset) {
  const bool whole = header.header_length() <= there;
  ObjectBuilder out(env);
  return out.number("offset", offset)
      .number("version", header.version)
      .boolean("oam", header.control)
      .boolean("critical", header.critical)
      .number("protocolType", header.protocol_type)
      .number("vni", header.vni)
      .number("headerLength", header.header_length())
      .value("options",
             options_value(env, data + wire::kGeneveBaseBytes, whole ? header.option_bytes : 0))
      .finish();
}

napi_value outer_value(napi_env env, const Frame& frame) {
  if (frame.ip_offset == Frame::kAbsent || frame.source == nullptr) return null_value(env);
  ObjectBuilder out(env);
  return out.number("version", frame.version)
      .bytes("source", frame.source, address_bytes(frame.version))
      .bytes("destination", frame.destination, address_bytes(frame.version))
      .number("sourcePort", frame.source_port)
      .number("destinationPort", frame.destination_port)
      .number("ttl", frame.ttl)
      .text("checksum", wire::checksum_state_name(frame.checksum))
      .finish();
}

napi_value ethernet_value(napi_env env, const Frame& frame) {
  const wire::EthernetFrame& ethernet = frame.inner_ethernet;
  if (frame.inner_ethernet_offset == Frame::kAbsent) return null_value(env);
  std::vector<napi_value> tags;
  for (uint32_t i = 0; i < ethernet.vlans; ++i) tags.push_back(number_value(env, ethernet.vlan[i]));
  ObjectBuilder out(env);
  return out.bytes("destination", ethernet.destination, 6)
      .bytes("source", ethernet.source, 6)
      .number("etherType", ethernet.ether_type)
      .value("vlan", array_value(env, tags))
      .finish();
}

// Also of a packet whose transport header is wrong: its addresses were readable.
napi_value inner_value(napi_env env, const Frame& frame, const uint8_t* data) {
  const wire::InnerPacket& inner = frame.inner;
  if (inner.source == nullptr) return null_value(env);
  const size_t offset = static_cast<size_t>(inner.source - data) - (inner.version == 4 ? 12 : 8);
  const bool has_ports = (inner.flags & wire::kHasPorts) != 0;
  ObjectBuilder out(env);
  out.number("offset", static_cast<double>(offset))
      .number("version", inner.version)
      .bytes("source", inner.source, address_bytes(inner.version))
      .bytes("destination", inner.destination, address_bytes(inner.version))
      .number("protocol", inner.protocol);
  if (has_ports) {
    out.number("sourcePort", inner.source_port).number("destinationPort", inner.destination_port);
  } else {
    out.null("sourcePort").null("destinationPort");
  }
  return out.number("length", inner.total_length)
      .number("flags", inner.flags)
      .number("tcpFlags", inner.tcp_flags)
      .finish();
}

napi_value decode_frame(const Napi::CallbackInfo& info) {
  const napi_env env = info.Env();
  std::vector<uint8_t> bytes;
  uint32_t wire_length;
  uint32_t link;
  uint16_t option_class;
  uint16_t port;
  if (!copy_bytes(env, info[0], "frame", &bytes) ||
      !read_number(env, info[1], "wireLength", bytes.size(), 0xffffffff, &wire_length) ||
      !read_number(env, info[2], "link", 0, 0xffffffff, &link) ||
      !read_number(env, info[3], "optionClass", 0, 0xffff, &option_class) ||
      !read_number(env, info[4], "port", 0, 0xffff, &port)) {
    return nullptr;
  }
  Frame frame;
  const uint8_t* data = bytes.data();
  const wire::ParseError error =
      wire::parse_frame(data, bytes.size(), wire_length, link, option_class, port, &frame);
  const bool has_geneve = frame.geneve_offset != Frame::kAbsent;
  const uint32_t at = has_geneve ? frame.geneve_offset : 0;
  ObjectBuilder out(env);
  return out.boolean("isGeneve", frame.is_geneve)
      .value("outer", outer_value(env, frame))
      .value("geneve", has_geneve
                           ? geneve_value(env, frame.geneve, data + at, bytes.size() - at, at)
                           : null_value(env))
      .value("gateway",
             frame.has_gateway_options ? gateway_value(env, frame.gateway) : null_value(env))
      .value("ethernet", ethernet_value(env, frame))
      .value("inner", inner_value(env, frame, data))
      .value("error", error_value(env, error))
      .finish();
}

// A decoded header as words that JavaScript views: objects would cost ten times the decoding.
// src/packet/geneve-words.ts reads them.
enum GeneveWord : uint32_t {
  kPresent,  // bits: 1 header, 2 gateway options, 4 error
  kFlags,    // version | O << 8 | C << 9
  kProtocolType,
  kVni,
  kHeaderLength,
  kOptionCount,
  kReason,
  kLayer,
  kOffset,
  kNeeded,
  kHad,
  kCookie,
  kEndpointId,                      // low half, high half
  kAttachmentId = kEndpointId + 2,  // the same
  kOptions = kAttachmentId + 2,     // class | type << 16 | data bytes << 24, and where they begin
  kGeneveWords = kOptions + 2 * kOptionsMax,
};

void put_64(uint32_t* words, uint64_t value) {
  words[0] = static_cast<uint32_t>(value);
  words[1] = static_cast<uint32_t>(value >> 32);
}

void put_header(uint32_t* words, const wire::GeneveHeader& header, const uint8_t* data,
                size_t there) {
  words[kPresent] |= 1;
  words[kFlags] = header.version | (header.control ? 1u << 8 : 0) | (header.critical ? 1u << 9 : 0);
  words[kProtocolType] = header.protocol_type;
  words[kVni] = header.vni;
  words[kHeaderLength] = header.header_length();
  const bool whole = header.header_length() <= there;
  // The options that can be read.
  wire::GeneveOptionWalk walk(data + wire::kGeneveBaseBytes, whole ? header.option_bytes : 0);
  wire::GeneveOption option;
  uint32_t count = 0;
  while (count < kOptionsMax && walk.next(&option)) {
    uint32_t* entry = words + kOptions + 2 * count++;
    entry[0] = option.option_class | uint32_t{option.type} << 16 | uint32_t{option.length} << 24;
    entry[1] = static_cast<uint32_t>(option.data - data);
  }
  words[kOptionCount] = count;
}

napi_value decode_geneve(const Napi::CallbackInfo& info) {
  const napi_env env = info.Env();
  Bytes bytes;
  uint16_t option_class;
  if (!read_number(env, info[1], "optionClass", 0, 0xffff, &option_class) ||
      !read_packet(env, info[0], "payload", &bytes)) {
    return nullptr;
  }
  const uint8_t* data = bytes.data;
  const size_t size = bytes.size;
  wire::GeneveHeader header;
  wire::GatewayOptions options;
  bool has_options = false;
  wire::ParseError error = wire::parse_geneve(data, size, &header);
  if (error.ok()) {
    has_options = wire::find_gateway_options(data, header, option_class, &options);
    error = wire::parse_gateway_header(data, size, option_class, &header, &options);
    // A peer that is no gateway sends none: what is wrong with the header by itself?
    if (error.reason == base::DropReason::gateway_options_missing) {
      error = wire::parse_plain_header(data, size, &header);
    }
  }
  uint32_t* words = Napi::Env(env).GetInstanceData<AddonData>()->geneve_words.get();
  words[kPresent] = (has_options ? 2 : 0) | (error.ok() ? 0 : 4);
  if (size >= wire::kGeneveBaseBytes) put_header(words, header, data, size);
  if (has_options) {
    words[kCookie] = options.cookie;
    put_64(words + kEndpointId, options.endpoint_id);
    put_64(words + kAttachmentId, options.attachment_id);
  }
  words[kReason] = static_cast<uint32_t>(error.reason);
  words[kLayer] = static_cast<uint32_t>(error.layer);
  words[kOffset] = error.offset;
  words[kNeeded] = error.needed;
  words[kHad] = error.had;
  return nullptr;
}

napi_value geneve_words_value(napi_env env) {
  AddonData* data = Napi::Env(env).GetInstanceData<AddonData>();
  data->geneve_words.reset(new uint32_t[kGeneveWords]());
  const std::shared_ptr<uint32_t[]>& words = data->geneve_words;
  return typed_array(env, napi_uint32_array, kGeneveWords,
                     external_buffer(env, words.get(), kGeneveWords * sizeof(uint32_t), words));
}

napi_value layers_value(napi_env env) {
  std::vector<napi_value> out;
  for (uint32_t i = 0; i < static_cast<uint32_t>(wire::Layer::count); ++i) {
    out.push_back(text_value(env, wire::layer_name(static_cast<wire::Layer>(i))));
  }
  return array_value(env, out);
}

bool read_option(const Fields& fields, std::vector<uint8_t>* out) {
  wire::GeneveOption option;
  std::vector<uint8_t> data;
  if (!fields.number("class", 0, 0xffff, &option.option_class) ||
      !fields.number("type", 0, 0xff, &option.type) ||
      !fields.bytes("data", kOptionDataMax, &data)) {
    return false;
  }
  if (data.size() % 4 != 0) {
    throw_range_error(fields.env(), fields.path("data").text() +
                                        ": expected a multiple of 4 bytes, received " +
                                        std::to_string(data.size()));
    return false;
  }
  option.data = data.data();
  option.length = static_cast<uint8_t>(data.size());
  const size_t at = out->size();
  out->resize(at + 4 + data.size());
  wire::write_geneve_option(out->data() + at, option);
  return true;
}

napi_value encode_geneve(const Napi::CallbackInfo& info) {
  const napi_env env = info.Env();
  Fields fields;
  wire::GeneveHeader header;
  napi_value options;
  uint32_t count;
  if (!Fields::open(env, info[0], "header", &fields) ||
      !fields.number("protocolType", 0, 0xffff, &header.protocol_type) ||
      !fields.number("vni", 0, 0xffffff, &header.vni) || !fields.boolean("oam", &header.control) ||
      !fields.boolean("critical", &header.critical) ||
      !fields.array("options", kOptionsMax, &options, &count)) {
    return nullptr;
  }
  std::vector<uint8_t> out(wire::kGeneveBaseBytes);
  for (uint32_t i = 0; i < count; ++i) {
    Fields option;
    if (!fields.element("options", options, i, &option) || !read_option(option, &out)) {
      return nullptr;
    }
  }
  const size_t option_bytes = out.size() - wire::kGeneveBaseBytes;
  if (option_bytes > base::kGeneveOptionBytesMax) {
    throw_range_error(env, "header.options: expected at most 252 bytes in all, received " +
                               std::to_string(option_bytes));
    return nullptr;
  }
  header.option_bytes = static_cast<uint16_t>(option_bytes);
  wire::write_geneve(out.data(), header);
  return bytes_value(env, out.data(), out.size());
}

template <class Key>
napi_value key_value(napi_env env, const wire::InnerPacket& packet, flow::Stickiness stickiness,
                     uint16_t scope) {
  Key key;
  flow::make_key(packet, stickiness, scope, &key);
  return bytes_value(env, &key, sizeof key);
}

// An ICMP error belongs to the flow of the packet that it quotes; a later fragment, whose ports are
// not here, to its 3-tuple.
napi_value flow_key(const Napi::CallbackInfo& info) {
  const napi_env env = info.Env();
  Bytes bytes;
  flow::Stickiness stickiness;
  uint16_t scope;
  if (!read_stickiness(env, info[1], "stickiness", &stickiness) ||
      !read_number(env, info[2], "scope", 0, 0xffff, &scope) ||
      !read_packet(env, info[0], "packet", &bytes)) {
    return nullptr;
  }
  wire::InnerPacket packet;
  if (!wire::parse_inner(bytes.data, bytes.size, &packet).ok()) return null_value(env);
  wire::InnerPacket quote;
  if ((packet.flags & wire::kIcmpError) != 0) {
    if (!wire::parse_icmp_quote(bytes.data, packet, &quote).ok()) return null_value(env);
    packet = quote;
  }
  return packet.version == 4 ? key_value<flow::FlowKey4>(env, packet, stickiness, scope)
                             : key_value<flow::FlowKey6>(env, packet, stickiness, scope);
}

}  // namespace

void add_codec_functions(napi_env env, ObjectBuilder& exports) {
  exports.value("decodeFrame", plain_function<decode_frame>(env, "decodeFrame"))
      .value("encodeGeneve", plain_function<encode_geneve>(env, "encodeGeneve"))
      .value("decodeGeneve", plain_function<decode_geneve>(env, "decodeGeneve"))
      .value("geneveWords", geneve_words_value(env))
      .value("layers", layers_value(env))
      .value("flowKey", plain_function<flow_key>(env, "flowKey"));
}

}  // namespace gwlb::node
