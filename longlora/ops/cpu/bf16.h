// bfloat16 as the kernels see it.
#pragma once

#include <cstdint>

namespace longlora::ops::cpu {

/// Bits of a bfloat16; the layout of at::BFloat16.
struct Bf16 {
  uint16_t bits;
};

}  // namespace longlora::ops::cpu
