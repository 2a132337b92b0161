// Attention by libtorch's flash attention kernels. All calls of these kernels are in this file, because their
// parameters change from version to version.
#include <ATen/ops/_flash_attention_backward.h>
#include <ATen/ops/_flash_attention_forward.h>
#include <torch/csrc/autograd/custom_function.h>

#include <algorithm>
#include <array>
#include <optional>
#include <utility>
#include <vector>

#include "longlora/ops/attention_backend.h"
#include "longlora/ops/attention_paths.h"
#include "longlora/ops/attention_saved.h"

namespace longlora::ops {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::Function;
using torch::autograd::variable_list;

int64_t longest(const std::vector<int64_t>& bounds) {
  int64_t length = 0;
  for (size_t i = 0; i + 1 < bounds.size(); ++i) length = std::max(length, bounds[i + 1] - bounds[i]);
  return length;
}

// Returns bounds of segments as the kernels want them. Nothing waits for the GPU.
at::Tensor boundaries(const std::vector<int64_t>& bounds, at::Device device) {
  return at::tensor(bounds, at::kLong).to(at::kInt).to(device, /*non_blocking=*/true);
}

// Returns how many keys before its own a query sees; nullopt: all of its segment.
std::optional<int64_t> keys_before(int64_t window_tokens) {
  return window_tokens > 0 ? std::optional<int64_t>(window_tokens - 1) : std::nullopt;
}

std::optional<int64_t> keys_after(int64_t window_tokens) {
  return window_tokens > 0 ? std::optional<int64_t>(0) : std::nullopt;
}

// The segments of the queries or of the keys of a call.
struct Side {
  at::Tensor bounds;  // [segments + 1] int32
  int64_t longest;
};

// `least` is a lower limit on the stated length of the longest segment. With a single query the kernels take
// a short cut that orders log_sum_exp in another way; a limit of 2 prevents that.
Side side_of(const std::vector<int64_t>& bounds, at::Device device, int64_t least) {
  return {boundaries(bounds, device), std::max(least, longest(bounds))};
}

// The segments of queries and keys for each half of the heads.
struct Sides {
  std::array<Side, 2> queries, keys;

  Sides(const AttentionPlan& plan, at::Device device) {
    for (size_t half = 0; half < 2; ++half) {
      keys[half] = side_of(plan.bounds[half], device, 2);
      queries[half] =
          plan.has_all_queries() ? keys[half] : side_of(plan.tail_bounds[half], device, /*least=*/1);
    }
  }
};

// Computes causal attention inside segments. Where a segment has fewer queries than keys, the kernels take
// the queries for those of the last keys.
KeptAttention flash_forward(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                            const Side& queries, const Side& keys, int64_t window_tokens) {
  auto result = at::_flash_attention_forward(
      q, k, v, queries.bounds, keys.bounds, queries.longest, keys.longest, /*dropout_p=*/0.0,
      /*is_causal=*/true, /*return_debug_mask=*/false, /*scale=*/std::nullopt, keys_before(window_tokens),
      keys_after(window_tokens));
  // With a single query the kernels take a short cut, whose result has another shape.
  const at::Tensor& out = std::get<0>(result);
  return {out.sizes() == q.sizes() ? out : out.reshape(q.sizes()), std::get<1>(result)};
}

at::Tensor heads_of(const at::Tensor& x, int64_t begin, int64_t end) {
  return x.slice(1, begin, end);
}

class AttentionFlash : public Function<AttentionFlash> {
 public:
  static at::Tensor forward(AutogradContext* context, const at::Tensor& q_in, const at::Tensor& k_in,
                            const at::Tensor& v_in, const AttentionPlan& plan, KeptAttention* kept) {
    const at::Tensor q = with_dense_heads(q_in), k = with_dense_heads(k_in), v = with_dense_heads(v_in);
    const Sides sides(plan, q.device());
    const KeptAttention results = kept_or_computed(kept, [&] { return attend(q, k, v, plan, sides); });
    context->save_for_backward(
        {q, k, v, results.out, results.log_sum_exp, sides.keys[0].bounds, sides.keys[1].bounds});
    save_plan(plan, context);
    return results.out;
  }

  static variable_list backward(AutogradContext* context, const variable_list& grads) {
    const auto saved = context->get_saved_variables();
    const at::Tensor &q = saved[0], &k = saved[1], &v = saved[2], &out = saved[3], &log_sum_exp = saved[4];
    const AttentionPlan plan = saved_plan(context);
    const std::vector<HeadRange> ranges = head_ranges(plan, q.size(1), k.size(1));
    // Only dropout would read the state of a random generator.
    const at::Tensor no_state = at::empty({2}, at::TensorOptions(at::kUInt64).device(q.device()));
    at::Tensor grad_q, grad_k, grad_v;
    int64_t kv_written = 0;
    for (const HeadRange& range : ranges) {
      const at::Tensor& bounds = saved[5 + static_cast<size_t>(range.half)];
      const int64_t length = std::max<int64_t>(2, longest(plan.bounds[range.half]));
      auto [part_q, part_k, part_v] = at::_flash_attention_backward(
          heads_of(grads[0], range.begin, range.end), heads_of(q, range.begin, range.end),
          heads_of(k, range.kv_begin, range.kv_end), heads_of(v, range.kv_begin, range.kv_end),
          heads_of(out, range.begin, range.end), log_sum_exp.slice(0, range.begin, range.end), bounds, bounds,
          length, length, /*dropout_p=*/0.0, /*is_causal=*/true, no_state, no_state, /*scale=*/std::nullopt,
          keys_before(plan.window_tokens), keys_after(plan.window_tokens));
      if (ranges.size() == 1) return {part_q, part_k, part_v, at::Tensor(), at::Tensor()};
      if (!grad_q.defined()) {
        grad_q = at::empty(q.sizes(), q.options());
        grad_k = at::empty(k.sizes(), k.options());
        grad_v = at::empty(v.sizes(), v.options());
      }
      heads_of(grad_q, range.begin, range.end).copy_(part_q);
      // Ranges ascend, so that only the first key/value head of a range can have been written before, by the
      // range before it.
      const bool again = range.kv_begin < kv_written;
      for (const auto& [whole, part] : {std::pair(grad_k, part_k), std::pair(grad_v, part_v)}) {
        const at::Tensor target = heads_of(whole, range.kv_begin, range.kv_end);
        if (again)
          target.add_(part);
        else
          target.copy_(part);
      }
      kv_written = range.kv_end;
    }
    return {grad_q, grad_k, grad_v, at::Tensor(), at::Tensor()};
  }

 private:
  static KeptAttention attend(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                              const AttentionPlan& plan, const Sides& sides) {
    const std::vector<HeadRange> ranges = head_ranges(plan, q.size(1), k.size(1));
    KeptAttention whole;
    for (const HeadRange& range : ranges) {
      KeptAttention part =
          flash_forward(heads_of(q, range.begin, range.end), heads_of(k, range.kv_begin, range.kv_end),
                        heads_of(v, range.kv_begin, range.kv_end), sides.queries[range.half],
                        sides.keys[range.half], plan.window_tokens);
      if (ranges.size() == 1) return part;
      if (!whole.out.defined())
        whole = {at::empty(q.sizes(), q.options()),
                 at::empty({q.size(1), q.size(0)}, part.log_sum_exp.options())};
      heads_of(whole.out, range.begin, range.end).copy_(part.out);
      whole.log_sum_exp.slice(0, range.begin, range.end).copy_(part.log_sum_exp);
    }
    return whole;
  }
};

}  // namespace

bool attention_flash_takes(const at::Tensor& q) {
  const bool is_half = q.scalar_type() == at::kBFloat16 || q.scalar_type() == at::kHalf;
  return q.device().is_cuda() && flash_takes(is_half, q.size(2), q.requires_grad());
}

at::Tensor attention_flash(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                           const AttentionPlan& plan, KeptAttention* kept) {
  return AttentionFlash::apply(q, k, v, plan, kept);
}

}  // namespace longlora::ops
