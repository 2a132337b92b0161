#include "longlora/ops/cpu/product_kernels.h"

namespace longlora::ops::cpu {

namespace avx512_bf16 {
const ProductKernels& product_kernels();
}

const ProductKernels* product_kernels() {
  static const ProductKernels* const kernels =
      is_supported(InstructionSet::kAvx512Bf16) && !__builtin_cpu_supports("amx-bf16")
          ? &avx512_bf16::product_kernels()
          : nullptr;
  return kernels;
}

}  // namespace longlora::ops::cpu
