// Capture files: a reader over bytes that JavaScript holds (the file, or one window of it after the
// other), and the parts of a pcap file to write.
#include "io/capture.h"
#include "node/addon.h"
#include "node/class_wrap.h"

namespace gwlb::node {
namespace {

constexpr uint32_t kSnapLength = 262'144;
// The reader's object keeps the file under this name, so that the collector sees it.
constexpr char kFile[] = "file";

struct CaptureReader {
  static constexpr ClassId kClass = {"CaptureReader", 0x0f8c52e6b1d9437a};
  io::CaptureReader native;
  Bytes file;
};

// Another window takes its place.
bool keep(const Napi::CallbackInfo& info, napi_value file) {
  napi_property_descriptor property = {};
  property.utf8name = kFile;
  property.value = file;
  property.attributes = static_cast<napi_property_attributes>(napi_writable | napi_configurable);
  return napi_define_properties(info.Env(), info.This(), 1, &property) == napi_ok;
}

std::unique_ptr<CaptureReader> construct(const Napi::CallbackInfo& info) {
  const napi_env env = info.Env();
  auto self = std::make_unique<CaptureReader>();
  bool whole;
  if (!read_bytes(env, info[0], kFile, &self->file) ||
      !read_boolean(env, info[1], "whole", &whole) || !keep(info, info[0])) {
    return nullptr;
  }
  std::string error;
  if (!io::CaptureReader::open(self->file.data, self->file.size, whole, &self->native, &error)) {
    napi_throw_error(env, "ERR_CAPTURE", error.c_str());
    return nullptr;
  }
  return self;
}

// The memory may have been given away (transferred) or cut (resized) since.
bool check_file(const Napi::CallbackInfo& info, const CaptureReader& self, napi_value* file) {
  Bytes now;
  if (napi_get_named_property(info.Env(), info.This(), kFile, file) != napi_ok ||
      !read_bytes(info.Env(), *file, kFile, &now)) {
    return false;
  }
  if (now.data == self.file.data && now.size == self.file.size) return true;
  throw_type_error(info.Env(),
                   "file: expected the bytes to stay where they were, "
                   "received a buffer that was transferred or resized");
  return false;
}

// A view of the file's bytes, not a copy.
napi_value view_of(napi_env env, napi_value file, const Bytes& all,
                   const io::CapturedFrame& frame) {
  napi_value buffer;
  size_t offset;
  if (napi_get_typedarray_info(env, file, nullptr, nullptr, nullptr, &buffer, &offset) != napi_ok) {
    return nullptr;
  }
  if (frame.captured != 0) offset += static_cast<size_t>(frame.data - all.data);
  return typed_array(env, napi_uint8_array, frame.captured, buffer, offset);
}

napi_value next(const Napi::CallbackInfo& info, CaptureReader& self) {
  const napi_env env = info.Env();
  napi_value file;
  if (!check_file(info, self, &file)) return nullptr;
  io::CapturedFrame frame;
  if (!self.native.next(&frame)) return self.native.wants_more() ? nullptr : null_value(env);
  ObjectBuilder out(env);
  return out.value("data", view_of(env, file, self.file, frame))
      .number("length", frame.length)
      .bigint("timeNs", frame.time_ns)
      .number("link", frame.link)
      .finish();
}

napi_value unread(const Napi::CallbackInfo& info, CaptureReader& self) {
  return number_value(info.Env(), static_cast<double>(self.native.unread()));
}

napi_value feed(const Napi::CallbackInfo& info, CaptureReader& self) {
  const napi_env env = info.Env();
  Bytes window;
  bool last;
  if (!read_bytes(env, info[0], kFile, &window) || !read_boolean(env, info[1], "last", &last)) {
    return nullptr;
  }
  if (window.size < self.native.unread()) {
    throw_range_error(env, "file: expected at least the " + std::to_string(self.native.unread()) +
                               " bytes that were not read, received " +
                               std::to_string(window.size));
    return nullptr;
  }
  if (!keep(info, info[0])) return nullptr;
  self.file = window;
  self.native.feed(window.data, window.size, last);
  return nullptr;
}

napi_value error(const Napi::CallbackInfo& info, CaptureReader& self) {
  return text_value(info.Env(), self.native.error());
}

napi_value capture_header(const Napi::CallbackInfo& info) {
  uint32_t link;
  if (!read_number(info.Env(), info[0], "link", 0, 0xffff, &link)) return nullptr;
  std::vector<uint8_t> out;
  io::write_capture_header(&out, link, kSnapLength);
  return bytes_value(info.Env(), out.data(), out.size());
}

napi_value capture_record(const Napi::CallbackInfo& info) {
  const napi_env env = info.Env();
  Bytes data;
  io::CapturedFrame frame;
  if (!read_bytes(env, info[0], "data", &data)) return nullptr;
  if (data.size > kSnapLength) {
    throw_range_error(env, "data: expected at most " + std::to_string(kSnapLength) +
                               " bytes, received " + std::to_string(data.size));
    return nullptr;
  }
  if (!read_number(env, info[1], "length", data.size, 0xffffffff, &frame.length) ||
      !read_bigint(env, info[2], "timeNs", &frame.time_ns)) {
    return nullptr;
  }
  frame.data = data.data;
  frame.captured = static_cast<uint32_t>(data.size);
  std::vector<uint8_t> out;
  io::write_capture_record(&out, frame);
  return bytes_value(env, out.data(), out.size());
}

}  // namespace

napi_value capture_reader_class(napi_env env) {
  return define_class<CaptureReader, construct>(env, {
                                                         method<CaptureReader, next>("next"),
                                                         method<CaptureReader, unread>("unread"),
                                                         method<CaptureReader, feed>("feed"),
                                                         method<CaptureReader, error>("error"),
                                                     });
}

void add_capture_functions(napi_env env, ObjectBuilder& exports) {
  exports.value("captureHeader", plain_function<capture_header>(env, "captureHeader"))
      .value("captureRecord", plain_function<capture_record>(env, "captureRecord"));
}

}  // namespace gwlb::node
