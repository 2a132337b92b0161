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

class RmsNorm : public Function<RmsNorm> {
 public:
  static at::Tensor forward(AutogradContext* context, const at::Tensor& x, const at::Tensor& weight,
                            double epsilon) {
    const int64_t rows = x.size(0), width = x.size(1);
    at::Tensor y = at::empty_like(x);
    at::Tensor inverse_rms = at::empty({rows}, x.options().dtype(at::kFloat));
    dispatch_element(x, [&]<typename T>(T) {
      parallel_chunks(rows, kRowsPerTask, [&](int64_t, int64_t begin, int64_t end) {
        row_kernels<T>().rms_norm_forward(
            element_data<T>(x) + begin * width, element_data<T>(weight), element_data<T>(y) + begin * width,
            inverse_rms.mutable_data_ptr<float>() + begin, end - begin, width, static_cast<float>(epsilon));
      });
    });
    context->save_for_backward({x, weight, inverse_rms});
    return y;
  }

  static variable_list backward(AutogradContext* context, const variable_list& grads) {
    const auto saved = context->get_saved_variables();
    const at::Tensor &x = saved[0], &weight = saved[1], &inverse_rms = saved[2];
    const at::Tensor grad_y = grads[0].contiguous();
    const int64_t rows = x.size(0), width = x.size(1);
    at::Tensor grad_x = at::empty_like(x);
    at::Tensor partial = at::zeros({num_tasks(rows, kRowsPerTask), width}, x.options().dtype(at::kFloat));
    dispatch_element(x, [&]<typename T>(T) {
      parallel_chunks(rows, kRowsPerTask, [&](int64_t task, int64_t begin, int64_t end) {
        row_kernels<T>().rms_norm_backward(
            element_data<T>(grad_y) + begin * width, element_data<T>(x) + begin * width,
            element_data<T>(weight), inverse_rms.const_data_ptr<float>() + begin,
            element_data<T>(grad_x) + begin * width, partial.mutable_data_ptr<float>() + task * width,
            end - begin, width);
      });
    });
    return {grad_x, partial.sum({0}).to(weight.scalar_type()), at::Tensor()};
  }
};

class LayerNorm : public Function<LayerNorm> {
 public:
  static at::Tensor forward(AutogradContext* context, const at::Tensor& x, const at::Tensor& weight,
                            const at::Tensor& bias, double epsilon) {
    const int64_t rows = x.size(0), width = x.size(1);
    at::Tensor y = at::empty_like(x);
    // For each row its mean and the inverse of its deviation.
    at::Tensor statistics = at::empty({2, rows}, x.options().dtype(at::kFloat));
    dispatch_element(x, [&]<typename T>(T) {
      parallel_chunks(rows, kRowsPerTask, [&](int64_t, int64_t begin, int64_t end) {
        float* mean = statistics.mutable_data_ptr<float>() + begin;
        row_kernels<T>().layer_norm_forward(element_data<T>(x) + begin * width, element_data<T>(weight),
                                            element_data<T>(bias), element_data<T>(y) + begin * width, mean,
                                            mean + rows, end - begin, width, static_cast<float>(epsilon));
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
    // For each task the sums of the weight's gradient, then those of the bias's.
    at::Tensor partial = at::zeros({num_tasks(rows, kRowsPerTask), 2, width}, x.options().dtype(at::kFloat));
    dispatch_element(x, [&]<typename T>(T) {
      parallel_chunks(rows, kRowsPerTask, [&](int64_t task, int64_t begin, int64_t end) {
        const float* mean = statistics.const_data_ptr<float>() + begin;
        float* sums = partial.mutable_data_ptr<float>() + task * 2 * width;
        row_kernels<T>().layer_norm_backward(element_data<T>(grad_y) + begin * width,
                                             element_data<T>(x) + begin * width, element_data<T>(weight),
                                             mean, mean + rows, element_data<T>(grad_x) + begin * width, sums,
                                             sums + width, end - begin, width);
      });
    });
    const at::Tensor sums = partial.sum({0}).to(weight.scalar_type());
    return {grad_x, sums[0], sums[1], at::Tensor()};
  }
};

}  // namespace

at::Tensor rms_norm(const at::Tensor& x, const at::Tensor& weight, double epsilon) {
  return RmsNorm::apply(x.contiguous(), weight.contiguous(), epsilon);
}

at::Tensor layer_norm(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias, double epsilon) {
  return LayerNorm::apply(x.contiguous(), weight.contiguous(), bias.contiguous(), epsilon);
}

}  // namespace longlora::ops::cpu
