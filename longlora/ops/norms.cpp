#include "longlora/ops/norms.h"

#include <fmt/format.h>

#include "longlora/core/error.h"
#include "longlora/ops/backend.h"
#include "longlora/ops/reference.h"
#include "longlora/ops/shape_text.h"

namespace longlora::ops {

at::Tensor rms_norm(const at::Tensor& x, const at::Tensor& weight, double epsilon) {
  if (x.dim() != 2 || weight.dim() != 1 || weight.size(0) != x.size(1))
    throw Error(fmt::format("[rms_norm] expected x [N, C] and weight [C], got {} and {}", shape_text(x),
                            shape_text(weight)));
  if (weight.scalar_type() != x.scalar_type()) return reference::rms_norm(x, weight, epsilon);
  return backend_for(x).rms_norm(x, weight, epsilon);
}

at::Tensor layer_norm(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias, double epsilon) {
  if (x.dim() != 2 || weight.dim() != 1 || weight.size(0) != x.size(1) || bias.sizes() != weight.sizes())
    throw Error(fmt::format("[layer_norm] expected x [N, C], weight and bias [C], got {}, {} and {}",
                            shape_text(x), shape_text(weight), shape_text(bias)));
  if (weight.scalar_type() != x.scalar_type() || bias.scalar_type() != x.scalar_type())
    return reference::layer_norm(x, weight, bias, epsilon);
  return backend_for(x).layer_norm(x, weight, bias, epsilon);
}

}  // namespace longlora::ops
