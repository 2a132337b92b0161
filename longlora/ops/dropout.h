// Dropout whose mask follows from a few numbers, so that a layer that is run again gets the same mask.
#pragma once

#include <ATen/ATen.h>

#include <cstdint>

namespace longlora::ops {

/// The mask of a matrix [N, in]. Whether an element is dropped depends on the key, its row in the batch and
/// its column, and not on tiles or threads.
struct Dropout {
  double probability = 0.0;  // in [0, 1), rounded to 1/65536; 0: no dropout
  uint64_t key = 0;          // differs for every layer, module and batch
  int64_t first_row = 0;     // the row of the batch that is the first row of the matrix
};

/// Returns x ⊙ mask / (1 − probability) for x [N, in], outside autograd. An element of the mask is 0 with
/// `probability`, else 1. The gradient of x is the same function of the result's gradient. (Srivastava et al.
/// 2014)
at::Tensor dropout(const at::Tensor& x, const Dropout& dropout);

}  // namespace longlora::ops
