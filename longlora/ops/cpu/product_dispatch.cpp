#include <cpuid.h>

#include "longlora/ops/cpu/isa.h"
#include "longlora/ops/cpu/product_kernels.h"

namespace longlora::ops::cpu {

namespace avx512_bf16 {
const ProductKernels& product_kernels();
}

namespace {

// Whether the processor has AMX for bfloat16. Some compilers' __builtin_cpu_supports does not know that name.
bool has_matrix_unit() {
  unsigned int eax = 0, ebx = 0, ecx = 0, edx = 0;
  constexpr unsigned int kAmxBf16 = 1u << 22;
  return __get_cpuid_count(7, 0, &eax, &ebx, &ecx, &edx) != 0 && (edx & kAmxBf16) != 0;
}

}  // namespace

const ProductKernels* product_kernels() {
  static const ProductKernels* const kernels =
      is_supported(Isa::kAvx512Bf16) && !has_matrix_unit() ? &avx512_bf16::product_kernels() : nullptr;
  return kernels;
}

}  // namespace longlora::ops::cpu
