#include <torch/csrc/autograd/custom_function.h>

#include "longlora/ops/cpu/chunks.h"
#include "longlora/ops/cpu/ops.h"
#include "longlora/ops/cpu/row_kernels.h"
#include "longlora/ops/cpu/tensor_access.h"

namespace longlora::ops::cpu {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::Function;
using torch::autograd::variable_list;

class SiluMul : public Function<SiluMul> {
 public:
  static at::Tensor forward(AutogradContext* context, const at::Tensor& gate, const at::Tensor& up) {
    at::Tensor y = at::empty_like(gate);
    dispatch_element(gate, [&]<typename T>(T) {
      parallel_chunks(gate.numel(), kElementsPerTask, [&](int64_t, int64_t begin, int64_t end) {
        row_kernels<T>().silu_mul_forward(element_data<T>(gate) + begin, element_data<T>(up) + begin,
                                          element_data<T>(y) + begin, end - begin);
      });
    });
    context->save_for_backward({gate, up});
    return y;
  }

  static variable_list backward(AutogradContext* context, const variable_list& grads) {
    const auto saved = context->get_saved_variables();
    const at::Tensor &gate = saved[0], &up = saved[1];
    const at::Tensor grad_y = grads[0].contiguous();
    at::Tensor grad_gate = at::empty_like(gate), grad_up = at::empty_like(up);
    dispatch_element(gate, [&]<typename T>(T) {
      parallel_chunks(gate.numel(), kElementsPerTask, [&](int64_t, int64_t begin, int64_t end) {
        row_kernels<T>().silu_mul_backward(element_data<T>(grad_y) + begin, element_data<T>(gate) + begin,
                                           element_data<T>(up) + begin, element_data<T>(grad_gate) + begin,
                                           element_data<T>(grad_up) + begin, end - begin);
      });
    });
    return {grad_gate, grad_up};
  }
};

}  // namespace

at::Tensor silu_mul(const at::Tensor& gate, const at::Tensor& up) {
  return SiluMul::apply(gate.contiguous(), up.contiguous());
}

}  // namespace longlora::ops::cpu
