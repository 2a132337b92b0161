// Gives kernels the elements of tensors.
#pragma once

#include <ATen/ATen.h>

#include <type_traits>

#include "longlora/ops/cpu/bf16.h"

namespace longlora::ops::cpu {

/// Returns a pointer to the elements of a tensor in the type of the kernels, which is float or Bf16.
template <typename T>
T* element_data(const at::Tensor& x) {
  static_assert(std::is_same_v<T, float> || std::is_same_v<T, Bf16>);
  return static_cast<T*>(x.data_ptr());
}

/// Calls body(T{}) with the element type of a float32 or bfloat16 tensor.
template <typename Body>
void dispatch_element(const at::Tensor& x, const Body& body) {
  if (x.scalar_type() == at::kBFloat16)
    body(Bf16{});
  else
    body(float{});
}

}  // namespace longlora::ops::cpu
