#include <algorithm>
#include <vector>

#include "longlora/ops/cpu/chunks.h"
#include "longlora/ops/cpu/nf4_kernels.h"
#include "longlora/ops/cpu/ops.h"
#include "longlora/ops/cpu/tensor_access.h"

namespace longlora::ops {
namespace cpu {
namespace {

// How many elements a thread dequantises at a time.
constexpr int64_t kElementsAtOnce = int64_t{1} << 18;

// Returns the scales of blocks [begin, begin + count). With double quantisation they are decoded into `room`.
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

// Dequantises elements [first, first + count).
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

}  // namespace

at::Tensor dequantize_nf4(const Nf4Matrix& matrix, at::ScalarType dtype) {
  const bool direct = dtype == at::kFloat || dtype == at::kBFloat16;
  at::Tensor out = at::empty({matrix.rows, matrix.columns}, dtype);
  const int64_t rows_at_once = std::max<int64_t>(1, kElementsAtOnce / matrix.columns);
  parallel_chunks(matrix.rows, rows_at_once, [&](int64_t, int64_t begin, int64_t end) {
    const at::Tensor part = out.slice(0, begin, end);
    if (direct) return dequantize_nf4_part(matrix, begin, 0, part);
    const at::Tensor wide = at::empty(part.sizes(), at::kFloat);
    dequantize_nf4_part(matrix, begin, 0, wide);
    part.copy_(wide);
  });
  return out;
}

}  // namespace cpu

void dequantize_nf4_part(const Nf4Matrix& matrix, int64_t row, int64_t column, const at::Tensor& out) {
  std::vector<float> room;
  const int64_t rows = out.size(0), columns = out.size(1);
  // Complete rows that follow each other in `out` are dequantised as one run of elements.
  const bool is_run = columns == matrix.columns && out.stride(0) == columns;
  const int64_t num_runs = is_run ? 1 : rows, length = is_run ? rows * columns : columns;
  if (out.is_meta()) return;
  cpu::dispatch_element(out, [&]<typename T>(T) {
    for (int64_t r = 0; r < num_runs; ++r)
      cpu::dequantize_run(matrix, (row + r) * matrix.columns + column, length, room,
                          cpu::element_data<T>(out) + r * out.stride(0));
  });
}

}  // namespace longlora::ops
