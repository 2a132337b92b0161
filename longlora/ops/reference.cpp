#include "longlora/ops/reference.h"

#include <cmath>

namespace longlora::ops::reference {

at::Tensor rms_norm(const at::Tensor& x, const at::Tensor& weight, double epsilon) {
  const at::ScalarType compute = x.scalar_type() == at::kDouble ? at::kDouble : at::kFloat;
  const at::Tensor wide = x.to(compute);
  const at::Tensor inverse = (wide.square().mean({-1}, /*keepdim=*/true) + epsilon).rsqrt();
  return (wide * inverse * weight.to(compute)).to(x.scalar_type());
}

at::Tensor layer_norm(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias, double epsilon) {
  const at::ScalarType compute = x.scalar_type() == at::kDouble ? at::kDouble : at::kFloat;
  const at::Tensor wide = x.to(compute);
  const at::Tensor centred = wide - wide.mean({-1}, /*keepdim=*/true);
  const at::Tensor inverse = (centred.square().mean({-1}, /*keepdim=*/true) + epsilon).rsqrt();
  return (centred * inverse * weight.to(compute) + bias.to(compute)).to(x.scalar_type());
}

at::Tensor rotate(const at::Tensor& x, const at::Tensor& positions, const at::Tensor& cos,
                  const at::Tensor& sin) {
  const at::ScalarType compute = x.scalar_type() == at::kDouble ? at::kDouble : at::kFloat;
  const int64_t half = cos.size(1);
  const at::Tensor c = cos.index_select(0, positions).unsqueeze(1).to(compute);
  const at::Tensor s = sin.index_select(0, positions).unsqueeze(1).to(compute);
  const at::Tensor x1 = x.slice(-1, 0, half).to(compute);
  const at::Tensor x2 = x.slice(-1, half, 2 * half).to(compute);
  return at::cat(
      {(x1 * c - x2 * s).to(x.scalar_type()), (x2 * c + x1 * s).to(x.scalar_type()), x.slice(-1, 2 * half)},
      -1);
}

at::Tensor silu_mul(const at::Tensor& gate, const at::Tensor& up) {
  return at::silu(gate) * up;
}

at::Tensor gelu(const at::Tensor& x, GeluForm form) {
  const at::ScalarType compute = x.scalar_type() == at::kDouble ? at::kDouble : at::kFloat;
  const at::Tensor wide = x.to(compute);
  const at::Tensor share = form == GeluForm::kExact
                               ? at::erf(wide * M_SQRT1_2)
                               : at::tanh(std::sqrt(2.0 / M_PI) * (wide + 0.044715 * wide.pow(3)));
  return (0.5 * wide * (1.0 + share)).to(x.scalar_type());
}

at::Tensor attention(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                     const AttentionPlan& plan) {
  const int64_t tokens = q.size(0), heads = q.size(1);
  const at::ScalarType compute = q.scalar_type() == at::kDouble ? at::kDouble : at::kFloat;
  const int64_t group = heads / k.size(1);
  // All operands become [H, N, D]. Every query head gets its own copy of the key/value head that it shares.
  const at::Tensor queries = q.to(compute).transpose(0, 1);
  const at::Tensor keys = k.to(compute).transpose(0, 1).repeat_interleave(group, 0);
  const at::Tensor values = v.to(compute).transpose(0, 1).repeat_interleave(group, 0);

  const at::Tensor index = at::arange(tokens, q.options().dtype(at::kLong));
  std::vector<at::Tensor> masks;
  for (int half = 0; half < 2; ++half) {
    at::Tensor segment = at::empty({tokens}, q.options().dtype(at::kLong));
    for (int64_t i = 0; i < plan.num_segments(half); ++i)
      segment.slice(0, plan.bounds[half][i], plan.bounds[half][i + 1]).fill_(i);
    at::Tensor visible =
        segment.unsqueeze(1).eq(segment.unsqueeze(0)).logical_and(index.unsqueeze(0).le(index.unsqueeze(1)));
    if (plan.window_tokens > 0)
      visible = visible.logical_and(index.unsqueeze(0).gt(index.unsqueeze(1) - plan.window_tokens));
    const int64_t half_heads = half == 0 ? heads / 2 : heads - heads / 2;
    masks.push_back(visible.unsqueeze(0).expand({half_heads, tokens, tokens}));
  }
  const double scale = 1.0 / std::sqrt(static_cast<double>(q.size(2)));
  const at::Tensor scores = at::matmul(queries, keys.transpose(1, 2)) * scale;
  const at::Tensor masked = scores.masked_fill(at::cat(masks).logical_not(), -INFINITY);
  return at::matmul(at::softmax(masked, -1), values).transpose(0, 1).to(q.scalar_type());
}

}  // namespace longlora::ops::reference
