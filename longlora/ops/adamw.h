// AdamW on flat float32 tensors.
#pragma once

#include <ATen/ATen.h>

#include <cstdint>

#include "longlora/ops/adamw_step.h"

namespace longlora::ops {

/// One step for `parameter` [n] with its gradient and moments, all contiguous float32 of n elements on one
/// device; parameter and moments are changed in place, outside autograd:
///   g = grad_scale · grad,  m = β₁ m + (1 − β₁) g,  v = β₂ v + (1 − β₂) g²
///   p = p (1 − lr · decay) − lr / (1 − β₁ᵗ) · m / (√v / √(1 − β₂ᵗ) + ε)
void adamw(const at::Tensor& parameter, const at::Tensor& grad, const at::Tensor& exp_avg,
           const at::Tensor& exp_avg_sq, const AdamWStep& step);

/// The same on n elements in the CPU's memory, in the calling thread. Elements are independent of each other.
void adamw(float* parameter, const float* grad, float* exp_avg, float* exp_avg_sq, int64_t n,
           const AdamWStep& step);

/// The sum of the squares of a contiguous float32 tensor in float64, a tensor without dimensions on its
/// device. On the CPU each run of so many elements is summed by itself, so that the result does not depend on
/// the number of threads.
at::Tensor sum_of_squares(const at::Tensor& x, int64_t run_elements = int64_t{1} << 16);

}  // namespace longlora::ops
