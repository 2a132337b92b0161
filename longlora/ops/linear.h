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
