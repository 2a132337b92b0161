#include "longlora/ops/segment_attention.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "longlora/core/error.h"
#include "longlora/ops/segment_attention_paths.h"

namespace longlora::ops {
namespace {

/// "Float [7, 4, 16]".
std::string describe(const at::Tensor& x) {
  return fmt::format("{} [{}]", c10::toString(x.scalar_type()), fmt::join(x.sizes(), ", "));
}

}  // namespace

at::Tensor segment_attention(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                             const SegmentPlan& plan, KeptAttention* kept) {
  const bool fits = q.dim() == 3 && k.dim() == 3 && v.dim() == 3 && k.sizes() == v.sizes() &&
                    q.size(0) == k.size(0) && q.size(2) == k.size(2) && k.size(1) > 0 &&
                    q.size(1) % k.size(1) == 0 && plan.num_tokens == q.size(0) &&
                    q.scalar_type() == k.scalar_type() && q.scalar_type() == v.scalar_type();
  if (!fits)
    throw Error(fmt::format(
        "[segment_attention] expected q [N, H, D], k and v [N, K, D] with K dividing H and N = {} "
        "tokens of the plan, all of one dtype, got {}, {} and {}",
        plan.num_tokens, describe(q), describe(k), describe(v)));
  if (segment_attention_cpu_supports(q)) return segment_attention_cpu(q, k, v, plan, kept);
  if (segment_attention_flash_takes(q)) return segment_attention_flash(q, k, v, plan, kept);
  return segment_attention_composed(q, k, v, plan);
}

bool has_tail_attention(const at::Tensor& q) {
  return segment_attention_cpu_supports(q) || segment_attention_flash_takes(q);
}

at::Tensor tail_attention(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v, int64_t rows,
                          int64_t window_tokens) {
  const bool fits = q.dim() == 3 && k.dim() == 3 && k.sizes() == v.sizes() && q.size(2) == k.size(2) &&
                    k.size(1) > 0 && q.size(1) % k.size(1) == 0 && rows > 0 && q.size(0) % rows == 0 &&
                    k.size(0) % rows == 0 && q.size(0) > 0 && q.size(0) <= k.size(0) &&
                    q.scalar_type() == k.scalar_type() && q.scalar_type() == v.scalar_type();
  if (!fits || !has_tail_attention(q))
    throw Error(fmt::format(
        "[tail_attention] expected q [R n, H, D], k and v [R T, K, D] with K dividing H and n <= T, "
        "R = {}, all of one dtype that a kernel takes, got {}, {} and {}",
        rows, describe(q), describe(k), describe(v)));
  if (!segment_attention_cpu_supports(q)) return tail_attention_flash(q, k, v, rows, window_tokens);
  return tail_attention_cpu(q, k, v, rows, window_tokens);
}

at::Tensor segment_attention(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                             const SegmentPlan& plan) {
  return segment_attention(q, k, v, plan, nullptr);
}

}  // namespace longlora::ops
