// The ops by libtorch's operators, for any device and floating dtype. A GPU runs these. They keep the same
// tensors for backward as the CPU kernels.
#include <torch/csrc/autograd/custom_function.h>

#include <algorithm>

#include "longlora/ops/attention_paths.h"
#include "longlora/ops/backend.h"
#include "longlora/ops/cpu/ops.h"

namespace longlora::ops {
namespace composed {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::Function;
using torch::autograd::variable_list;

// Rotates x by angles with these cosines and sines. With -sin in place of sin it is the inverse rotation.
at::Tensor rotated(const at::Tensor& x, const at::Tensor& positions, const at::Tensor& cos,
                   const at::Tensor& sin) {
  const int64_t half = cos.size(1);
  // The tables are float32, so that narrower dtypes are computed in float32 and rounded once.
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

at::Tensor attention(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v, const AttentionPlan& plan,
                     KeptAttention* kept) {
  if (!is_best_in_place(k, plan) && attention_flash_takes(q)) return attention_flash(q, k, v, plan, kept);
  return attention_composed(q, k, v, plan);
}

at::Tensor matrix_product(const at::Tensor& a, const RightOperand& right, const ProductTerms& terms) {
  const at::Tensor b =
      right.matrix.is_nf4() ? ops::dequantize_nf4(right.matrix.nf4(), a.scalar_type()) : right.matrix.dense();
  const bool with_bias = terms.bias.defined() && right.transposed && !right.matrix.is_nf4();
  at::Tensor y = with_bias ? at::linear(a, b, terms.bias) : at::mm(a, right.transposed ? b.t() : b);
  if (terms.bias.defined() && !with_bias) y.add_(terms.bias);
  if (terms.low_rank.defined()) {
    const at::Tensor& low_right = terms.low_rank_right.matrix.dense();
    y.addmm_(terms.low_rank, terms.low_rank_right.transposed ? low_right.t() : low_right);
  }
  return y;
}

void add_transposed_product(const at::Tensor& a, const at::Tensor& b, at::Tensor& sum) {
  sum.add_(at::mm(a.t(), b));
}

// Returns each element of `x` `times` times, and the first `length` of these.
at::Tensor repeated(const at::Tensor& x, int64_t times, int64_t length) {
  return x.unsqueeze(1).expand({x.numel(), times}).reshape({-1}).slice(0, 0, length);
}

at::Tensor dequantize_nf4(const Nf4Matrix& matrix, at::ScalarType dtype) {
  const auto looked_up = [](const at::Tensor& map, const at::Tensor& codes) {
    return map.to(codes.device()).index_select(0, codes.to(at::kInt));
  };
  const int64_t elements = matrix.num_elements(), blocks = matrix.num_blocks();
  const at::Tensor codes =
      at::stack({matrix.codes.bitwise_right_shift(4), matrix.codes.bitwise_and(15)}, 1).reshape({-1});
  at::Tensor scales = matrix.absmax;
  if (matrix.is_nested())
    scales = looked_up(matrix.nested_map, matrix.absmax)
                 .mul_(repeated(matrix.nested_absmax, matrix.nested_block_size, blocks))
                 .add_(matrix.nested_offset);
  return looked_up(nf4_values(), codes.slice(0, 0, elements))
      .mul_(repeated(scales, matrix.block_size, elements))
      .view({matrix.rows, matrix.columns})
      .to(dtype);
}

// Masks are always drawn on the CPU, so that they are the same on every device.
at::Tensor dropout(const at::Tensor& x, const Dropout& dropout) {
  return cpu::dropout(x.cpu(), dropout).to(x.device());
}

void add_embedding_gradient(const at::Tensor& grad_hidden, const at::Tensor& ids, at::Tensor& grad_weight) {
  grad_weight.index_add_(0, ids, grad_hidden.to(at::kFloat));
}

RowLosses cross_entropy_rows(at::Tensor& logits, const at::Tensor& labels, double grad_scale) {
  const at::ScalarType wide = logits.scalar_type() == at::kDouble ? at::kDouble : at::kFloat;
  // This is the only matrix that is wider than the logits.
  const at::Tensor log_probability = at::log_softmax(logits, -1, wide);
  const at::Tensor loss = -log_probability.gather(1, labels.unsqueeze(1)).squeeze(1);
  const at::Tensor correct = logits.argmax(-1).eq(labels).to(at::kByte);
  if (grad_scale != 0.0) {
    at::Tensor grad = log_probability.exp_();
    grad.scatter_add_(1, labels.unsqueeze(1), at::full({logits.size(0), 1}, -1.0, grad.options()));
    logits.copy_(grad.mul_(grad_scale));
  }
  return {loss, correct};
}

// How many elements AdamW updates at a time, so that intermediate tensors are small beside the largest
// parameters.
constexpr int64_t kElementsAtOnce = int64_t{1} << 24;

template <typename Body>
void for_each_piece(int64_t elements, const Body& body) {
  for (int64_t begin = 0; begin < elements; begin += kElementsAtOnce)
    body(begin, std::min(elements, begin + kElementsAtOnce));
}

void adamw(const at::Tensor& parameter, const at::Tensor& grad, const at::Tensor& exp_avg,
           const at::Tensor& exp_avg_sq, const AdamWStep& step) {
  // detach() is needed because the parameter may be a leaf of autograd's graph.
  const at::Tensor p = parameter.detach();
  const float decay = 1.0f - step.learning_rate * step.weight_decay;
  const float step_size = step.learning_rate / step.bias_correction1;
  for_each_piece(p.numel(), [&](int64_t begin, int64_t end) {
    const at::Tensor g = grad.slice(0, begin, end) * step.grad_scale;
    at::Tensor m = exp_avg.slice(0, begin, end), v = exp_avg_sq.slice(0, begin, end);
    m.mul_(step.beta1).add_(g, step.one_minus_beta1);
    v.mul_(step.beta2).addcmul_(g, g, step.one_minus_beta2);
    const at::Tensor divisor = v.sqrt().mul_(1.0f / step.sqrt_bias_correction2).add_(step.epsilon);
    p.slice(0, begin, end).mul_(decay).addcdiv_(m, divisor, -step_size);
  });
}

at::Tensor sum_of_squares(const at::Tensor& x, int64_t /*run_elements*/) {
  at::Tensor sum = at::zeros({}, x.options().dtype(at::kDouble));
  const at::Tensor flat = x.view(-1);
  for_each_piece(flat.numel(), [&](int64_t begin, int64_t end) {
    sum.add_(flat.slice(0, begin, end).to(at::kDouble).square_().sum());
  });
  return sum;
}

constexpr Backend kTable = {
    .rms_norm = rms_norm,
    .layer_norm = layer_norm,
    .rotate = rotate,
    .silu_mul = silu_mul,
    .attention = attention,
    .matrix_product = matrix_product,
    .add_transposed_product = add_transposed_product,
    .dequantize_nf4 = dequantize_nf4,
    .dropout = dropout,
    .add_embedding_gradient = add_embedding_gradient,
    .cross_entropy_rows = cross_entropy_rows,
    .adamw = adamw,
    .sum_of_squares = sum_of_squares,
};

}  // namespace
}  // namespace composed

const Backend& composed_backend() {
  return composed::kTable;
}

}  // namespace longlora::ops
