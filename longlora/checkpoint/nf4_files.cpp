#include "longlora/checkpoint/nf4_files.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <map>
#include <string_view>

#include "longlora/checkpoint/nf4_state.h"
#include "longlora/core/error.h"
#include "longlora/core/json.h"
#include "longlora/tensors/dtypes.h"

namespace longlora::checkpoint {
namespace {

using ops::Nf4Matrix;

[[noreturn]] void refuse(const TensorStore& store, const std::string& name, const std::string& reason) {
  refuse_nf4(store.file_of(name).string(), name, reason);
}

// Loads a part whose type and number of elements are known and whose shape may be any.
at::Tensor load_part(const TensorStore& store, const std::string& weight, const Nf4Part& part) {
  const std::string name = weight + part.suffix;
  if (!store.contains(name)) refuse(store, weight, fmt::format("{} is missing", name));
  const auto& info = store.info(name);
  int64_t found = 1;
  for (const int64_t size : info.shape) found *= size;
  if (info.dtype != part.dtype || found != part.count)
    refuse(store, name,
           fmt::format("wanted {} elements of {}, found {} of {}", part.count, c10::toString(part.dtype),
                       found, c10::toString(info.dtype)));
  at::Tensor loaded = store.load(name).reshape({-1});
  if (part.dtype == at::kFloat && !at::isfinite(loaded).all().item<bool>())
    refuse(store, name, "wanted finite numbers, found infinities or NaN");
  return loaded;
}

Nf4State read_state(const TensorStore& store, const std::string& weight) {
  const std::string name = weight + kNf4QuantState;
  const auto& info = store.info(name);
  if (info.dtype != at::kByte || info.shape.size() != 1 || info.shape[0] > kLargestNf4State)
    refuse(store, name, fmt::format("wanted at most {} bytes of JSON", kLargestNf4State));
  const at::Tensor bytes = store.load(name);
  const std::string text(static_cast<const char*>(bytes.data_ptr()), static_cast<size_t>(bytes.numel()));
  return parse_nf4_state(text, store.file_of(name).string(), name);
}

Json state_json(const Nf4Matrix& matrix) {
  Json json = {{"quant_type", "nf4"},
               {"blocksize", matrix.block_size},
               {"dtype", tensors::dtype_name(matrix.source_dtype)},
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
  for (const char* end : {kNf4Absmax, kNf4QuantMap, kNf4NestedAbsmax, kNf4NestedQuantMap, kNf4QuantState})
    names.push_back(name + end);
  return names;
}

bool is_stored_quantized(const TensorStore& store, const std::string& name) {
  if (store.contains(name + kNf4QuantState)) return true;
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
  const Nf4State state = read_state(store, name);
  if (state.shape != shape.vec())
    refuse(
        store, name,
        fmt::format("wanted shape [{}], found [{}]", fmt::join(shape, ", "), fmt::join(state.shape, ", ")));
  // The type as which the bytes are stored does not matter.
  const uint64_t found = store.info(name).num_bytes;
  if (found != static_cast<uint64_t>(nf4_code_bytes(state)))
    refuse(store, name, fmt::format("wanted {} bytes of codes, found {}", nf4_code_bytes(state), found));
  Nf4Matrix matrix;
  matrix.rows = shape[0];
  matrix.columns = shape[1];
  matrix.block_size = state.block_size;
  matrix.source_dtype = state.dtype;
  matrix.codes = store.load(name).reshape({-1}).view(at::kByte);
  std::map<std::string_view, at::Tensor> parts;
  for (const Nf4Part& part : nf4_parts(state)) parts[part.suffix] = load_part(store, name, part);
  if ((parts[kNf4QuantMap] - ops::nf4_values()).abs().max().item<float>() > 1e-6f)
    refuse(store, name + kNf4QuantMap, "wanted the 16 values of NF4, found others");
  matrix.absmax = parts[kNf4Absmax];
  if (!state.is_nested) return matrix;
  matrix.nested_block_size = state.nested_block_size;
  matrix.nested_offset = static_cast<float>(state.nested_offset);
  matrix.nested_map = parts[kNf4NestedQuantMap];
  matrix.nested_absmax = parts[kNf4NestedAbsmax];
  return matrix;
}

void append_nf4_tensors(const std::string& name, const Nf4Matrix& matrix, NamedTensors& tensors) {
  tensors.emplace_back(name, matrix.codes.view({-1, 1}));
  tensors.emplace_back(name + kNf4Absmax, matrix.absmax);
  tensors.emplace_back(name + kNf4QuantMap, ops::nf4_values());
  if (matrix.is_nested()) {
    tensors.emplace_back(name + kNf4NestedAbsmax, matrix.nested_absmax);
    tensors.emplace_back(name + kNf4NestedQuantMap, matrix.nested_map);
  }
  const std::string text = state_json(matrix).dump();
  at::Tensor bytes = at::empty({static_cast<int64_t>(text.size())}, at::kByte);
  std::copy(text.begin(), text.end(), bytes.mutable_data_ptr<uint8_t>());
  tensors.emplace_back(name + kNf4QuantState, bytes);
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
  const at::ScalarType dtype = is_source ? stored : at::kFloat;
  try {
    if (!store.can_view(name, dtype)) return ops::quantize_nf4(store.load(name, shape, dtype), options);
    const Nf4Matrix matrix = ops::quantize_nf4(store.view(name, shape), options);
    store.release(name);
    return matrix;
  } catch (const InputError&) {
    throw;
  } catch (const Error& error) {
    throw InputError(fmt::format("[{}] {}: {}", store.file_of(name).string(), name, error.what()));
  }
}

}  // namespace longlora::checkpoint
