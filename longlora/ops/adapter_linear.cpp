#include "longlora/ops/adapter_linear.h"

#include <c10/core/GradMode.h>
#include <torch/csrc/autograd/custom_function.h>

#include <algorithm>

#include "longlora/ops/dropout.h"
#include "longlora/ops/matrix_product.h"
#include "longlora/ops/optional_operands.h"

namespace longlora::ops {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::Function;
using torch::autograd::variable_list;

// How many elements of the adapted weight exist at once while its norms are computed.
constexpr int64_t kNormElements = int64_t{1} << 18;

// Returns x with its columns scaled. It is computed in float32 and rounded once.
at::Tensor scale_columns(const at::Tensor& x, const at::Tensor& factor) {
  return at::mul(x.to(factor.scalar_type()), factor).to(x.scalar_type());
}

class AdapterLinear : public Function<AdapterLinear> {
 public:
  // The order of forward's operands, which is also that of the gradients.
  enum Operand : size_t { kX, kWeight, kBias, kLoraA, kLoraB, kMagnitude };

  static at::Tensor forward(AutogradContext* context, const at::Tensor& x, const at::Tensor& /*dense_weight*/,
                            const at::Tensor& bias, const at::Tensor& lora_a, const at::Tensor& lora_b,
                            const at::Tensor& magnitude, const at::Tensor& weight_norm, double scale,
                            const Dropout& mask, const Weight& weight) {
    const bool drops = mask.probability > 0.0;
    const RightOperand base = {weight, /*transposed=*/true};
    const at::Tensor input = drops ? dropout(x, mask) : x;
    ProductTerms low_rank_terms;
    low_rank_terms.low_rank = at::linear(input, lora_a);
    low_rank_terms.low_rank_right = {lora_b * scale, /*transposed=*/true};
    ProductTerms bias_terms;
    if (is_present(bias)) bias_terms.bias = bias;

    at::Tensor y, product, factor;
    if (!is_present(magnitude)) {
      low_rank_terms.bias = bias_terms.bias;
      y = matrix_product(x, base, low_rank_terms);
    } else {
      product = matrix_product(input, base, low_rank_terms);
      factor = magnitude.to(weight_norm.scalar_type()) / weight_norm;
      y = scale_columns(product, factor);
      if (drops)
        y.add_(matrix_product(x - input, base, bias_terms));
      else if (is_present(bias))
        y.add_(bias);
    }
    const bool needs_x = weight.requires_grad() || lora_a.requires_grad();
    if (!magnitude.requires_grad()) product = at::Tensor();
    context->save_for_backward(
        {needs_x ? x : at::Tensor(), lora_a, lora_b, low_rank_terms.low_rank, product, factor, weight_norm});
    context->saved_data["scale"] = scale;
    context->saved_data["weight"] = keep_weight(weight);
    context->saved_data["probability"] = mask.probability;
    context->saved_data["key"] = static_cast<int64_t>(mask.key);
    context->saved_data["first_row"] = mask.first_row;
    return y;
  }

  static variable_list backward(AutogradContext* context, const variable_list& grads) {
    const auto saved = context->get_saved_variables();
    const at::Tensor &x = saved[0], &lora_a = saved[1], &lora_b = saved[2], &low_rank = saved[3],
                     &product = saved[4], &factor = saved[5], &weight_norm = saved[6];
    const double scale = context->saved_data["scale"].toDouble();
    const Dropout mask = {context->saved_data["probability"].toDouble(),
                          static_cast<uint64_t>(context->saved_data["key"].toInt()),
                          context->saved_data["first_row"].toInt()};
    const bool drops = mask.probability > 0.0, scales = factor.defined();
    const at::Tensor grad_y = grads[0].contiguous();
    at::Tensor grad_x, grad_weight, grad_bias, grad_a, grad_b, grad_magnitude;
    if (context->needs_input_grad(kBias)) grad_bias = grad_y.to(at::kFloat).sum({0}).to(grad_y.scalar_type());
    if (context->needs_input_grad(kMagnitude))
      grad_magnitude = at::mul(grad_y.to(factor.scalar_type()), product.to(factor.scalar_type()))
                           .sum({0})
                           .div_(weight_norm);

    const at::Tensor grad_product = scales ? scale_columns(grad_y, factor) : grad_y;
    const at::Tensor grad_low_rank = at::linear(grad_product, lora_b.t().contiguous()).mul_(scale);
    at::Tensor input = x;
    if (drops && x.defined()) input = dropout(x, mask);
    if (context->needs_input_grad(kLoraA)) grad_a = at::mm(grad_low_rank.t(), input);
    if (context->needs_input_grad(kLoraB)) grad_b = at::mm(grad_product.t(), low_rank).mul_(scale);
    if (context->needs_input_grad(kWeight)) {
      grad_weight = scales ? at::mm(grad_product.t(), input) : at::mm(grad_y.t(), x);
      if (scales && drops) grad_weight.add_(at::mm(grad_y.t(), x - input));
    }
    if (context->needs_input_grad(kX))
      grad_x = input_gradient(grad_y, grad_product, grad_low_rank,
                              {kept_weight(context->saved_data["weight"])}, lora_a, mask, scales);
    return {grad_x,         grad_weight,  grad_bias,    grad_a,       grad_b,
            grad_magnitude, at::Tensor(), at::Tensor(), at::Tensor(), at::Tensor()};
  }

 private:
  static at::Tensor input_gradient(const at::Tensor& grad_y, const at::Tensor& grad_product,
                                   const at::Tensor& grad_low_rank, const RightOperand& weight,
                                   const at::Tensor& lora_a, const Dropout& mask, bool scales) {
    ProductTerms terms;
    terms.low_rank = grad_low_rank;
    terms.low_rank_right = {lora_a};
    if (mask.probability == 0.0) return matrix_product(grad_product, weight, terms);
    // The gradient of x has two parts: what bypasses dropout, and what comes back through it.
    const at::Tensor past = matrix_product(grad_y, weight);
    const at::Tensor through =
        scales ? matrix_product(grad_product - grad_y, weight, terms) : at::mm(grad_low_rank, lora_a);
    return past.add(dropout(through, mask));
  }
};

}  // namespace

at::Tensor adapter_linear(const at::Tensor& x, const LinearOperands& operands) {
  const OrEmpty or_empty(x.options());
  const bool scales = operands.magnitude.defined();
  at::Tensor norm = operands.weight_norm;
  if (scales && !norm.defined()) norm = adapted_weight_norm(operands);
  if (!scales) norm = at::Tensor();
  return AdapterLinear::apply(x, or_empty(operands.weight), or_empty(operands.bias), operands.lora_a,
                              operands.lora_b, or_empty(operands.magnitude), or_empty(norm),
                              operands.lora_scale, operands.dropout, operands.weight);
}

at::Tensor adapted_weight_norm(const LinearOperands& operands) {
  const c10::NoGradGuard no_grad;
  // On a GPU a matrix in four bits can only be dequantised as a whole.
  const bool by_rows = operands.weight.device().is_cpu() || operands.weight.is_meta();
  const Weight weight = by_rows ? operands.weight : Weight(operands.weight.to_dense());
  const at::ScalarType dtype = weight.scalar_type() == at::kDouble ? at::kDouble : at::kFloat;
  const int64_t rows = weight.size(0);
  const int64_t step = std::max<int64_t>(1, kNormElements / std::max<int64_t>(1, weight.size(1)));
  const at::Tensor a = operands.lora_a.to(dtype), b = operands.lora_b.to(dtype);
  at::Tensor norm = at::empty({rows}, b.options());
  for (int64_t begin = 0; begin < rows; begin += step) {
    const int64_t end = std::min(rows, begin + step);
    const at::Tensor adapted = at::addmm(weight.rows(begin, end).to(dtype), b.slice(0, begin, end), a,
                                         /*beta=*/1, /*alpha=*/operands.lora_scale);
    norm.slice(0, begin, end).copy_(adapted.norm(2, {1}, /*keepdim=*/false));
  }
  return norm;
}

}  // namespace longlora::ops
