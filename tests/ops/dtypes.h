// The dtypes that the kernels of ops take, and how far a result may be from the one in double.
#pragma once

#include <ATen/ATen.h>

namespace longlora::ops {

inline constexpr at::ScalarType kDtypes[] = {at::kFloat, at::kBFloat16};

/// Rounding of a result to the dtype, and of sums in float32.
inline double tolerance_of(at::ScalarType dtype) {
  return dtype == at::kFloat ? 3e-6 : 6e-3;
}

}  // namespace longlora::ops
