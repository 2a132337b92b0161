#include "longlora/ops/activations.h"

#include <fmt/format.h>

#include "longlora/core/error.h"
#include "longlora/ops/backend.h"
#include "longlora/ops/shape_text.h"

namespace longlora::ops {

at::Tensor silu_mul(const at::Tensor& gate, const at::Tensor& up) {
  if (gate.sizes() != up.sizes())
    throw Error(fmt::format("[silu_mul] expected gate and up of one shape, got {} and {}", shape_text(gate),
                            shape_text(up)));
  return backend_for(gate).silu_mul(gate, up);
}

at::Tensor gelu(const at::Tensor& x, GeluForm form) {
  return at::gelu(x, form == GeluForm::kTanh ? "tanh" : "none");
}

}  // namespace longlora::ops
