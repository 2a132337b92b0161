// The update of AdamW on flat float32 tensors.
#pragma once

#include <ATen/ATen.h>

#include <cstdint>

#include "longlora/ops/adamw_step.h"

namespace longlora::ops {

/// Makes one step for `parameter` [n] with its gradient and moments, which are contiguous float32 tensors of
/// n elements on one device. Parameter and moments are changed in place, outside autograd:
///   g = grad_scale · grad,  m = β₁ m + (1 − β₁) g,  v = β₂ v + (1 − β₂) g²
///   p = p (1 − lr · decay) − lr / (1 − β₁ᵗ) · m / (√v / √(1 − β₂ᵗ) + ε)
void adamw(const at::Tensor& parameter, const at::Tensor& grad, const at::Tensor& exp_avg,
           const at::Tensor& exp_avg_sq, const AdamWStep& step);

/// As above, on n elements in the CPU's memory and in the calling thread. Elements do not depend on each
/// other.
void adamw(float* parameter, const float* grad, float* exp_avg, float* exp_avg_sq, int64_t n,
           const AdamWStep& step);

/// Returns the sum of the squares of a contiguous float32 tensor, as a float64 tensor without dimensions on
/// the same device. On the CPU every `run_elements` neighbours are summed by themselves, so that the result
/// does not depend on the number of threads.
at::Tensor sum_of_squares(const at::Tensor& x, int64_t run_elements = int64_t{1} << 16);

}  // namespace longlora::ops
