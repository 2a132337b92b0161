// The implementations behind segment_attention(); tests compare each with
// reference::segment_attention. Arguments are as there and already checked.
#pragma once

#include <ATen/ATen.h>

#include "longlora/ops/segment_attention.h"
#include "longlora/ops/segment_plan.h"

namespace longlora::ops {

/// Segments of one length side by side through libtorch's own attention:
/// any device and dtype, the fallback where no kernel of ours applies.
at::Tensor segment_attention_composed(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                                      const SegmentPlan& plan);

/// libtorch's flash attention on strided head halves and int32 boundaries, on a GPU.
at::Tensor segment_attention_flash(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                                   const SegmentPlan& plan);
at::Tensor segment_attention_flash(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                                   const SegmentPlan& plan, KeptAttention* kept);
/// The same kernels for tail_attention().
at::Tensor tail_attention_flash(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v, int64_t rows,
                                int64_t window_tokens);
/// Whether they take this device, dtype and head size; says once why not where q is on a GPU.
bool segment_attention_flash_takes(const at::Tensor& q);

/// The blocked CPU kernel on packed operands (oneDNN block products).
at::Tensor segment_attention_cpu(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                                 const SegmentPlan& plan);
at::Tensor segment_attention_cpu(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                                 const SegmentPlan& plan, KeptAttention* kept);
/// The same kernel for tail_attention().
at::Tensor tail_attention_cpu(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v, int64_t rows,
                              int64_t window_tokens);
/// Whether that kernel takes this dtype and head size on this machine.
bool segment_attention_cpu_supports(const at::Tensor& q);

}  // namespace longlora::ops
