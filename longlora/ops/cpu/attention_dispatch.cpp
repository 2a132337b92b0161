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
LONGLORA_DECLARE_ISA(avx512_bf16)
#undef LONGLORA_DECLARE_ISA

template <>
const AttentionKernels<float>& attention_kernels_of<float>(InstructionSet set) {
  switch (set) {
    case InstructionSet::kAvx512Bf16:
      return avx512_bf16::float_attention_kernels();
    case InstructionSet::kAvx512:
      return avx512::float_attention_kernels();
    case InstructionSet::kAvx2:
      return avx2::float_attention_kernels();
    default:
      return baseline::float_attention_kernels();
  }
}

template <>
const AttentionKernels<Bf16>& attention_kernels_of<Bf16>(InstructionSet set) {
  switch (set) {
    case InstructionSet::kAvx512Bf16:
      return avx512_bf16::bf16_attention_kernels();
    case InstructionSet::kAvx512:
      return avx512::bf16_attention_kernels();
    case InstructionSet::kAvx2:
      return avx2::bf16_attention_kernels();
    default:
      return baseline::bf16_attention_kernels();
  }
}

template <>
const AttentionKernels<float>& attention_kernels<float>() {
  return attention_kernels_of<float>(instruction_set());
}

template <>
const AttentionKernels<Bf16>& attention_kernels<Bf16>() {
  return attention_kernels_of<Bf16>(instruction_set());
}

}  // namespace longlora::ops::cpu
