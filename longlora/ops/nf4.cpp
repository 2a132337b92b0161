#include "longlora/ops/nf4.h"

#include <ATen/Parallel.h>
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <vector>

#include "longlora/core/error.h"
#include "longlora/ops/backend.h"
#include "longlora/ops/cpu/chunks.h"
#include "longlora/ops/cpu/nf4_kernels.h"
#include "longlora/ops/dynamic_map.h"

namespace longlora::ops {
namespace {

using cpu::kNf4Values;
using cpu::nf4_kernels;

constexpr int64_t kNestedBlock = kQuantizedBlock;
// How many elements are quantised at a time. Blocks of every size divide it.
constexpr int64_t kElementsAtOnce = int64_t{1} << 18;
// The scale of an incomplete last block of zeros, as in bitsandbytes.
constexpr float kLeastScale = 1e-38f;

void check_options(const Nf4Options& options) {
  if (!is_nf4_block_size(options.block_size))
    throw Error(fmt::format("[nf4] expected blocks of 32, 64, … 4096 elements, got {}", options.block_size));
}

[[noreturn]] void refuse_elements() {
  throw Error("[nf4] expected finite elements, got infinities or NaN");
}

float middle_of(int64_t i) {
  return (kNf4Values[i] + kNf4Values[i + 1]) / 2.0f;
}

// Quantises an incomplete last block, in which bitsandbytes divides by the scale, while it multiplies by the
// inverse in others.
void quantize_rest(const float* x, int64_t count, float* absmax, uint8_t* codes) {
  float largest = 0.0f;
  for (int64_t i = 0; i < count; ++i) {
    if (!std::isfinite(x[i])) refuse_elements();
    largest = std::max(largest, std::fabs(x[i]));
  }
  *absmax = std::max(largest, kLeastScale);
  const auto code_of = [&](int64_t i) {
    const float scaled = i < count ? x[i] / *absmax : 0.0f;
    uint8_t code = 0;
    while (code < 15 && middle_of(code) < scaled) ++code;
    return code;
  };
  for (int64_t i = 0; i < count; i += 2)
    codes[i / 2] = static_cast<uint8_t>(code_of(i) << 4 | code_of(i + 1));
}

// Returns the mean as a single thread sums it. at::mean inside of a parallel region runs in one thread.
float mean_by_one_thread(const at::Tensor& x) {
  float mean = 0.0f;
  at::parallel_for(0, 2, 1, [&](int64_t begin, int64_t) {
    if (begin == 0) mean = x.mean().item<float>();
  });
  return mean;
}

// Finds the codes of numbers in [-1, 1] in the dynamic map as bitsandbytes' library does. It rounds a number
// to the nearest of 65536 equal steps and takes the value nearest to that step, so that close to the middle
// of two values it may take the other one.
class DynamicCodes {
 public:
  explicit DynamicCodes(const float* map) {
    for (size_t i = 0; i < middles_.size(); ++i) middles_[i] = (map[i] + map[i + 1]) * 0.5f;
  }

  uint8_t operator()(float x) const {
    const float place = (std::clamp(x, -1.0f, 1.0f) + 1.0f) * 0.5f;
    const auto index = static_cast<int>(std::fma(place, kLastStep, 0.5f));
    const float step = static_cast<float>(index) * 2.0f / kLastStep - 1.0f;
    return static_cast<uint8_t>(std::lower_bound(middles_.begin(), middles_.end(), step) - middles_.begin());
  }

 private:
  static constexpr float kLastStep = 65535.0f;
  std::array<float, 255> middles_;
};

// Quantises the scales to 8 bits.
void nest_scales(Nf4Matrix& matrix) {
  const int64_t count = matrix.absmax.numel(), num_nested = cpu::num_tasks(count, kNestedBlock);
  matrix.nested_block_size = kNestedBlock;
  matrix.nested_map = dynamic_map();
  matrix.nested_offset = mean_by_one_thread(matrix.absmax);
  const at::Tensor centred = matrix.absmax - matrix.nested_offset;
  matrix.absmax = at::empty({count}, at::kByte);
  matrix.nested_absmax = at::empty({num_nested}, at::kFloat);
  const float* from = centred.const_data_ptr<float>();
  const DynamicCodes code_of(matrix.nested_map.const_data_ptr<float>());
  for (int64_t b = 0; b < num_nested; ++b) {
    const int64_t begin = b * kNestedBlock, end = std::min(count, begin + kNestedBlock);
    float largest = 0.0f;
    for (int64_t i = begin; i < end; ++i) largest = std::max(largest, std::fabs(from[i]));
    matrix.nested_absmax.mutable_data_ptr<float>()[b] = largest;
    const float inverse = 1.0f / largest;
    for (int64_t i = begin; i < end; ++i)
      matrix.absmax.mutable_data_ptr<uint8_t>()[i] = largest > 0.0f ? code_of(from[i] * inverse) : uint8_t{0};
  }
}

}  // namespace

int64_t Nf4Matrix::num_bytes() const {
  int64_t bytes = 0;
  for (const at::Tensor* part : {&codes, &absmax, &nested_absmax})
    if (part->defined()) bytes += part->numel() * part->element_size();
  return bytes;
}

const at::Tensor& nf4_values() {
  static const at::Tensor values = at::tensor(at::ArrayRef<float>(kNf4Values, 16), at::kFloat);
  return values;
}

const at::Tensor& dynamic_map() {
  static const at::Tensor map =
      at::tensor(at::ArrayRef<float>(DynamicMap::with_sign().values().data(), 256), at::kFloat);
  return map;
}

Nf4Matrix quantize_nf4(const at::Tensor& weight, const Nf4Options& options) {
  check_options(options);
  if (weight.dim() != 2 || weight.numel() == 0 || !at::isFloatingType(weight.scalar_type()))
    throw Error("[nf4] expected a matrix of floating point numbers");
  Nf4Matrix matrix;
  matrix.rows = weight.size(0);
  matrix.columns = weight.size(1);
  matrix.block_size = options.block_size;
  matrix.source_dtype = weight.scalar_type();
  const int64_t elements = matrix.num_elements();
  matrix.codes = at::empty({(elements + 1) / 2}, at::kByte);
  matrix.absmax = at::empty({matrix.num_blocks()}, at::kFloat);
  const at::Tensor flat = weight.detach().contiguous().view({-1});
  auto* const absmax = matrix.absmax.mutable_data_ptr<float>();
  auto* const codes = matrix.codes.mutable_data_ptr<uint8_t>();
  cpu::parallel_chunks(elements, kElementsAtOnce, [&](int64_t, int64_t begin, int64_t end) {
    const at::Tensor part = flat.slice(0, begin, end).to(at::kFloat);
    const float* x = part.const_data_ptr<float>();
    const int64_t blocks = (end - begin) / options.block_size, whole = blocks * options.block_size;
    float* const scales = absmax + begin / options.block_size;
    if (!nf4_kernels().quantize(x, blocks, options.block_size, scales, codes + begin / 2)) refuse_elements();
    if (begin + whole < end)
      quantize_rest(x + whole, end - begin - whole, scales + blocks, codes + (begin + whole) / 2);
  });
  if (options.double_quant) nest_scales(matrix);
  return matrix;
}

Nf4Matrix on_device(const Nf4Matrix& matrix, at::Device device) {
  Nf4Matrix moved = matrix;
  for (at::Tensor* part : {&moved.codes, &moved.absmax, &moved.nested_absmax, &moved.nested_map})
    if (part->defined()) *part = part->to(device);
  return moved;
}

at::Tensor dequantize_nf4(const Nf4Matrix& matrix, at::ScalarType dtype) {
  // The backend is that of float32, in which the scales always are.
  return backend_for(matrix.codes.device(), at::kFloat).dequantize_nf4(matrix, dtype);
}

}  // namespace longlora::ops
