#include "longlora/ops/attention.h"

#include <c10/core/GradMode.h>
#include <fmt/format.h>
#include <fmt/ranges.h>

#include "longlora/core/error.h"
#include "longlora/ops/backend.h"

namespace longlora::ops {
namespace {

// Describes a tensor for a message: "Float [7, 4, 16]".
std::string describe(const at::Tensor& x) {
  return fmt::format("{} [{}]", c10::toString(x.scalar_type()), fmt::join(x.sizes(), ", "));
}

bool asks_for_gradients(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v) {
  return at::GradMode::is_enabled() && (q.requires_grad() || k.requires_grad() || v.requires_grad());
}

}  // namespace

at::Tensor attention(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v, const AttentionPlan& plan,
                     KeptAttention* kept) {
  const bool fits = q.dim() == 3 && k.dim() == 3 && v.dim() == 3 && k.sizes() == v.sizes() &&
                    q.size(0) == plan.num_queries() && k.size(0) == plan.num_tokens &&
                    q.size(2) == k.size(2) && k.size(1) > 0 && q.size(1) % k.size(1) == 0 &&
                    q.scalar_type() == k.scalar_type() && q.scalar_type() == v.scalar_type();
  if (!fits)
    throw Error(fmt::format(
        "[attention] expected q [M, H, D], k and v [N, K, D] with K dividing H, M = {} queries and N = {} "
        "tokens of the plan, all of one dtype, got {}, {} and {}",
        plan.num_queries(), plan.num_tokens, describe(q), describe(k), describe(v)));
  if (!plan.has_all_queries() && asks_for_gradients(q, k, v))
    throw Error(
        "[attention] expected a query of every token where gradients are asked for, got a plan of last "
        "tokens");
  return backend_for(q).attention(q, k, v, plan, kept);
}

}  // namespace longlora::ops
