#include <fmt/format.h>
#include <torch/csrc/autograd/custom_function.h>

#include "longlora/core/error.h"
#include "longlora/ops/composed.h"
#include "longlora/ops/cpu/chunks.h"
#include "longlora/ops/cpu/row_kernels.h"
#include "longlora/ops/cpu/tensor_access.h"
#include "longlora/ops/functional.h"
#include "longlora/ops/reference.h"
#include "longlora/ops/shape_text.h"

namespace longlora::ops {
namespace {

using cpu::dispatch_element;
using cpu::element_data;
using cpu::kRowsPerTask;
using torch::autograd::AutogradContext;
using torch::autograd::Function;
using torch::autograd::variable_list;

class LayerNorm : public Function<LayerNorm> {
 public:
  static at::Tensor forward(AutogradContext* context, const at::Tensor& x, const at::Tensor& weight,
                            const at::Tensor& bias, double epsilon) {
    const int64_t rows = x.size(0), width = x.size(1);
    at::Tensor y = at::empty_like(x);
    // Per row: the mean and one over the deviation.
    at::Tensor statistics = at::empty({2, rows}, x.options().dtype(at::kFloat));
    dispatch_element(x, [&]<typename T>(T) {
      cpu::parallel_chunks(rows, kRowsPerTask, [&](int64_t, int64_t begin, int64_t end) {
        float* mean = statistics.mutable_data_ptr<float>() + begin;
        cpu::row_kernels<T>().layer_norm_forward(element_data<T>(x) + begin * width, element_data<T>(weight),
                                                 element_data<T>(bias), element_data<T>(y) + begin * width,
                                                 mean, mean + rows, end - begin, width,
                                                 static_cast<float>(epsilon));
      });
    });
    context->save_for_backward({x, weight, statistics});
    return y;
  }

  static variable_list backward(AutogradContext* context, const variable_list& grads) {
    const auto saved = context->get_saved_variables();
    const at::Tensor &x = saved[0], &weight = saved[1], &statistics = saved[2];
    const at::Tensor grad_y = grads[0].contiguous();
    const int64_t rows = x.size(0), width = x.size(1);
    at::Tensor grad_x = at::empty_like(x);
    // Per task: the sums for the weight, then those for the bias.
    at::Tensor partial =
        at::zeros({cpu::num_tasks(rows, kRowsPerTask), 2, width}, x.options().dtype(at::kFloat));
    dispatch_element(x, [&]<typename T>(T) {
      cpu::parallel_chunks(rows, kRowsPerTask, [&](int64_t task, int64_t begin, int64_t end) {
        const float* mean = statistics.const_data_ptr<float>() + begin;
        float* sums = partial.mutable_data_ptr<float>() + task * 2 * width;
        cpu::row_kernels<T>().layer_norm_backward(element_data<T>(grad_y) + begin * width,
                                                  element_data<T>(x) + begin * width, element_data<T>(weight),
                                                  mean, mean + rows, element_data<T>(grad_x) + begin * width,
                                                  sums, sums + width, end - begin, width);
      });
    });
    const at::Tensor sums = partial.sum({0}).to(weight.scalar_type());
    return {grad_x, sums[0], sums[1], at::Tensor()};
  }
};

}  // namespace

at::Tensor layer_norm(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias, double epsilon) {
  if (x.dim() != 2 || weight.dim() != 1 || weight.size(0) != x.size(1) || bias.sizes() != weight.sizes())
    throw Error(fmt::format("[layer_norm] expected x [N, C], weight and bias [C], got {}, {} and {}",
                            shape_text(x), shape_text(weight), shape_text(bias)));
  if (weight.scalar_type() != x.scalar_type() || bias.scalar_type() != x.scalar_type())
    return reference::layer_norm(x, weight, bias, epsilon);
  if (!cpu::has_kernels(x)) return composed::layer_norm(x, weight, bias, epsilon);
  return LayerNorm::apply(x.contiguous(), weight.contiguous(), bias.contiguous(), epsilon);
}

}  // namespace longlora::ops
