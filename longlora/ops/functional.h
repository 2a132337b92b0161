// The differentiable tensor functions that a decoder block is made of. All are
// pure: inputs are not changed, results are fresh tensors, gradients come from
// autograd. On CPU float32 and bfloat16 run fused kernels; anything else runs
// libtorch's operators (ops/composed.h), operands of mixed dtypes the plain version (ops/reference.h).
//
// Shapes: N tokens (rows × tokens, laid end to end), C model width, F
// feed-forward width, H query heads, K key/value heads, D head size, R LoRA rank.
#pragma once

#include <ATen/ATen.h>

#include "longlora/ops/dropout.h"
#include "longlora/ops/weight.h"

namespace longlora::ops {

/// y = x / sqrt(mean(x²) + epsilon) · weight over the last dimension.
/// x [N, C] contiguous, weight [C] of the same dtype. (Zhang & Sennrich 2019)
at::Tensor rms_norm(const at::Tensor& x, const at::Tensor& weight, double epsilon);

/// y = (x − mean(x)) / sqrt(var(x) + epsilon) · weight + bias over the last dimension.
/// x [N, C], weight and bias [C] of the same dtype. (Ba et al. 2016)
at::Tensor layer_norm(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias, double epsilon);

/// Rotary embedding in the half-split layout of Hugging Face.
/// x [N, H, D] with contiguous heads; positions [N] int64 index the rows of cos
/// and sin [P, D_rotary / 2] float32; dimensions from D_rotary on pass through.
/// (Su et al. 2021)
at::Tensor rotate(const at::Tensor& x, const at::Tensor& positions, const at::Tensor& cos,
                  const at::Tensor& sin);

/// silu(gate) · up, element by element; same shape and dtype.
at::Tensor silu_mul(const at::Tensor& gate, const at::Tensor& up);

enum class GeluForm {
  kExact,  // x Φ(x)
  kTanh,   // 0.5 x (1 + tanh(sqrt(2 / π) (x + 0.044715 x³)))
};

/// GELU, element by element, by libtorch's own fused kernel. (Hendrycks & Gimpel 2016)
at::Tensor gelu(const at::Tensor& x, GeluForm form);

/// The operands of a linear layer with an optional low-rank update.
struct LinearOperands {
  Weight weight;              // [out, in]
  at::Tensor bias = {};       // [out] or undefined
  at::Tensor lora_a = {};     // [R, in] or undefined
  at::Tensor lora_b = {};     // [out, R]; defined with lora_a
  double lora_scale = 0.0;    // alpha / R
  Dropout dropout = {};       // of what lora_a reads
  at::Tensor magnitude = {};  // [out] float32: DoRA; undefined without. Needs lora_a.
  /// [out] float32: adapted_weight_norm() where it is known; with a magnitude it is computed where undefined.
  at::Tensor weight_norm = {};
};

/// y = x Wᵀ + b + scale · (x Aᵀ) Bᵀ for x [N, in]; y [N, out]. (Hu et al. 2021) With dropout or a magnitude
/// as in adapter_linear.h. Gradients are made only for operands that require them: a frozen weight never gets
/// one.
at::Tensor linear(const at::Tensor& x, const LinearOperands& operands);

}  // namespace longlora::ops
