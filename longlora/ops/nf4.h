// Weights in 4-bit NormalFloat (Dettmers et al. 2023, QLoRA, arXiv 2305.14314). All values are exactly those
// of bitsandbytes.
#pragma once

#include <ATen/ATen.h>

#include <cstdint>

#include "longlora/ops/nf4_options.h"

namespace longlora::ops {

/// A row-major matrix [rows, columns] whose element i is value[code i] · absmax[i / block_size], where
/// `value` has 16 numbers from -1 to 1. A copy shares the tensors, which are contiguous and on one device.
struct Nf4Matrix {
  int64_t rows = 0;
  int64_t columns = 0;
  int64_t block_size = 64;
  at::ScalarType source_dtype = at::kFloat;  // the dtype of the matrix that was quantised
  at::Tensor codes;   // uint8 [⌈elements / 2⌉]; the first of two elements is in the upper bits
  at::Tensor absmax;  // float32 [num_blocks], or their uint8 codes with double quantisation

  /// Of double quantisation: absmax[i] = nested_map[code i] · nested_absmax[i / nested_block_size] +
  /// nested_offset.
  at::Tensor nested_absmax;  // float32; undefined without double quantisation
  at::Tensor nested_map;     // float32 [256]
  int64_t nested_block_size = 256;
  float nested_offset = 0.0f;

  bool is_nested() const { return nested_absmax.defined(); }
  int64_t num_elements() const { return rows * columns; }
  int64_t num_blocks() const { return (num_elements() + block_size - 1) / block_size; }
  /// Returns the bytes of all tensors.
  int64_t num_bytes() const;
};

/// Returns the 16 values in float32.
const at::Tensor& nf4_values();

/// Returns the 256 values of bitsandbytes' signed dynamic 8-bit type in float32, ascending. (Dettmers 2015,
/// arXiv 1511.04561)
const at::Tensor& dynamic_map();

/// Quantises a weight [rows, columns] in float32, bfloat16 or float16. The offset of double quantisation is
/// the mean over all blocks; it is summed as by one thread, which gives bitsandbytes' value. Throws Error for
/// other shapes and block sizes, and for elements that are not finite.
Nf4Matrix quantize_nf4(const at::Tensor& weight, const Nf4Options& options = {});

/// Returns the matrix on another device.
Nf4Matrix on_device(const Nf4Matrix& matrix, at::Device device);

/// Returns the whole matrix in float32, bfloat16 or float16. Products are in float32 and rounded once. The
/// matrix may be on a GPU; the functions below are for the CPU.
at::Tensor dequantize_nf4(const Nf4Matrix& matrix, at::ScalarType dtype);

/// Puts rows [row, row + out.size(0)) and columns [column, column + out.size(1)) into `out`, which is float32
/// or bfloat16 and whose columns lie side by side. Runs in the calling thread.
void dequantize_nf4_part(const Nf4Matrix& matrix, int64_t row, int64_t column, const at::Tensor& out);

/// Returns x Wᵀ for a few rows x [m, columns], straight from the codes and with float32 sums: float32 [m,
/// rows]. For bfloat16 x on machines that multiply pairs of bfloat16, the 16 values are rounded, too
/// (cpu/nf4_products.h), which gives half the error of a weight that is dequantised to bfloat16. Works
/// outside autograd. The result does not depend on the number of threads.
at::Tensor multiply_nf4_rows(const at::Tensor& x, const Nf4Matrix& matrix);

}  // namespace longlora::ops
