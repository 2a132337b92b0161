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

at::Tensor rotated(const at::Tensor& x, const at::Tensor& positions, const at::Tensor& cos,
                   const at::Tensor& sin, float sine_sign) {
  const int64_t rows = x.size(0), heads = x.size(1), head_size = x.size(2);
  at::Tensor y = at::empty({rows, heads, head_size}, x.options());
  dispatch_element(x, [&]<typename T>(T) {
    parallel_chunks(rows, kRowsPerTask, [&](int64_t, int64_t begin, int64_t end) {
      row_kernels<T>().rotate(element_data<T>(x) + begin * x.stride(0), x.stride(0),
                              element_data<T>(y) + begin * heads * head_size,
                              positions.const_data_ptr<int64_t>() + begin, cos.const_data_ptr<float>(),
                              sin.const_data_ptr<float>(), end - begin, heads, head_size, cos.size(1),
                              sine_sign);
    });
  });
  return y;
}

at::Tensor with_contiguous_heads(const at::Tensor& x) {
  return x.stride(2) == 1 && x.stride(1) == x.size(2) ? x : x.contiguous();
}

class Rotate : public Function<Rotate> {
 public:
  static at::Tensor forward(AutogradContext* context, const at::Tensor& x, const at::Tensor& positions,
                            const at::Tensor& cos, const at::Tensor& sin) {
    context->save_for_backward({positions, cos, sin});
    return rotated(with_contiguous_heads(x), positions, cos, sin, 1.0f);
  }

  static variable_list backward(AutogradContext* context, const variable_list& grads) {
    const auto saved = context->get_saved_variables();
    return {rotated(with_contiguous_heads(grads[0]), saved[0], saved[1], saved[2], -1.0f), at::Tensor(),
            at::Tensor(), at::Tensor()};
  }
};

}  // namespace

at::Tensor rotate(const at::Tensor& x, const at::Tensor& positions, const at::Tensor& cos,
                  const at::Tensor& sin) {
  return Rotate::apply(x, positions.contiguous(), cos.contiguous(), sin.contiguous());
}

}  // namespace longlora::ops::cpu
