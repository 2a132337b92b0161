// Attention: full, shifted sparse, packed, batched, windowed, of the last tokens of rows and after a cache.
// They differ in their plan alone.
#pragma once

#include <ATen/ATen.h>

#include "longlora/ops/attention_plan.h"

namespace longlora::ops {

/// What one call of attention() computed, for a second one with the same
/// operands. Both tensors are undefined where there is nothing yet, and stay so
/// where the path that ran cannot go on from them.
struct KeptAttention {
  at::Tensor out;          // [M, H, D]
  at::Tensor log_sum_exp;  // [H, M] float32
};

/// softmax(q kᵀ / sqrt(D)) v, where each query sees the keys of its segment in `plan` up to its own token,
/// with a window at most plan.window_tokens of them. The softmax is in float32 or wider. q [M, H, D] are the
/// queries of the plan, k and v [N, K, D] its tokens; one dtype and device. K divides H; query head h reads
/// key/value head h / (H / K). Any strides will do; keys and values of a head that lie side by side
/// (stride(0) below stride(1), as in a cache) are read in place where there are few queries.
/// Returns [M, H, D], contiguous. Differentiable where every token has a query; the result and the gradients
/// do not depend on the number of threads.
///
/// With `kept` given and empty the results are noted there; with `kept` filled they are taken from there and
/// nothing is computed but, later, the gradients.
/// Throws Error on shapes that do not fit each other or the plan.
at::Tensor attention(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v, const AttentionPlan& plan,
                     KeptAttention* kept = nullptr);

}  // namespace longlora::ops
