// The ops in plain tensor code, for every floating dtype and device, differentiated by autograd. Tests
// compare every backend with them. Norms whose operands have different dtypes are computed by them, too.
#pragma once

#include <ATen/ATen.h>

#include "longlora/ops/activations.h"
#include "longlora/ops/attention_plan.h"

namespace longlora::ops::reference {

at::Tensor rms_norm(const at::Tensor& x, const at::Tensor& weight, double epsilon);
at::Tensor layer_norm(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias, double epsilon);
at::Tensor rotate(const at::Tensor& x, const at::Tensor& positions, const at::Tensor& cos,
                  const at::Tensor& sin);
at::Tensor silu_mul(const at::Tensor& gate, const at::Tensor& up);
at::Tensor gelu(const at::Tensor& x, GeluForm form);
/// Attention by a dense mask, for a plan in which every token has a query. It takes O(N²) memory, so that it
/// is for tests and small inputs.
at::Tensor attention(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                     const AttentionPlan& plan);

}  // namespace longlora::ops::reference
