// Normalisation over the last dimension. Shapes: N tokens, C model width.
#pragma once

#include <ATen/ATen.h>

namespace longlora::ops {

/// Returns y = x / sqrt(mean(x²) + epsilon) · weight for x [N, C] and weight [C], whose dtypes may differ. y
/// has x's shape and dtype. (Zhang & Sennrich 2019) Differentiable.
at::Tensor rms_norm(const at::Tensor& x, const at::Tensor& weight, double epsilon);

/// Returns y = (x − mean(x)) / sqrt(var(x) + epsilon) · weight + bias for x [N, C], weight and bias [C],
/// whose dtypes may differ. y has x's shape and dtype. (Ba et al. 2016) Differentiable.
at::Tensor layer_norm(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias, double epsilon);

}  // namespace longlora::ops
