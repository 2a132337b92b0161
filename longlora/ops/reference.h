// The plain versions of the ops: ordinary tensor code, any floating dtype, any
// device, differentiated by autograd. They are the oracle of every fast path,
// and two norms run them where weight and input have different dtypes; elsewhere
// composed.h runs where no kernel of ours does.
#pragma once

#include <ATen/ATen.h>

#include "longlora/ops/functional.h"
#include "longlora/ops/segment_plan.h"

namespace longlora::ops::reference {

at::Tensor rms_norm(const at::Tensor& x, const at::Tensor& weight, double epsilon);
at::Tensor layer_norm(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias, double epsilon);
at::Tensor rotate(const at::Tensor& x, const at::Tensor& positions, const at::Tensor& cos,
                  const at::Tensor& sin);
at::Tensor silu_mul(const at::Tensor& gate, const at::Tensor& up);
at::Tensor gelu(const at::Tensor& x, GeluForm form);
/// Dense masked attention, O(N²) memory: for tests and small inputs.
at::Tensor segment_attention(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                             const SegmentPlan& plan);

}  // namespace longlora::ops::reference
