// Attention. Full, shifted sparse, packed, batched and sliding attention, and that of the last tokens of rows
// or after a cache, differ in their plan alone.
#pragma once

#include <ATen/ATen.h>

#include "longlora/ops/attention_plan.h"

namespace longlora::ops {

/// What a call of attention() computed, kept for a second call with the same operands. Both tensors are
/// undefined before the first call, and remain so where it ran an implementation that cannot reuse them.
struct KeptAttention {
  at::Tensor out;          // [M, H, D]
  at::Tensor log_sum_exp;  // [H, M] float32
};

/// Returns softmax(q kᵀ / sqrt(D)) v: [M, H, D], contiguous. A query sees the keys of its segment in `plan`
/// up to its own token; under a window it sees the last plan.window_tokens of these. The softmax is in
/// float32 or wider. q [M, H, D] has the queries of the plan, k and v [N, K, D] the keys and values of its
/// tokens. All have one dtype and device. K divides H; query head h reads key/value head h / (H / K).
/// Operands may have any strides. Keys and values of a head that lie side by side (stride(0) below stride(1),
/// as in a cache) are read in place where there are few queries. Differentiable where every token has a
/// query. Result and gradients do not depend on the number of threads.
///
/// An empty `kept` receives the results. Where `kept` has results, the call returns them without computing
/// anything, so that only the gradients are left to compute later. Throws Error for shapes that do not fit
/// each other or the plan.
at::Tensor attention(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v, const AttentionPlan& plan,
                     KeptAttention* kept = nullptr);

}  // namespace longlora::ops
