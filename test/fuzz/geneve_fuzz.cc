// GENEVE headers against a byte-wise option walker. The first two bytes of the input are the option
// class, the rest is a UDP payload.
#include <algorithm>
#include <vector>

#include "test/fuzz/fuzz.h"
#include "test/native/oracle/geneve_model.h"
#include "wire/gwlb_options.h"

namespace {

using namespace gwlb;
using base::DropReason;

void check_error(const wire::ParseError& error, size_t size) {
  if (error.ok()) return;
  FUZZ_CHECK(error.offset >= 5 && error.offset - 5 <= size);
  FUZZ_CHECK(error.layer == wire::Layer::geneve || error.layer == wire::Layer::geneve_option);
  if (error.reason == DropReason::geneve_truncated ||
      error.reason == DropReason::geneve_bad_options) {
    FUZZ_CHECK(error.needed > error.had);
  }
}

// Base header and options as the walk gives them; the same bytes again where reserved bits are 0.
void check_walk(const uint8_t* data, const wire::GeneveHeader& header,
                const test::ModelGeneve& model) {
  std::vector<uint8_t> rebuilt(header.header_length());
  wire::write_geneve(rebuilt.data(), header);
  wire::GeneveOptionWalk walk(data + 8, header.option_bytes, 13);
  wire::GeneveOption option;
  size_t at = 8;
  size_t seen = 0;
  while (walk.next(&option)) {
    FUZZ_CHECK(seen < model.options.size());
    const test::ModelOption& expected = model.options[seen++];
    FUZZ_CHECK(option.option_class == expected.option_class && option.type == expected.type);
    FUZZ_CHECK(option.length == expected.data.size());
    FUZZ_CHECK(std::equal(expected.data.begin(), expected.data.end(), option.data));
    at += wire::write_geneve_option(rebuilt.data() + at, option);
  }
  check_error(walk.error(), header.header_length());
  FUZZ_CHECK(seen == model.options.size());
  FUZZ_CHECK(walk.error().reason == model.reason);
  if (!walk.error().ok()) return;
  FUZZ_CHECK(at == header.header_length());
  std::vector<uint8_t> masked(data, data + at);
  masked[1] &= 0xc0;
  masked[7] = 0;
  for (size_t i = 8; i < at; i += 4 + (masked[i + 3] & 0x1f) * 4u) masked[i + 3] &= 0x1f;
  FUZZ_CHECK(masked == rebuilt);
}

void check_gateway(const uint8_t* data, size_t size, uint16_t option_class) {
  wire::GeneveHeader header;
  wire::GatewayOptions options;
  const wire::ParseError error =
      wire::parse_gateway_header(data, size, option_class, &header, &options, 5);
  const test::ModelGateway model = test::model_gateway(data, size, option_class);
  FUZZ_CHECK(error.reason == model.reason);
  check_error(error, size);
  if (!error.ok()) return;
  FUZZ_CHECK(options.endpoint_id == *model.value[0]);
  FUZZ_CHECK(options.attachment_id == *model.value[1]);
  FUZZ_CHECK(options.cookie == *model.value[2]);
  wire::GatewayOptions found;
  FUZZ_CHECK(wire::find_gateway_options(data, header, option_class, &found));
  FUZZ_CHECK(found.endpoint_id == options.endpoint_id && found.cookie == options.cookie);

  uint8_t written[wire::kGatewayHeaderBytes];
  wire::write_gateway_header(written, header.protocol_type, option_class, options);
  wire::GeneveHeader again;
  wire::GatewayOptions options_again;
  FUZZ_CHECK(
      wire::parse_gateway_header(written, sizeof written, option_class, &again, &options_again)
          .ok());
  FUZZ_CHECK(again.protocol_type == header.protocol_type && again.vni == 0);
  FUZZ_CHECK(options_again.endpoint_id == options.endpoint_id);
  FUZZ_CHECK(options_again.attachment_id == options.attachment_id);
  FUZZ_CHECK(options_again.cookie == options.cookie);
}

void check_plain(const uint8_t* data, size_t size, const test::ModelGeneve& model) {
  DropReason expected = model.reason;
  const bool base_good =
      model.reason == DropReason::none || model.reason == DropReason::geneve_bad_options;
  const bool critical = std::any_of(model.options.begin(), model.options.end(),
                                    [](const auto& option) { return option.type >= 128; });
  if (base_good && critical) expected = DropReason::geneve_critical_option;
  if (base_good && model.control) expected = DropReason::geneve_control;
  wire::GeneveHeader header;
  const wire::ParseError error = wire::parse_plain_header(data, size, &header, 5);
  FUZZ_CHECK(error.reason == expected);
  check_error(error, size);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size < 2) return 0;
  const auto option_class = static_cast<uint16_t>(data[0] * 256 + data[1]);
  // A block of its own, so that reading before it is seen as well.
  const std::vector<uint8_t> payload(data + 2, data + size);
  const uint8_t* bytes = payload.data();
  const test::ModelGeneve model = test::model_geneve(bytes, payload.size());
  wire::GeneveHeader header;
  const wire::ParseError error = wire::parse_geneve(bytes, payload.size(), &header, 5);
  check_error(error, payload.size());
  if (payload.size() >= 8) {
    FUZZ_CHECK(header.vni == model.vni && header.protocol_type == model.protocol_type);
    FUZZ_CHECK(header.control == model.control && header.critical == model.critical);
    FUZZ_CHECK(header.header_length() == model.header_length);
  }
  if (error.ok()) {
    check_walk(bytes, header, model);
  } else {
    FUZZ_CHECK(error.reason == model.reason);
  }
  check_gateway(bytes, payload.size(), option_class);
  check_plain(bytes, payload.size(), model);
  return 0;
}
