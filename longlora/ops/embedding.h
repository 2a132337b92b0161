// Gradient of an embedding lookup.
#pragma once

#include <ATen/ATen.h>

namespace longlora::ops {

/// grad_weight[ids[n]] += grad_hidden[n] in float32, in ascending n for every
/// row whatever the number of threads. grad_hidden [N, C], ids [N] int64,
/// grad_weight [V, C] float32 contiguous. ids must be inside [0, V).
void add_embedding_gradient(const at::Tensor& grad_hidden, const at::Tensor& ids, at::Tensor& grad_weight);

}  // namespace longlora::ops
