// Stands in for libtorch's flash attention, which has kernels for CUDA alone: the same operators for the CPU,
// in plain tensor code, as PyTorch 2.11 documents and checks them. What calls them can so be tested without a
// GPU: boundaries, head ranges, windows, how log_sum_exp lies, gradients. It says nothing about the real
// kernels.
#include <ATen/ATen.h>
#include <torch/library.h>

#include <cmath>

namespace longlora::ops {
namespace {

using OptionalTensor = std::optional<at::Tensor>;

// One segment of one call.
struct Segment {
  at::Tensor q, k, v;  // [heads, n or m, D] in double, every query head with keys of its own
  at::Tensor hidden;   // [n, m]: what a query does not see
  int64_t begin, end, key_begin, key_end;
};

int64_t place(const at::Tensor& bounds, int64_t i) {
  return bounds[i].item<int64_t>();
}

at::Tensor by_head(const at::Tensor& x, int64_t begin, int64_t end, int64_t repeats) {
  return x.slice(0, begin, end).to(at::kDouble).transpose(0, 1).repeat_interleave(repeats, 0);
}

void check(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v, const at::Tensor& bounds,
           const at::Tensor& key_bounds, int64_t max_q, int64_t max_k) {
  for (const at::Tensor* x : {&q, &k, &v}) TORCH_CHECK(x->dim() == 3 && x->stride(-1) == 1);
  TORCH_CHECK(q.size(1) % k.size(1) == 0 && k.sizes() == v.sizes());
  TORCH_CHECK(bounds.scalar_type() == at::kInt && key_bounds.scalar_type() == at::kInt);
  TORCH_CHECK(bounds.is_contiguous() && key_bounds.is_contiguous() && bounds.numel() == key_bounds.numel());
  TORCH_CHECK(place(bounds, -1) == q.size(0) && place(key_bounds, -1) == k.size(0));
  for (int64_t i = 0; i + 1 < bounds.numel(); ++i)
    TORCH_CHECK(place(bounds, i + 1) - place(bounds, i) <= max_q &&
                place(key_bounds, i + 1) - place(key_bounds, i) <= max_k);
}

std::vector<Segment> segments_of(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                                 const at::Tensor& bounds, const at::Tensor& key_bounds,
                                 std::optional<int64_t> left) {
  const int64_t group = q.size(1) / k.size(1);
  std::vector<Segment> segments;
  for (int64_t i = 0; i + 1 < bounds.numel(); ++i) {
    const int64_t begin = place(bounds, i), end = place(bounds, i + 1);
    const int64_t key_begin = place(key_bounds, i), key_end = place(key_bounds, i + 1);
    const int64_t n = end - begin, m = key_end - key_begin;
    // The last query sees the last key.
    const at::Tensor last = at::arange(m - n, m).unsqueeze(1), keys = at::arange(m).unsqueeze(0);
    at::Tensor hidden = keys.gt(last);
    if (left) hidden = hidden.logical_or(keys.lt(last - std::min<int64_t>(*left, m)));
    segments.push_back({by_head(q, begin, end, 1), by_head(k, key_begin, key_end, group),
                        by_head(v, key_begin, key_end, group), hidden, begin, end, key_begin, key_end});
  }
  return segments;
}

at::Tensor scores(const Segment& segment) {
  const double scale = 1.0 / std::sqrt(static_cast<double>(segment.q.size(2)));
  return (at::matmul(segment.q, segment.k.transpose(1, 2)) * scale).masked_fill(segment.hidden, -INFINITY);
}

// The parameters are those of libtorch's operators.
// NOLINTBEGIN(performance-unnecessary-value-param)
std::tuple<at::Tensor, at::Tensor, at::Tensor, at::Tensor, at::Tensor> forward(
    const at::Tensor& q, const at::Tensor& k, const at::Tensor& v, const OptionalTensor& bounds,
    const OptionalTensor& key_bounds, c10::SymInt max_q, c10::SymInt max_k, double dropout, bool causal,
    bool debug_mask, std::optional<double> scale, std::optional<c10::SymInt> left,
    std::optional<c10::SymInt> right, const OptionalTensor& used, const OptionalTensor& slopes) {
  check(q, k, v, *bounds, *key_bounds, max_q.expect_int(), max_k.expect_int());
  TORCH_CHECK(dropout == 0.0 && causal && !debug_mask && !scale && !used && !slopes);
  TORCH_CHECK(left.has_value() == right.has_value() && (!right || right->expect_int() == 0));
  at::Tensor out = at::empty_like(q);
  at::Tensor log_sum_exp = at::empty({q.size(1), q.size(0)}, at::kFloat);
  const auto window = left ? std::optional(left->expect_int()) : std::nullopt;
  for (const Segment& segment : segments_of(q, k, v, *bounds, *key_bounds, window)) {
    const at::Tensor s = scores(segment);
    out.slice(0, segment.begin, segment.end).copy_(at::matmul(at::softmax(s, -1), segment.v).transpose(0, 1));
    log_sum_exp.slice(1, segment.begin, segment.end).copy_(at::logsumexp(s, {-1}));
  }
  const at::Tensor state = at::empty({2}, at::kUInt64);
  return {out, log_sum_exp, state, state, at::Tensor()};
}

std::tuple<at::Tensor, at::Tensor, at::Tensor> backward(
    const at::Tensor& grad_out, const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
    const at::Tensor& out, const at::Tensor& log_sum_exp, const at::Tensor& bounds,
    const at::Tensor& key_bounds, c10::SymInt max_q, c10::SymInt max_k, double dropout, bool causal,
    const at::Tensor& state, const at::Tensor&, std::optional<double> given_scale,
    std::optional<c10::SymInt> left, std::optional<c10::SymInt> right) {
  check(q, k, v, bounds, key_bounds, max_q.expect_int(), max_k.expect_int());
  TORCH_CHECK(dropout == 0.0 && causal && !given_scale && state.defined());
  TORCH_CHECK(left.has_value() == right.has_value() && (!right || right->expect_int() == 0));
  TORCH_CHECK(grad_out.sizes() == q.sizes() && out.sizes() == q.sizes());
  TORCH_CHECK(log_sum_exp.size(0) == q.size(1) && log_sum_exp.size(1) == q.size(0));
  at::Tensor grad_q = at::empty_like(q), grad_k = at::empty_like(k), grad_v = at::empty_like(v);
  const double scale = 1.0 / std::sqrt(static_cast<double>(q.size(2)));
  const auto window = left ? std::optional(left->expect_int()) : std::nullopt;
  for (const Segment& segment : segments_of(q, k, v, bounds, key_bounds, window)) {
    const at::Tensor upper = by_head(grad_out, segment.begin, segment.end, 1);
    const at::Tensor probability =
        at::exp(scores(segment) - log_sum_exp.slice(1, segment.begin, segment.end).unsqueeze(-1));
    const at::Tensor rest = (upper * by_head(out, segment.begin, segment.end, 1)).sum({-1}, /*keepdim=*/true);
    const at::Tensor grad_scores =
        probability * (at::matmul(upper, segment.v.transpose(1, 2)) - rest) * scale;
    // Query heads that share a key head add up.
    const auto shared = [&](const at::Tensor& x) {
      return x.view({k.size(1), -1, x.size(1), x.size(2)}).sum({1}).transpose(0, 1);
    };
    grad_q.slice(0, segment.begin, segment.end).copy_(at::matmul(grad_scores, segment.k).transpose(0, 1));
    grad_k.slice(0, segment.key_begin, segment.key_end)
        .copy_(shared(at::matmul(grad_scores.transpose(1, 2), segment.q)));
    grad_v.slice(0, segment.key_begin, segment.key_end)
        .copy_(shared(at::matmul(probability.transpose(1, 2), upper)));
  }
  return {grad_q, grad_k, grad_v};
}
// NOLINTEND(performance-unnecessary-value-param)

TORCH_LIBRARY_IMPL(aten, CPU, m) {
  m.impl("_flash_attention_forward", forward);
  m.impl("_flash_attention_backward", backward);
}

}  // namespace
}  // namespace longlora::ops
