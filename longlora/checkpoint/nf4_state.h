// What a weight in 4-bit NormalFloat says of itself in bitsandbytes' files: the JSON beside it, and the parts
// that have to be there. Without tensors, so that it can be fuzzed by itself.
#pragma once

#include <c10/core/ScalarType.h>

#include <cstdint>
#include <string>
#include <vector>

namespace longlora::checkpoint {

constexpr const char* kNf4Absmax = ".absmax";
constexpr const char* kNf4QuantMap = ".quant_map";
constexpr const char* kNf4NestedAbsmax = ".nested_absmax";
constexpr const char* kNf4NestedQuantMap = ".nested_quant_map";
constexpr const char* kNf4QuantState = ".quant_state.bitsandbytes__nf4";
/// The JSON has a few short members.
constexpr int64_t kLargestNf4State = 4096;

/// The JSON, checked: sizes are positive, elements can be counted, numbers are finite in float32.
struct Nf4State {
  int64_t block_size = 0;
  c10::ScalarType dtype = c10::ScalarType::Float;
  std::vector<int64_t> shape;  // [out, in]
  bool is_nested = false;
  int64_t nested_block_size = 0;
  double nested_offset = 0.0;

  int64_t num_elements() const { return shape[0] * shape[1]; }
};

/// Throws InputError that names `file` and the tensor `name` the text is from.
Nf4State parse_nf4_state(const std::string& text, const std::string& file, const std::string& name);

/// A tensor beside the codes: WEIGHT + suffix, of so many elements in any shape.
struct Nf4Part {
  const char* suffix;
  c10::ScalarType dtype;
  int64_t count;
};

/// The parts that belong to such a weight, without the codes and the JSON.
std::vector<Nf4Part> nf4_parts(const Nf4State& state);

/// Bytes of its codes.
int64_t nf4_code_bytes(const Nf4State& state);

/// Throws the InputError for a tensor that is not as bitsandbytes stores it.
[[noreturn]] void refuse_nf4(const std::string& file, const std::string& name, const std::string& reason);

}  // namespace longlora::checkpoint
