#include "longlora/ops/cpu/attention_kernels.h"

namespace longlora::ops::cpu {

#define LONGLORA_DECLARE_ISA(isa)                           \
  namespace isa {                                           \
  const AttentionKernels<float>& float_attention_kernels(); \
  const AttentionKernels<Bf16>& bf16_attention_kernels();   \
  }
LONGLORA_DECLARE_ISA(baseline)
LONGLORA_DECLARE_ISA(avx2)
LONGLORA_DECLARE_ISA(avx512)
#undef LONGLORA_DECLARE_ISA

template <>
const AttentionKernels<float>& attention_kernels<float>() {
  if (is_supported(InstructionSet::kAvx512)) return avx512::float_attention_kernels();
  if (is_supported(InstructionSet::kAvx2)) return avx2::float_attention_kernels();
  return baseline::float_attention_kernels();
}

template <>
const AttentionKernels<Bf16>& attention_kernels<Bf16>() {
  if (is_supported(InstructionSet::kAvx512)) return avx512::bf16_attention_kernels();
  if (is_supported(InstructionSet::kAvx2)) return avx2::bf16_attention_kernels();
  return baseline::bf16_attention_kernels();
}

}  // namespace longlora::ops::cpu
