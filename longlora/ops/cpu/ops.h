// The ops that run this program's CPU kernels, which are the entries of cpu_backend(). Arguments are those of
// the op of the same name, are checked already, and are float32 or bfloat16 on the CPU.
#pragma once

#include <ATen/ATen.h>

#include "longlora/ops/backend.h"

namespace longlora::ops::cpu {

at::Tensor rms_norm(const at::Tensor& x, const at::Tensor& weight, double epsilon);
at::Tensor layer_norm(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias, double epsilon);
at::Tensor rotate(const at::Tensor& x, const at::Tensor& positions, const at::Tensor& cos,
                  const at::Tensor& sin);
at::Tensor silu_mul(const at::Tensor& gate, const at::Tensor& up);

at::Tensor matrix_product(const at::Tensor& a, const RightOperand& right, const ProductTerms& terms);
void add_transposed_product(const at::Tensor& a, const at::Tensor& b, at::Tensor& sum);
at::Tensor dequantize_nf4(const Nf4Matrix& matrix, at::ScalarType dtype);
/// Whether multiply_nf4_rows() can compute x Wᵀ and is the fastest way to do so. That is so for few rows of x
/// and a matrix whose rows have a multiple of 8 elements.
bool takes_nf4_rows(const at::Tensor& x, const Nf4Matrix& matrix);
/// Unlike the other entries it takes every floating dtype.
at::Tensor dropout(const at::Tensor& x, const Dropout& dropout);
void add_embedding_gradient(const at::Tensor& grad_hidden, const at::Tensor& ids, at::Tensor& grad_weight);
RowLosses cross_entropy_rows(at::Tensor& logits, const at::Tensor& labels, double grad_scale);

void adamw(const at::Tensor& parameter, const at::Tensor& grad, const at::Tensor& exp_avg,
           const at::Tensor& exp_avg_sq, const AdamWStep& step);
at::Tensor sum_of_squares(const at::Tensor& x, int64_t run_elements);

}  // namespace longlora::ops::cpu
