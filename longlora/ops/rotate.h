// Rotary position embedding.
#pragma once

#include <ATen/ATen.h>

namespace longlora::ops {

/// Returns x [N, H, D], whose heads are contiguous, rotated as in Hugging Face's half-split layout: dimension
/// i is paired with i + D_rotary / 2. positions [N] int64 are the rows of cos and sin [P, D_rotary / 2]
/// float32. Dimensions from D_rotary on stay as they are. (Su et al. 2021) Differentiable in x.
at::Tensor rotate(const at::Tensor& x, const at::Tensor& positions, const at::Tensor& cos,
                  const at::Tensor& sin);

}  // namespace longlora::ops
