// The ops of functional.h over libtorch's operators, for any device and floating dtype: what a GPU runs. They
// save for backward what the CPU kernels save. Arguments are as there and already checked; operands have one
// dtype.
#pragma once

#include <ATen/ATen.h>

namespace longlora::ops::composed {

at::Tensor rms_norm(const at::Tensor& x, const at::Tensor& weight, double epsilon);
at::Tensor layer_norm(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias, double epsilon);
at::Tensor rotate(const at::Tensor& x, const at::Tensor& positions, const at::Tensor& cos,
                  const at::Tensor& sin);
at::Tensor silu_mul(const at::Tensor& gate, const at::Tensor& up);

}  // namespace longlora::ops::composed
