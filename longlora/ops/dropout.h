// Dropout whose masks are a function of numbers, so that a layer that runs again finds the same one.
#pragma once

#include <ATen/ATen.h>

#include <cstdint>

namespace longlora::ops {

/// Which elements of a matrix [N, in] are left out. An element's fate is a function of the key, its row
/// among all rows of the batch and its column: neither of tiles nor of threads.
struct Dropout {
  double probability = 0.0;  // in [0, 1), rounded to 1/65536; 0: none
  uint64_t key = 0;          // another one for every layer, module and batch
  int64_t first_row = 0;     // row of the batch that is the first of the matrix
};

/// x ⊙ mask / (1 − probability) for x [N, in], mask elements 0 with `probability`, else 1; outside autograd.
/// Its own transpose: the gradient goes through the same call. (Srivastava et al. 2014)
at::Tensor dropout(const at::Tensor& x, const Dropout& dropout);

}  // namespace longlora::ops
