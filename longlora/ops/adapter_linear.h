// A linear layer whose low-rank pair has dropout or a magnitude (DoRA), or both.
#pragma once

#include <ATen/ATen.h>

#include "longlora/ops/linear.h"

namespace longlora::ops {

/// What ops::linear calls for operands with dropout, a magnitude or both. lora_a and lora_b must be there. D
/// is dropout, and m is magnitude / weight_norm, where the norm counts as a constant in the gradient:
///   with dropout     y = x Wᵀ + b + scale · (D(x) Aᵀ) Bᵀ
///   with magnitude   y = m ⊙ (x Wᵀ + scale · (x Aᵀ) Bᵀ) + b
///   with both        y = (x − D(x)) Wᵀ + m ⊙ (D(x) Wᵀ + scale · (D(x) Aᵀ) Bᵀ) + b
/// The last formula is PEFT's. (Liu et al. 2024, arXiv 2402.09353; section 4.3 on the constant)
at::Tensor adapter_linear(const at::Tensor& x, const LinearOperands& operands);

/// Returns the L2 norms of the rows of W + scale · B A: [out], float32, or float64 for a float64 weight.
/// Works outside autograd. Of the operands it reads the weight, which may be in four bits, and the pair.
at::Tensor adapted_weight_norm(const LinearOperands& operands);

}  // namespace longlora::ops
