#include "longlora/ops/segment_attention_paths.h"

namespace longlora::ops {

bool segment_attention_cpu_supports(const at::Tensor&) {
  return false;
}

at::Tensor segment_attention_cpu(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                                 const SegmentPlan& plan) {
  return segment_attention_composed(q, k, v, plan);
}

}  // namespace longlora::ops
