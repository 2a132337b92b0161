// Activations of the MLP, which work on each element by itself.
#pragma once

#include <ATen/ATen.h>

namespace longlora::ops {

/// Returns silu(gate) · up for tensors of one shape and dtype. (Shazeer 2020, SwiGLU) Differentiable.
at::Tensor silu_mul(const at::Tensor& gate, const at::Tensor& up);

enum class GeluForm {
  kExact,  // x Φ(x)
  kTanh,   // 0.5 x (1 + tanh(sqrt(2 / π) (x + 0.044715 x³)))
};

/// Returns the GELU of each element, which libtorch's own kernel computes. (Hendrycks & Gimpel 2016)
/// Differentiable.
at::Tensor gelu(const at::Tensor& x, GeluForm form);

}  // namespace longlora::ops
