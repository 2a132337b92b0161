// Operands of an autograd function that may be absent.
#pragma once

#include <ATen/ATen.h>

#include "longlora/ops/weight.h"

namespace longlora::ops {

/// torch::autograd::Function takes defined tensors only, so an absent operand is passed as an empty one.
class OrEmpty {
 public:
  explicit OrEmpty(const at::TensorOptions& options) : empty_(at::empty({0}, options)) {}

  const at::Tensor& operator()(const at::Tensor& operand) const {
    return operand.defined() ? operand : empty_;
  }
  /// The tensor of a weight, which may want a gradient; one in four bits wants none.
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
