#include "longlora/checkpoint/nf4_state.h"

#include <fmt/format.h>

#include <cmath>
#include <limits>
#include <optional>

#include "longlora/core/error.h"
#include "longlora/core/json.h"
#include "longlora/ops/nf4_options.h"
#include "longlora/tensors/dtypes.h"

namespace longlora::checkpoint {
namespace {

constexpr int64_t kLargestNestedBlock = int64_t{1} << 20;

// Reads a whole number. The JSON library would convert any number to one.
int64_t integer(const Json& json) {
  return json.is_number_integer() ? json.get<int64_t>() : -1;
}

std::vector<int64_t> sizes(const Json& json) {
  std::vector<int64_t> found;
  if (!json.is_array()) return found;
  found.reserve(json.size());
  for (const Json& size : json) found.push_back(integer(size));
  return found;
}

bool is_countable(const std::vector<int64_t>& shape) {
  return shape.size() == 2 && shape[0] > 0 && shape[1] > 0 &&
         shape[0] <= std::numeric_limits<int64_t>::max() / 8 / shape[1];
}

int64_t in_blocks(int64_t count, int64_t size) {
  return (count + size - 1) / size;
}

}  // namespace

void refuse_nf4(const std::string& file, const std::string& name, const std::string& reason) {
  throw InputError(fmt::format(
      "[{}] expected {} as bitsandbytes stores NF4: {}; was the file cut or changed?", file, name, reason));
}

Nf4State parse_nf4_state(const std::string& text, const std::string& file, const std::string& name) {
  const auto refuse = [&](const std::string& reason) { refuse_nf4(file, name, reason); };
  const Json json = parse_json(text, fmt::format("{}, {}", file, name));
  Nf4State state;
  std::optional<c10::ScalarType> dtype;
  try {
    if (json.at("quant_type") != "nf4") refuse("wanted quant_type nf4");
    state.block_size = integer(json.at("blocksize"));
    dtype = tensors::weight_dtype_from_name(json.at("dtype").get<std::string>());
    state.shape = sizes(json.at("shape"));
    state.is_nested = json.contains("nested_blocksize");
    if (state.is_nested) {
      state.nested_block_size = integer(json.at("nested_blocksize"));
      state.nested_offset = json.at("nested_offset").get<double>();
    }
  } catch (const Json::exception& error) {
    refuse(error.what());
  }
  if (!ops::is_nf4_block_size(state.block_size))
    refuse(fmt::format("wanted a blocksize of 32, 64, … 4096, found {}", json["blocksize"].dump()));
  if (!dtype) refuse("wanted dtype float32, bfloat16 or float16");
  state.dtype = *dtype;
  if (!is_countable(state.shape)) refuse("wanted a shape of two sizes, found " + json["shape"].dump());
  if (state.is_nested && (state.nested_block_size < 1 || state.nested_block_size > kLargestNestedBlock))
    refuse(fmt::format("wanted a nested_blocksize of 256, found {}", json["nested_blocksize"].dump()));
  if (!(std::fabs(state.nested_offset) <= static_cast<double>(std::numeric_limits<float>::max())))
    refuse("wanted a finite nested_offset");
  return state;
}

std::vector<Nf4Part> nf4_parts(const Nf4State& state) {
  const int64_t blocks = in_blocks(state.num_elements(), state.block_size);
  std::vector<Nf4Part> parts = {{kNf4QuantMap, c10::ScalarType::Float, 16}};
  if (!state.is_nested) {
    parts.push_back({kNf4Absmax, c10::ScalarType::Float, blocks});
    return parts;
  }
  parts.push_back({kNf4Absmax, c10::ScalarType::Byte, blocks});
  parts.push_back({kNf4NestedQuantMap, c10::ScalarType::Float, 256});
  parts.push_back({kNf4NestedAbsmax, c10::ScalarType::Float, in_blocks(blocks, state.nested_block_size)});
  return parts;
}

int64_t nf4_code_bytes(const Nf4State& state) {
  return (state.num_elements() + 1) / 2;
}

}  // namespace longlora::checkpoint
