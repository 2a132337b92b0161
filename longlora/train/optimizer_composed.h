// The optimizer's arithmetic over libtorch's operators, for parameters on any device.
#pragma once

#include <ATen/ATen.h>

#include "longlora/model/decoder.h"
#include "longlora/ops/cpu/row_kernels.h"

namespace longlora::train {

/// One AdamW step on the master of `parameter`, as the CPU kernel makes it. Moments are float32 of the
/// master's shape.
void update_composed(model::Parameter& parameter, at::Tensor& exp_avg, at::Tensor& exp_avg_sq,
                     const ops::cpu::AdamWStep& step);

/// Σ x² in double, a tensor of one element on the device of x (float32, contiguous).
at::Tensor sum_of_squares_composed(const at::Tensor& x);

}  // namespace longlora::train
