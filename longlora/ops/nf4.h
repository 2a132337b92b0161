// Weights in 4-bit NormalFloat (Dettmers et al. 2023, QLoRA, arXiv 2305.14314), with exactly the values that
// bitsandbytes computes.
#pragma once

#include <ATen/ATen.h>

#include <cstdint>

#include "longlora/ops/nf4_options.h"

namespace longlora::ops {

/// A matrix [rows, columns], row-major: element i is value[code i] · absmax[i / block_size], with 16 values
/// between -1 and 1. Copies share the tensors, which are contiguous and on one device.
struct Nf4Matrix {
  int64_t rows = 0;
  int64_t columns = 0;
  int64_t block_size = 64;
  at::ScalarType source_dtype = at::kFloat;  // of the matrix that was quantised
  at::Tensor codes;                          // uint8 [⌈elements / 2⌉], the first of two in the upper bits
  at::Tensor absmax;                         // float32 [num_blocks], or uint8 codes of it when nested

  /// Double quantisation: absmax[i] = nested_map[code i] · nested_absmax[i / nested_block_size] + offset.
  at::Tensor nested_absmax;  // float32; undefined where absmax is float32 itself
  at::Tensor nested_map;     // float32 [256]
  int64_t nested_block_size = 256;
  float nested_offset = 0.0f;

  bool is_nested() const { return nested_absmax.defined(); }
  int64_t num_elements() const { return rows * columns; }
  int64_t num_blocks() const { return (num_elements() + block_size - 1) / block_size; }
  /// Of all tensors.
  int64_t num_bytes() const;
};

/// The 16 values, float32.
const at::Tensor& nf4_values();

/// The 256 values of bitsandbytes' signed dynamic 8-bit type, float32 in rising order (Dettmers 2015, arXiv
/// 1511.04561).
const at::Tensor& dynamic_map();

/// weight [rows, columns] float32, bfloat16 or float16. The offset of double quantisation is a mean over all
/// blocks, which bitsandbytes rounds as one thread does. Throws Error for other shapes and block sizes, and
/// for elements that are not finite.
Nf4Matrix quantize_nf4(const at::Tensor& weight, const Nf4Options& options = {});

/// The same on another device.
Nf4Matrix on_device(const Nf4Matrix& matrix, at::Device device);

/// The whole matrix in float32, bfloat16 or float16: products in float32, rounded once. On a GPU by
/// libtorch's operators; the other functions are for the CPU.
at::Tensor dequantize_nf4(const Nf4Matrix& matrix, at::ScalarType dtype);

/// Rows [row, row + out.size(0)) and columns [column, column + out.size(1)) into `out`, float32 or bfloat16,
/// whose columns lie side by side. Runs in the calling thread.
void dequantize_nf4_part(const Nf4Matrix& matrix, int64_t row, int64_t column, const at::Tensor& out);

/// x Wᵀ for a few rows x [m, columns] straight from the codes, with float32 sums: float32 [m, rows]. For
/// bfloat16 x on machines that multiply bfloat16 pairs the values of the codes are rounded too
/// (cpu/nf4_products.h), with half the error of a weight that is dequantised to bfloat16. Outside autograd.
/// The result does not depend on the number of threads.
at::Tensor multiply_nf4_rows(const at::Tensor& x, const Nf4Matrix& matrix);

}  // namespace longlora::ops
