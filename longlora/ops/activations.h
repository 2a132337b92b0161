// Activations of the feed-forward part, element by element.
#pragma once

#include <ATen/ATen.h>

namespace longlora::ops {

/// silu(gate) · up, both of one shape and dtype. (Shazeer 2020, SwiGLU) Differentiable.
at::Tensor silu_mul(const at::Tensor& gate, const at::Tensor& up);

enum class GeluForm {
  kExact,  // x Φ(x)
  kTanh,   // 0.5 x (1 + tanh(sqrt(2 / π) (x + 0.044715 x³)))
};

/// GELU, element by element, by libtorch's own fused kernel. (Hendrycks & Gimpel 2016) Differentiable.
at::Tensor gelu(const at::Tensor& x, GeluForm form);

}  // namespace longlora::ops
