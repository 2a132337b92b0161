// The gradient of an embedding lookup.
#pragma once

#include <ATen/ATen.h>

namespace longlora::ops {

/// Adds grad_hidden[n] to grad_weight[ids[n]] in float32 for each n, in ascending order for every row,
/// whatever the number of threads. grad_hidden is [N, C], ids [N] int64 in [0, V), grad_weight [V, C] float32
/// and contiguous.
void add_embedding_gradient(const at::Tensor& grad_hidden, const at::Tensor& ids, at::Tensor& grad_weight);

}  // namespace longlora::ops
