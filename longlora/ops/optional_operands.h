// Operands of an autograd function that may be absent.
#pragma once

#include <ATen/ATen.h>

#include "longlora/ops/weight.h"

namespace longlora::ops {

/// Passes an absent operand as an empty tensor, because torch::autograd::Function takes defined tensors only.
class OrEmpty {
 public:
  explicit OrEmpty(const at::TensorOptions& options) : empty_(at::empty({0}, options)) {}

  const at::Tensor& operator()(const at::Tensor& operand) const {
    return operand.defined() ? operand : empty_;
  }
  /// Returns the tensor of a dense weight, or an empty one for a weight in four bits, which has no gradient.
  const at::Tensor& operator()(const Weight& weight) const {
    return weight.is_nf4() ? empty_ : weight.dense();
  }

 private:
  at::Tensor empty_;
};

/// Whether an operand that was passed through OrEmpty is there.
inline bool is_present(const at::Tensor& operand) {
  return operand.numel() > 0;
}

}  // namespace longlora::ops
