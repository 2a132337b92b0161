#include "longlora/ops/linear.h"

#include <fmt/format.h>
#include <torch/csrc/autograd/custom_function.h>

#include "longlora/core/error.h"
#include "longlora/ops/adapter_linear.h"
#include "longlora/ops/matrix_product.h"
#include "longlora/ops/optional_operands.h"
#include "longlora/ops/shape_text.h"

namespace longlora::ops {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::Function;
using torch::autograd::variable_list;

class LinearFunction : public Function<LinearFunction> {
 public:
  // The order of forward's operands, which is also that of the gradients.
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
    // A frozen layer does not need its input for backward, so that no reference to it is kept.
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
      // B is transposed first, because a product with so few columns is three times as slow in the other
      // form.
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
