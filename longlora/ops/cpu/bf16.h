// The type of bfloat16 numbers in kernels.
#pragma once

#include <cstdint>

namespace longlora::ops::cpu {

/// The bits of a bfloat16. It has the layout of at::BFloat16.
struct Bf16 {
  uint16_t bits;
};

}  // namespace longlora::ops::cpu
