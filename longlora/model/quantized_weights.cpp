#include "longlora/model/quantized_weights.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>
#include <string_view>

#include "longlora/core/error.h"
#include "longlora/core/json.h"

namespace longlora::model {
namespace {

using checkpoint::TensorStore;
using ops::Nf4Matrix;

constexpr const char* kAbsmax = ".absmax";
constexpr const char* kValues = ".quant_map";
constexpr const char* kNestedAbsmax = ".nested_absmax";
constexpr const char* kNestedValues = ".nested_quant_map";
constexpr const char* kState = ".quant_state.bitsandbytes__nf4";
/// The JSON has a few short members.
constexpr int64_t kLargestState = 4096;

[[noreturn]] void refuse(const TensorStore& store, const std::string& name, const std::string& reason) {
  throw InputError(
      fmt::format("[{}] expected {} as bitsandbytes stores NF4: {}; was the file cut or changed?",
                  store.file_of(name).string(), name, reason));
}

/// A part whose type and number of elements are known, whatever its shape.
at::Tensor load_part(const TensorStore& store, const std::string& weight, const char* end,
                     at::ScalarType dtype, int64_t count) {
  const std::string name = weight + end;
  if (!store.contains(name)) refuse(store, weight, fmt::format("{} is missing", name));
  const auto& info = store.info(name);
  int64_t found = 1;
  for (const int64_t size : info.shape) found *= size;
  if (info.dtype != dtype || found != count)
    refuse(store, name,
           fmt::format("wanted {} elements of {}, found {} of {}", count, c10::toString(dtype), found,
                       c10::toString(info.dtype)));
  at::Tensor part = store.load(name).reshape({-1});
  if (dtype == at::kFloat && !at::isfinite(part).all().item<bool>())
    refuse(store, name, "wanted finite numbers, found infinities or NaN");
  return part;
}

/// What the JSON says.
struct State {
  int64_t block_size = 0;
  at::ScalarType dtype = at::kFloat;
  std::vector<int64_t> shape;
  bool is_nested = false;
  int64_t nested_block_size = 0;
  double nested_offset = 0.0;
};

at::ScalarType dtype_from_text(const std::string& text) {
  if (text == "float32") return at::kFloat;
  if (text == "bfloat16") return at::kBFloat16;
  return text == "float16" ? at::kHalf : at::ScalarType::Undefined;
}

State read_state(const TensorStore& store, const std::string& weight) {
  const std::string name = weight + kState;
  const auto& info = store.info(name);
  if (info.dtype != at::kByte || info.shape.size() != 1 || info.shape[0] > kLargestState)
    refuse(store, name, fmt::format("wanted at most {} bytes of JSON", kLargestState));
  const at::Tensor bytes = store.load(name);
  const std::string text(static_cast<const char*>(bytes.data_ptr()), static_cast<size_t>(bytes.numel()));
  const Json json = parse_json(text, fmt::format("{}, {}", store.file_of(name).string(), name));
  State state;
  try {
    if (json.at("quant_type") != "nf4") refuse(store, name, "wanted quant_type nf4");
    state.block_size = json.at("blocksize").get<int64_t>();
    state.dtype = dtype_from_text(json.at("dtype").get<std::string>());
    state.shape = json.at("shape").get<std::vector<int64_t>>();
    state.is_nested = json.contains("nested_blocksize");
    if (state.is_nested) {
      state.nested_block_size = json.at("nested_blocksize").get<int64_t>();
      state.nested_offset = json.at("nested_offset").get<double>();
    }
  } catch (const Json::exception& error) {
    refuse(store, name, error.what());
  }
  if (!ops::is_nf4_block_size(state.block_size))
    refuse(store, name, fmt::format("wanted a blocksize of 32, 64, … 4096, found {}", state.block_size));
  if (state.dtype == at::ScalarType::Undefined)
    refuse(store, name, "wanted dtype float32, bfloat16 or float16");
  if (state.is_nested && (state.nested_block_size < 1 || state.nested_block_size > (1 << 20)))
    refuse(store, name, fmt::format("wanted a nested_blocksize of 256, found {}", state.nested_block_size));
  if (!std::isfinite(static_cast<float>(state.nested_offset)))
    refuse(store, name, "wanted a finite nested_offset");
  return state;
}

Json state_json(const Nf4Matrix& matrix) {
  Json json = {{"quant_type", "nf4"},
               {"blocksize", matrix.block_size},
               {"dtype", matrix.source_dtype == at::kFloat      ? "float32"
                         : matrix.source_dtype == at::kBFloat16 ? "bfloat16"
                                                                : "float16"},
               {"shape", {matrix.rows, matrix.columns}}};
  if (matrix.is_nested()) {
    json["nested_blocksize"] = matrix.nested_block_size;
    json["nested_dtype"] = "float32";
    json["nested_offset"] = static_cast<double>(matrix.nested_offset);
  }
  return json;
}

}  // namespace

std::vector<std::string> nf4_part_names(const std::string& name) {
  std::vector<std::string> names = {name};
  for (const char* end : {kAbsmax, kValues, kNestedAbsmax, kNestedValues, kState})
    names.push_back(name + end);
  return names;
}

bool is_stored_quantized(const TensorStore& store, const std::string& name) {
  if (store.contains(name + kState)) return true;
  const std::string module = name.substr(0, name.rfind('.'));
  const char* other = nullptr;
  if (store.contains(name + ".quant_state.bitsandbytes__fp4")) other = "FP4";
  if (store.contains(module + ".SCB")) other = "8 bits";
  if (other != nullptr)
    throw InputError(fmt::format(
        "[{}] expected {} in NF4 or in full precision, got {}; use the model that it was made from",
        store.file_of(name).string(), name, other));
  return false;
}

Nf4Matrix load_nf4(const TensorStore& store, const std::string& name, at::IntArrayRef shape) {
  const State state = read_state(store, name);
  if (state.shape != shape.vec())
    refuse(
        store, name,
        fmt::format("wanted shape [{}], found [{}]", fmt::join(shape, ", "), fmt::join(state.shape, ", ")));
  Nf4Matrix matrix;
  matrix.rows = shape[0];
  matrix.columns = shape[1];
  matrix.block_size = state.block_size;
  matrix.source_dtype = state.dtype;
  // Whatever type the bytes are stored as.
  const auto& info = store.info(name);
  const int64_t bytes = (matrix.num_elements() + 1) / 2;
  if (info.num_bytes != static_cast<uint64_t>(bytes))
    refuse(store, name, fmt::format("wanted {} bytes of codes, found {}", bytes, info.num_bytes));
  matrix.codes = store.load(name).reshape({-1}).view(at::kByte);
  const at::Tensor values = load_part(store, name, kValues, at::kFloat, 16);
  if ((values - ops::nf4_values()).abs().max().item<float>() > 1e-6f)
    refuse(store, name + kValues, "wanted the 16 values of NF4, found others");
  matrix.absmax =
      load_part(store, name, kAbsmax, state.is_nested ? at::kByte : at::kFloat, matrix.num_blocks());
  if (!state.is_nested) return matrix;
  matrix.nested_block_size = state.nested_block_size;
  matrix.nested_offset = static_cast<float>(state.nested_offset);
  matrix.nested_map = load_part(store, name, kNestedValues, at::kFloat, 256);
  matrix.nested_absmax =
      load_part(store, name, kNestedAbsmax, at::kFloat,
                (matrix.num_blocks() + state.nested_block_size - 1) / state.nested_block_size);
  return matrix;
}

void append_nf4_tensors(const std::string& name, const Nf4Matrix& matrix, checkpoint::NamedTensors& tensors) {
  tensors.emplace_back(name, matrix.codes.view({-1, 1}));
  tensors.emplace_back(name + kAbsmax, matrix.absmax);
  tensors.emplace_back(name + kValues, ops::nf4_values());
  if (matrix.is_nested()) {
    tensors.emplace_back(name + kNestedAbsmax, matrix.nested_absmax);
    tensors.emplace_back(name + kNestedValues, matrix.nested_map);
  }
  const std::string text = state_json(matrix).dump();
  at::Tensor bytes = at::empty({static_cast<int64_t>(text.size())}, at::kByte);
  std::copy(text.begin(), text.end(), bytes.mutable_data_ptr<uint8_t>());
  tensors.emplace_back(name + kState, bytes);
}

Nf4Matrix nf4_of_shape(at::IntArrayRef shape, const ops::Nf4Options& options) {
  const auto meta = [](int64_t count, at::ScalarType dtype) {
    return at::empty({count}, at::TensorOptions(dtype).device(at::kMeta));
  };
  Nf4Matrix matrix;
  matrix.rows = shape[0];
  matrix.columns = shape[1];
  matrix.block_size = options.block_size;
  matrix.codes = meta((matrix.num_elements() + 1) / 2, at::kByte);
  matrix.absmax = meta(matrix.num_blocks(), options.double_quant ? at::kByte : at::kFloat);
  if (options.double_quant)
    matrix.nested_absmax =
        meta((matrix.num_blocks() + matrix.nested_block_size - 1) / matrix.nested_block_size, at::kFloat);
  return matrix;
}

Nf4Matrix quantize_stored(const TensorStore& store, const std::string& name, at::IntArrayRef shape,
                          const ops::Nf4Options& options) {
  const at::ScalarType stored = store.info(name).dtype;
  const bool is_source = stored == at::kBFloat16 || stored == at::kHalf;
  try {
    return ops::quantize_nf4(store.load(name, shape, is_source ? stored : at::kFloat), options);
  } catch (const InputError&) {
    throw;
  } catch (const Error& error) {
    throw InputError(fmt::format("[{}] {}: {}", store.file_of(name).string(), name, error.what()));
  }
}

}  // namespace longlora::model
