// A linear layer whose low-rank pair is more than an addition: with dropout, or a magnitude (DoRA).
#pragma once

#include <ATen/ATen.h>

#include "longlora/ops/linear.h"

namespace longlora::ops {

/// ops::linear for operands with dropout, a magnitude or both; lora_a and lora_b are there. D stands for
/// dropout, m for magnitude / weight_norm, which is a constant to the gradient:
///   with dropout     y = x Wᵀ + b + scale · (D(x) Aᵀ) Bᵀ
///   with magnitude   y = m ⊙ (x Wᵀ + scale · (x Aᵀ) Bᵀ) + b
///   with both        y = (x − D(x)) Wᵀ + m ⊙ (D(x) Wᵀ + scale · (D(x) Aᵀ) Bᵀ) + b
/// The last is PEFT's form (Liu et al. 2024, arXiv 2402.09353, section 4.3 for the constant).
at::Tensor adapter_linear(const at::Tensor& x, const LinearOperands& operands);

/// L2 norms of the rows of W + scale · B A, [out], float32 (float64 for float64); outside autograd.
/// Reads the weight, in four bits or not, and the pair.
at::Tensor adapted_weight_norm(const LinearOperands& operands);

}  // namespace longlora::ops
