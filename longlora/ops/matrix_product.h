// Products of matrices, for the linear layers and the head.
#pragma once

#include <ATen/ATen.h>

#include "longlora/ops/weight.h"

namespace longlora::ops {

/// The right operand of a product. `matrix` is [k, n], or where `transposed`, [n, k], as weights are stored.
struct RightOperand {
  Weight matrix;
  bool transposed = false;

  int64_t depth() const { return matrix.size(transposed ? 1 : 0); }  // k
  int64_t width() const { return matrix.size(transposed ? 0 : 1); }  // n
};

/// Terms that are added to a product before it is rounded.
struct ProductTerms {
  at::Tensor bias = {};      // [n] or undefined
  at::Tensor low_rank = {};  // [m, r] or undefined; low_rank · low_rank_right is added
  RightOperand low_rank_right = {};
};

/// Returns a · right (+ terms) for a [m, k]: [m, n] in a's dtype, outside autograd. Where this program's
/// bfloat16 kernels run (on processors with AVX512-BF16 but no matrix unit), sums are in float32 and rounded
/// once; elsewhere they are libtorch's products, one after another. The result does not depend on the number
/// of threads.
///
/// A right operand in four bits is dequantised to a's dtype in parts that fit in caches. For a few rows of
/// `a` the product is computed straight from the codes, in float32 (multiply_nf4_rows).
at::Tensor matrix_product(const at::Tensor& a, const RightOperand& right, const ProductTerms& terms = {});

/// Adds aᵀ · b to sum [rows, columns] float32, for a [n, rows] and b [n, columns].
void add_transposed_product(const at::Tensor& a, const at::Tensor& b, at::Tensor& sum);

}  // namespace longlora::ops
