// The bridge between at::Tensor and the raw-pointer kernels.
#pragma once

#include <ATen/ATen.h>

#include <type_traits>

#include "longlora/ops/cpu/row_kernels.h"
#include "longlora/ops/kernel_choice.h"

namespace longlora::ops::cpu {

/// True when the fused CPU kernels take this tensor.
inline bool has_kernels(const at::Tensor& x) {
  return x.device().is_cpu() && (x.scalar_type() == at::kFloat || x.scalar_type() == at::kBFloat16) &&
         uses_cpu_kernels();
}

/// Pointer to the elements as the kernels see them. T is float or Bf16.
template <typename T>
T* element_data(const at::Tensor& x) {
  static_assert(std::is_same_v<T, float> || std::is_same_v<T, Bf16>);
  return static_cast<T*>(x.data_ptr());
}

/// Calls body(T{}) with the element type of a tensor for which has_kernels holds.
template <typename Body>
void dispatch_element(const at::Tensor& x, const Body& body) {
  if (x.scalar_type() == at::kBFloat16)
    body(Bf16{});
  else
    body(float{});
}

}  // namespace longlora::ops::cpu
