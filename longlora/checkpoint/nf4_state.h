// What bitsandbytes' files say of a weight in 4-bit NormalFloat: the JSON beside it, and the parts that must
// be there. This header knows no tensors, so that the reader of the JSON can be fuzzed by itself.
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
/// The largest JSON that is read, in bytes: it has a few short members.
constexpr int64_t kLargestNf4State = 4096;

/// The content of the JSON, checked: sizes are positive, elements can be counted, numbers are finite in
/// float32.
struct Nf4State {
  int64_t block_size = 0;
  c10::ScalarType dtype = c10::ScalarType::Float;
  std::vector<int64_t> shape;  // [out, in]
  bool is_nested = false;
  int64_t nested_block_size = 0;
  double nested_offset = 0.0;

  int64_t num_elements() const { return shape[0] * shape[1]; }
};

/// Throws InputError that names `file` and the tensor `name` from which the text comes.
Nf4State parse_nf4_state(const std::string& text, const std::string& file, const std::string& name);

/// A tensor beside the codes. Its name is that of the weight and `suffix`; its shape may be any with this
/// number of elements.
struct Nf4Part {
  const char* suffix;
  c10::ScalarType dtype;
  int64_t count;
};

/// The parts that belong to such a weight, except the codes and the JSON.
std::vector<Nf4Part> nf4_parts(const Nf4State& state);

/// The size of the codes in bytes.
int64_t nf4_code_bytes(const Nf4State& state);

/// Throws the InputError for a tensor that bitsandbytes would not store like this.
[[noreturn]] void refuse_nf4(const std::string& file, const std::string& name, const std::string& reason);

}  // namespace longlora::checkpoint
