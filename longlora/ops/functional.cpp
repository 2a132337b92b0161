#include "longlora/ops/functional.h"

#include <fmt/format.h>
#include <torch/csrc/autograd/custom_function.h>

#include "longlora/core/error.h"
#include "longlora/ops/adapter_linear.h"
#include "longlora/ops/composed.h"
#include "longlora/ops/cpu/chunks.h"
#include "longlora/ops/cpu/row_kernels.h"
#include "longlora/ops/cpu/tensor_access.h"
#include "longlora/ops/matrix_product.h"
#include "longlora/ops/optional_operands.h"
#include "longlora/ops/reference.h"
#include "longlora/ops/shape_text.h"

namespace longlora::ops {
namespace {

using cpu::dispatch_element;
using cpu::element_data;
using cpu::has_kernels;
using cpu::kElementsPerTask;
using cpu::kRowsPerTask;
using cpu::num_tasks;
using cpu::parallel_chunks;
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
        cpu::row_kernels<T>().rms_norm_forward(
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
        cpu::row_kernels<T>().rms_norm_backward(
            element_data<T>(grad_y) + begin * width, element_data<T>(x) + begin * width,
            element_data<T>(weight), inverse_rms.const_data_ptr<float>() + begin,
            element_data<T>(grad_x) + begin * width, partial.mutable_data_ptr<float>() + task * width,
            end - begin, width);
      });
    });
    return {grad_x, partial.sum({0}).to(weight.scalar_type()), at::Tensor()};
  }
};

at::Tensor rotate_cpu(const at::Tensor& x, const at::Tensor& positions, const at::Tensor& cos,
                      const at::Tensor& sin, float sine_sign) {
  const int64_t rows = x.size(0), heads = x.size(1), head_size = x.size(2);
  at::Tensor y = at::empty({rows, heads, head_size}, x.options());
  dispatch_element(x, [&]<typename T>(T) {
    parallel_chunks(rows, kRowsPerTask, [&](int64_t, int64_t begin, int64_t end) {
      cpu::row_kernels<T>().rotate(element_data<T>(x) + begin * x.stride(0), x.stride(0),
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
    return rotate_cpu(with_contiguous_heads(x), positions, cos, sin, 1.0f);
  }

  static variable_list backward(AutogradContext* context, const variable_list& grads) {
    const auto saved = context->get_saved_variables();
    return {rotate_cpu(with_contiguous_heads(grads[0]), saved[0], saved[1], saved[2], -1.0f), at::Tensor(),
            at::Tensor(), at::Tensor()};
  }
};

class SiluMul : public Function<SiluMul> {
 public:
  static at::Tensor forward(AutogradContext* context, const at::Tensor& gate, const at::Tensor& up) {
    at::Tensor y = at::empty_like(gate);
    dispatch_element(gate, [&]<typename T>(T) {
      parallel_chunks(gate.numel(), kElementsPerTask, [&](int64_t, int64_t begin, int64_t end) {
        cpu::row_kernels<T>().silu_mul_forward(element_data<T>(gate) + begin, element_data<T>(up) + begin,
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
        cpu::row_kernels<T>().silu_mul_backward(
            element_data<T>(grad_y) + begin, element_data<T>(gate) + begin, element_data<T>(up) + begin,
            element_data<T>(grad_gate) + begin, element_data<T>(grad_up) + begin, end - begin);
      });
    });
    return {grad_gate, grad_up};
  }
};

class LinearFunction : public Function<LinearFunction> {
 public:
  // The order of forward's operands, which is that of the gradients.
  enum Operand : size_t { kX, kWeight, kBias, kLoraA, kLoraB };

  static at::Tensor forward(AutogradContext* context, const at::Tensor& x, const at::Tensor& /*dense_weight*/,
                            const at::Tensor& bias, const at::Tensor& lora_a, const at::Tensor& lora_b,
                            double scale, const Weight& weight) {
    ProductTerms terms;
    if (is_present(bias)) terms.bias = bias;
    at::Tensor low_rank = lora_a;
    if (is_present(lora_a)) {
      low_rank = at::linear(x, lora_a);
      terms.low_rank = low_rank;
      terms.low_rank_right = {lora_b * scale, /*transposed=*/true};
    }
    at::Tensor y = matrix_product(x, {weight, /*transposed=*/true}, terms);
    // A frozen layer needs its input for nothing; keep no reference to it.
    const bool needs_x = weight.requires_grad() || lora_a.requires_grad();
    context->save_for_backward({needs_x ? x : at::Tensor(), lora_a, lora_b, low_rank});
    context->saved_data["scale"] = scale;
    context->saved_data["weight"] = keep_weight(weight);
    return y;
  }

  static variable_list backward(AutogradContext* context, const variable_list& grads) {
    const auto saved = context->get_saved_variables();
    const at::Tensor &x = saved[0], &lora_a = saved[1], &lora_b = saved[2], &low_rank = saved[3];
    const double scale = context->saved_data["scale"].toDouble();
    const Weight& weight = kept_weight(context->saved_data["weight"]);
    const at::Tensor grad_y = grads[0].contiguous();
    at::Tensor grad_x, grad_weight, grad_bias, grad_a, grad_b;
    if (context->needs_input_grad(kWeight)) grad_weight = at::mm(grad_y.t(), x);
    if (context->needs_input_grad(kBias)) grad_bias = grad_y.to(at::kFloat).sum({0}).to(grad_y.scalar_type());
    ProductTerms terms;
    if (is_present(lora_a)) {
      // Over rows of the transposed matrix: a product with a few columns goes
      // three times as slowly in the other form.
      const at::Tensor grad_low_rank = at::linear(grad_y, lora_b.t().contiguous()).mul_(scale);
      if (context->needs_input_grad(kLoraA)) grad_a = at::mm(grad_low_rank.t(), x);
      if (context->needs_input_grad(kLoraB)) grad_b = at::mm(grad_y.t(), low_rank).mul_(scale);
      terms.low_rank = grad_low_rank;
      terms.low_rank_right = {lora_a};
    }
    if (context->needs_input_grad(kX)) grad_x = matrix_product(grad_y, {weight}, terms);
    return {grad_x, grad_weight, grad_bias, grad_a, grad_b, at::Tensor(), at::Tensor()};
  }
};

}  // namespace

at::Tensor rms_norm(const at::Tensor& x, const at::Tensor& weight, double epsilon) {
  if (x.dim() != 2 || weight.dim() != 1 || weight.size(0) != x.size(1))
    throw Error(fmt::format("[rms_norm] expected x [N, C] and weight [C], got {} and {}", shape_text(x),
                            shape_text(weight)));
  if (weight.scalar_type() != x.scalar_type()) return reference::rms_norm(x, weight, epsilon);
  if (!has_kernels(x)) return composed::rms_norm(x, weight, epsilon);
  return RmsNorm::apply(x.contiguous(), weight.contiguous(), epsilon);
}

at::Tensor rotate(const at::Tensor& x, const at::Tensor& positions, const at::Tensor& cos,
                  const at::Tensor& sin) {
  if (x.dim() != 3 || positions.numel() != x.size(0) || cos.dim() != 2 || cos.sizes() != sin.sizes() ||
      2 * cos.size(1) > x.size(2))
    throw Error(fmt::format(
        "[rotate] expected x [N, H, D], positions [N] and cos, sin [P, <= D/2], got {}, {}, {} and {}",
        shape_text(x), shape_text(positions), shape_text(cos), shape_text(sin)));
  if (!has_kernels(x)) return composed::rotate(x, positions, cos, sin);
  return Rotate::apply(x, positions.contiguous(), cos.contiguous(), sin.contiguous());
}

at::Tensor silu_mul(const at::Tensor& gate, const at::Tensor& up) {
  if (gate.sizes() != up.sizes())
    throw Error(fmt::format("[silu_mul] expected gate and up of one shape, got {} and {}", shape_text(gate),
                            shape_text(up)));
  if (!has_kernels(gate)) return composed::silu_mul(gate, up);
  return SiluMul::apply(gate.contiguous(), up.contiguous());
}

at::Tensor gelu(const at::Tensor& x, GeluForm form) {
  return at::gelu(x, form == GeluForm::kTanh ? "tanh" : "none");
}

at::Tensor linear(const at::Tensor& x, const LinearOperands& operands) {
  if (x.dim() != 2 || operands.weight.dim() != 2 || x.size(1) != operands.weight.size(1))
    throw Error(fmt::format("[linear] expected x [N, I] and weight [O, I], got {} and {}", shape_text(x),
                            shape_text(operands.weight)));
  if (operands.lora_a.defined() && (operands.magnitude.defined() || operands.dropout.probability > 0.0))
    return adapter_linear(x, operands);
  const OrEmpty or_empty(x.options());
  return LinearFunction::apply(x, or_empty(operands.weight), or_empty(operands.bias),
                               or_empty(operands.lora_a), or_empty(operands.lora_b), operands.lora_scale,
                               operands.weight);
}

}  // namespace longlora::ops
