// Products of matrices at the rate of the machine, for the layers and the head.
#pragma once

#include <ATen/ATen.h>

#include "longlora/ops/weight.h"

namespace longlora::ops {

/// A right operand: `matrix` is [k, n], or [n, k] when `transposed`, as weights are stored.
struct RightOperand {
  Weight matrix;
  bool transposed = false;

  int64_t depth() const { return matrix.size(transposed ? 1 : 0); }  // k
  int64_t width() const { return matrix.size(transposed ? 0 : 1); }  // n
};

/// What is added to a product before it is rounded.
struct ProductTerms {
  at::Tensor bias = {};      // [n] or undefined
  at::Tensor low_rank = {};  // [m, r] or undefined: adds low_rank · low_rank_right, which is dense
  RightOperand low_rank_right = {};
};

/// a · right (+ terms) for a [m, k]; [m, n] of a's dtype, float32 sums rounded once where the bfloat16
/// kernels run (AVX512-BF16 without a matrix unit), else libtorch's products one after another. Outside
/// autograd. The result does not depend on the number of threads.
///
/// An operand in four bits is used as dequantised to a's dtype, in parts that stay in caches; for a few rows
/// (multiply_nf4_rows) as it is, in float32.
at::Tensor matrix_product(const at::Tensor& a, const RightOperand& right, const ProductTerms& terms = {});

/// sum += aᵀ · b for a [n, rows], b [n, columns], sum [rows, columns] float32.
void add_transposed_product(const at::Tensor& a, const at::Tensor& b, at::Tensor& sum);

}  // namespace longlora::ops
