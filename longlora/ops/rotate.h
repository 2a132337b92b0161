// Rotary position embedding.
#pragma once

#include <ATen/ATen.h>

namespace longlora::ops {

/// Rotary embedding in the half-split layout of Hugging Face.
/// x [N, H, D] with contiguous heads; positions [N] int64 index the rows of cos
/// and sin [P, D_rotary / 2] float32; dimensions from D_rotary on pass through.
/// (Su et al. 2021) Differentiable in x.
at::Tensor rotate(const at::Tensor& x, const at::Tensor& positions, const at::Tensor& cos,
                  const at::Tensor& sin);

}  // namespace longlora::ops
