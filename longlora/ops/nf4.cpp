#include "longlora/ops/nf4.h"

#include <ATen/Parallel.h>
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <vector>

#include "longlora/core/error.h"
#include "longlora/ops/cpu/chunks.h"
#include "longlora/ops/cpu/nf4_kernels.h"
#include "longlora/ops/cpu/tensor_access.h"
#include "longlora/ops/dynamic_map.h"
#include "longlora/ops/kernel_choice.h"

namespace longlora::ops {
namespace {

using cpu::Bf16;
using cpu::kNf4Values;
using cpu::nf4_kernels;

constexpr int64_t kNestedBlock = kQuantizedBlock;
/// Quantised at a time: a whole number of blocks of every size.
constexpr int64_t kElementsAtOnce = int64_t{1} << 18;
/// As bitsandbytes: the scale of a last block of zeros that is not whole.
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

/// The last block where it is not whole: bitsandbytes divides there, and multiplies elsewhere.
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

/// The mean as one thread sums it, whatever the number of threads.
float mean_by_one_thread(const at::Tensor& x) {
  float mean = 0.0f;
  at::parallel_for(0, 2, 1, [&](int64_t begin, int64_t) {
    if (begin == 0) mean = x.mean().item<float>();
  });
  return mean;
}

/// Codes of numbers in [-1, 1] in the dynamic map as bitsandbytes' library finds them: it takes the nearest
/// of 65536 equal steps, and of that the nearest value, so that by a border between two values it may not be
/// the number's own.
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

/// Puts the scales into 8 bits.
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

/// The scales of blocks [begin, begin + count): where they are, or decoded into `room`.
const float* scales_of(const Nf4Matrix& matrix, int64_t begin, int64_t count, std::vector<float>& room) {
  if (!matrix.is_nested()) return matrix.absmax.const_data_ptr<float>() + begin;
  room.resize(static_cast<size_t>(count));
  const uint8_t* codes = matrix.absmax.const_data_ptr<uint8_t>();
  const float* nested = matrix.nested_absmax.const_data_ptr<float>();
  for (int64_t i = 0; i < count;) {
    const int64_t nested_block = (begin + i) / matrix.nested_block_size;
    const int64_t end = std::min(count, (nested_block + 1) * matrix.nested_block_size - begin);
    nf4_kernels().scales(codes + begin + i, end - i, matrix.nested_map.const_data_ptr<float>(),
                         nested[nested_block], matrix.nested_offset, room.data() + i);
    i = end;
  }
  return room.data();
}

/// Elements [first, first + count).
template <typename T>
void dequantize_run(const Nf4Matrix& matrix, int64_t first, int64_t count, std::vector<float>& room, T* out) {
  if (count == 0) return;
  const uint8_t* codes = matrix.codes.const_data_ptr<uint8_t>();
  const int64_t size = matrix.block_size, first_block = first / size;
  const float* scales = scales_of(matrix, first_block, (first + count - 1) / size - first_block + 1, room);
  for (int64_t at = first; at < first + count;) {
    const int64_t block = at / size, end = std::min(first + count, (block + 1) * size);
    const float scale = scales[block - first_block];
    if constexpr (std::is_same_v<T, float>)
      nf4_kernels().dequantize_float(codes, at, end - at, scale, out + (at - first));
    else
      nf4_kernels().dequantize_bf16(codes, at, end - at, scale, out + (at - first));
    at = end;
  }
}

/// Each element of `x` as often as it counts, and no more than `length` in all.
at::Tensor repeated(const at::Tensor& x, int64_t times, int64_t length) {
  return x.unsqueeze(1).expand({x.numel(), times}).reshape({-1}).slice(0, 0, length);
}

/// The matrix in float32 by libtorch's operators.
at::Tensor dequantize_composed(const Nf4Matrix& matrix) {
  const auto looked_up = [](const at::Tensor& map, const at::Tensor& codes) {
    return map.to(codes.device()).index_select(0, codes.to(at::kInt));
  };
  const int64_t elements = matrix.num_elements(), blocks = matrix.num_blocks();
  const at::Tensor codes =
      at::stack({matrix.codes.bitwise_right_shift(4), matrix.codes.bitwise_and(15)}, 1).reshape({-1});
  at::Tensor scales = matrix.absmax;
  if (matrix.is_nested())
    scales = looked_up(matrix.nested_map, matrix.absmax)
                 .mul_(repeated(matrix.nested_absmax, matrix.nested_block_size, blocks))
                 .add_(matrix.nested_offset);
  return looked_up(nf4_values(), codes.slice(0, 0, elements))
      .mul_(repeated(scales, matrix.block_size, elements))
      .view({matrix.rows, matrix.columns});
}

}  // namespace

int64_t Nf4Matrix::num_bytes() const {
  int64_t bytes = 0;
  for (const at::Tensor* part : {&codes, &absmax, &nested_absmax})
    if (part->defined()) bytes += part->numel() * part->element_size();
  return bytes;
}

int64_t nf4_bytes(int64_t rows, int64_t columns, const Nf4Options& options) {
  const int64_t elements = rows * columns, blocks = cpu::num_tasks(elements, options.block_size);
  return (elements + 1) / 2 +
         (options.double_quant ? blocks + 4 * cpu::num_tasks(blocks, kNestedBlock) : 4 * blocks);
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
  if (!matrix.codes.is_cpu() || !uses_cpu_kernels()) return dequantize_composed(matrix).to(dtype);
  const bool direct = dtype == at::kFloat || dtype == at::kBFloat16;
  at::Tensor out = at::empty({matrix.rows, matrix.columns}, dtype);
  const int64_t rows_at_once = std::max<int64_t>(1, kElementsAtOnce / matrix.columns);
  cpu::parallel_chunks(matrix.rows, rows_at_once, [&](int64_t, int64_t begin, int64_t end) {
    const at::Tensor part = out.slice(0, begin, end);
    if (direct) return dequantize_nf4_part(matrix, begin, 0, part);
    const at::Tensor wide = at::empty(part.sizes(), at::kFloat);
    dequantize_nf4_part(matrix, begin, 0, wide);
    part.copy_(wide);
  });
  return out;
}

void dequantize_nf4_part(const Nf4Matrix& matrix, int64_t row, int64_t column, const at::Tensor& out) {
  std::vector<float> room;
  const int64_t rows = out.size(0), columns = out.size(1);
  // Whole rows that follow each other are one run.
  const bool is_run = columns == matrix.columns && out.stride(0) == columns;
  const int64_t num_runs = is_run ? 1 : rows, length = is_run ? rows * columns : columns;
  cpu::dispatch_element(out, [&]<typename T>(T) {
    for (int64_t r = 0; r < num_runs; ++r)
      dequantize_run(matrix, (row + r) * matrix.columns + column, length, room,
                     cpu::element_data<T>(out) + r * out.stride(0));
  });
}

}  // namespace longlora::ops
