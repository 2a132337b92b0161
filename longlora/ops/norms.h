// Normalisation over the last dimension. Shapes: N tokens (rows × tokens, laid end to end), C model width.
#pragma once

#include <ATen/ATen.h>

namespace longlora::ops {

/// y = x / sqrt(mean(x²) + epsilon) · weight over the last dimension. (Zhang & Sennrich 2019)
/// x [N, C], weight [C], of one dtype or of two; y has x's shape and dtype. Differentiable.
at::Tensor rms_norm(const at::Tensor& x, const at::Tensor& weight, double epsilon);

/// y = (x − mean(x)) / sqrt(var(x) + epsilon) · weight + bias over the last dimension. (Ba et al. 2016)
/// x [N, C], weight and bias [C], of one dtype or of several; y has x's shape and dtype. Differentiable.
at::Tensor layer_norm(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias, double epsilon);

}  // namespace longlora::ops
