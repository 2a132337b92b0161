// The implementations behind attention(), which the backends choose from; tests compare each with
// reference::attention. Arguments are as there and already checked.
#pragma once

#include <ATen/ATen.h>

#include "longlora/ops/attention.h"
#include "longlora/ops/attention_plan.h"

namespace longlora::ops {

/// x [N, heads, D] with the elements of a head side by side, as the kernels read them.
inline at::Tensor with_dense_heads(const at::Tensor& x) {
  return x.stride(2) == 1 ? x : x.contiguous();
}

/// The blocked CPU kernel on packed operands (cpu/attention.cpp).
at::Tensor attention_cpu(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                         const AttentionPlan& plan, KeptAttention* kept);
/// Whether that kernel takes this dtype and head size on this machine.
bool attention_cpu_takes(const at::Tensor& q);

/// libtorch's flash attention on strided head halves and int32 boundaries, on a GPU.
at::Tensor attention_flash(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                           const AttentionPlan& plan, KeptAttention* kept);
/// Whether it takes this device, dtype and head size; says once why not where q is on a GPU.
bool attention_flash_takes(const at::Tensor& q);

/// libtorch's own attention, for any device and dtype: the fallback where no kernel above applies. Segments
/// of one length go side by side; those whose last tokens alone have queries go through attention_in_place().
at::Tensor attention_composed(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                              const AttentionPlan& plan);

/// Masked attention of libtorch, segment by segment, in which query heads that share a key/value head are
/// further queries of that head: keys and values are neither copied nor repeated. Queries are taken in blocks
/// whose mask stays below mask_bytes.
at::Tensor attention_in_place(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                              const AttentionPlan& plan, int64_t mask_bytes = int64_t{64} << 20);
/// Whether that is the fastest way: a few queries after many keys that lie in a cache. The other kernels copy
/// keys and values into blocks, of which so few queries would leave the most part empty.
bool is_best_in_place(const at::Tensor& k, const AttentionPlan& plan);

}  // namespace longlora::ops
