// The implementations of attention(), from which the backends choose. Tests compare each with
// reference::attention. Arguments are those of attention() and are checked already.
#pragma once

#include <ATen/ATen.h>

#include "longlora/ops/attention.h"
#include "longlora/ops/attention_plan.h"
#include "longlora/ops/paged_attention.h"

namespace longlora::ops {

/// Returns x [N, heads, D] with the elements of a head side by side, as the kernels read them. It is a copy
/// only where they are not.
inline at::Tensor with_dense_heads(const at::Tensor& x) {
  return x.stride(2) == 1 ? x : x.contiguous();
}

/// The CPU kernel, which packs its operands and works in blocks (cpu/attention.cpp).
at::Tensor attention_cpu(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                         const AttentionPlan& plan, KeptAttention* kept);
/// Whether that kernel takes this dtype and head size on this machine.
bool attention_cpu_takes(const at::Tensor& q);

/// libtorch's flash attention on a GPU.
at::Tensor attention_flash(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                           const AttentionPlan& plan, KeptAttention* kept);
/// Whether that takes this device, dtype and head size. Where q is on a GPU and it does not, the reason is
/// logged once.
bool attention_flash_takes(const at::Tensor& q);

/// libtorch's scaled_dot_product_attention, for any device and dtype, where neither of the above applies.
/// Neighbouring segments of one length are computed together. A plan in which only the last tokens have
/// queries goes to attention_in_place().
at::Tensor attention_composed(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                              const AttentionPlan& plan);

/// libtorch's attention with a mask, segment by segment. Query heads that share a key/value head are given to
/// it as further queries of one head, so that keys and values are neither copied nor repeated. Queries are
/// taken in blocks whose mask stays below mask_bytes.
at::Tensor attention_in_place(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                              const AttentionPlan& plan, int64_t mask_bytes = int64_t{64} << 20);
/// Whether attention_in_place() is the fastest way, as it is for a few queries after many keys in a cache.
/// The other kernels copy keys and values into blocks, which is too much work for so few queries.
bool is_best_in_place(const at::Tensor& k, const AttentionPlan& plan);

/// Attention over keys in pages, for what attention_cpu_takes() (paged_attention.h). `plan` has one segment.
KeptAttention paged_attention_cpu(const at::Tensor& q, const PagedKeys& keys, int64_t layer,
                                  const AttentionPlan& plan);

}  // namespace longlora::ops
