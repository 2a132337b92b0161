// Causal attention inside segments: full, shifted sparse, packed and batched
// attention alike.
#pragma once

#include <ATen/ATen.h>

#include "longlora/ops/segment_plan.h"

namespace longlora::ops {

/// What one call of segment_attention computed, for a second one with the same
/// operands. Both tensors are undefined where there is nothing yet, and stay so
/// where the path that ran cannot go on from them.
struct KeptAttention {
  at::Tensor out;          // [N, H, D]
  at::Tensor log_sum_exp;  // [H, N] float32
};

/// softmax(q kᵀ / sqrt(D)) v, where query n of head h sees the keys of its
/// segment (plan.bounds[h < H/2 ? 0 : 1]) up to itself, with plan.window_tokens
/// at most that many.
/// q [N, H, D], k and v [N, K, D], one dtype and device; the last dimension
/// contiguous. K divides H; query head h reads key/value head h / (H / K).
/// Returns [N, H, D], contiguous. Differentiable; the result and the gradients
/// do not depend on the number of threads.
/// Throws Error on shapes that do not fit each other or the plan.
at::Tensor segment_attention(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                             const SegmentPlan& plan);

/// With `kept` empty the results are noted there; with `kept` filled they are taken
/// from there and nothing is computed but, later, the gradients. Null: as above.
at::Tensor segment_attention(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                             const SegmentPlan& plan, KeptAttention* kept);

/// Causal attention of the last queries of each row, without gradients: q [R · n, H, D] are those of the last
/// n of the T tokens of R rows, k and v [R · T, K, D] are whole rows; a query sees the keys of its row up to
/// itself, with window_tokens > 0 at most that many. Only the last dimensions need be contiguous. Returns
/// [R · n, H, D], contiguous. Throws Error on shapes that do not fit, and where has_tail_attention() does not
/// hold.
at::Tensor tail_attention(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v, int64_t rows,
                          int64_t window_tokens);

/// Whether tail_attention() takes tensors of q's device, dtype and head size on this machine.
bool has_tail_attention(const at::Tensor& q);

}  // namespace longlora::ops
