#include "longlora/ops/composed.h"

#include <torch/csrc/autograd/custom_function.h>

namespace longlora::ops::composed {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::Function;
using torch::autograd::variable_list;

/// The rotation by angles whose sines are `sin`; its inverse by -sin.
at::Tensor rotated(const at::Tensor& x, const at::Tensor& positions, const at::Tensor& cos,
                   const at::Tensor& sin) {
  const int64_t half = cos.size(1);
  // The tables are float32, so that narrower dtypes are computed in it and rounded once.
  const at::Tensor c = cos.index_select(0, positions).unsqueeze(1);
  const at::Tensor s = sin.index_select(0, positions).unsqueeze(1);
  const at::Tensor first = x.slice(-1, 0, half), second = x.slice(-1, half, 2 * half);
  at::Tensor y = at::empty(x.sizes(), x.options());
  y.slice(-1, 0, half).copy_((first * c).sub_(second * s));
  y.slice(-1, half, 2 * half).copy_((second * c).add_(first * s));
  if (2 * half < x.size(-1)) y.slice(-1, 2 * half).copy_(x.slice(-1, 2 * half));
  return y;
}

class Rotate : public Function<Rotate> {
 public:
  static at::Tensor forward(AutogradContext* context, const at::Tensor& x, const at::Tensor& positions,
                            const at::Tensor& cos, const at::Tensor& sin) {
    context->save_for_backward({positions, cos, sin});
    return rotated(x, positions, cos, sin);
  }

  static variable_list backward(AutogradContext* context, const variable_list& grads) {
    const auto saved = context->get_saved_variables();
    return {rotated(grads[0], saved[0], saved[1], saved[2].neg()), at::Tensor(), at::Tensor(), at::Tensor()};
  }
};

class SiluMul : public Function<SiluMul> {
 public:
  static at::Tensor forward(AutogradContext* context, const at::Tensor& gate, const at::Tensor& up) {
    context->save_for_backward({gate, up});
    return at::silu(gate).mul_(up);
  }

  static variable_list backward(AutogradContext* context, const variable_list& grads) {
    const auto saved = context->get_saved_variables();
    const at::Tensor &gate = saved[0], &up = saved[1], &grad = grads[0];
    return {at::silu_backward(grad * up, gate), at::silu(gate).mul_(grad)};
  }
};

}  // namespace

at::Tensor rms_norm(const at::Tensor& x, const at::Tensor& weight, double epsilon) {
  return at::rms_norm(x, {x.size(1)}, weight, epsilon);
}

at::Tensor layer_norm(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias, double epsilon) {
  return at::layer_norm(x, {x.size(1)}, weight, bias, epsilon);
}

at::Tensor rotate(const at::Tensor& x, const at::Tensor& positions, const at::Tensor& cos,
                  const at::Tensor& sin) {
  return Rotate::apply(x, positions, cos, sin);
}

at::Tensor silu_mul(const at::Tensor& gate, const at::Tensor& up) {
  return SiluMul::apply(gate, up);
}

}  // namespace longlora::ops::composed
