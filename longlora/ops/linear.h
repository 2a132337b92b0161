// Linear layers with an optional low-rank update.
//
// Shapes: N tokens (rows × tokens, laid end to end), R LoRA rank.
#pragma once

#include <ATen/ATen.h>

#include "longlora/ops/dropout.h"
#include "longlora/ops/weight.h"

namespace longlora::ops {

/// The operands of a linear layer with an optional low-rank update.
struct LinearOperands {
  Weight weight;              // [out, in]
  at::Tensor bias = {};       // [out] or undefined
  at::Tensor lora_a = {};     // [R, in]; undefined: no low-rank pair
  at::Tensor lora_b = {};     // [out, R]; defined with lora_a
  double lora_scale = 0.0;    // alpha / R
  Dropout dropout = {};       // of the input of lora_a
  at::Tensor magnitude = {};  // [out] float32, of DoRA; undefined: none. Needs a pair.
  /// [out] float32: what adapted_weight_norm() returns, where that was computed before. With a magnitude it
  /// is computed in the call where this is undefined.
  at::Tensor weight_norm = {};
};

/// Returns y [N, out] = x Wᵀ + b + scale · (x Aᵀ) Bᵀ for x [N, in]. (Hu et al. 2021) With dropout or a
/// magnitude the formula is one of those in adapter_linear.h. Differentiable; gradients are computed only for
/// operands that require them, so that a frozen weight never gets one.
at::Tensor linear(const at::Tensor& x, const LinearOperands& operands);

}  // namespace longlora::ops
