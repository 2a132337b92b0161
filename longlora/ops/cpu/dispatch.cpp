#include "longlora/ops/cpu/row_kernels.h"

namespace longlora::ops::cpu {

#define LONGLORA_DECLARE_ISA(isa)               \
  namespace isa {                               \
  const RowKernels<float>& float_kernels();     \
  const RowKernels<Bf16>& bf16_kernels();       \
  AdamWKernel adamw_kernel();                   \
  }
LONGLORA_DECLARE_ISA(baseline)
LONGLORA_DECLARE_ISA(avx2)
LONGLORA_DECLARE_ISA(avx512)
#undef LONGLORA_DECLARE_ISA

namespace {

enum class InstructionSet { kBaseline, kAvx2, kAvx512 };

InstructionSet detect() {
  if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
      __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq"))
    return InstructionSet::kAvx512;
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) return InstructionSet::kAvx2;
  return InstructionSet::kBaseline;
}

InstructionSet instruction_set() {
  static const InstructionSet set = detect();
  return set;
}

}  // namespace

template <>
const RowKernels<float>& row_kernels<float>() {
  switch (instruction_set()) {
    case InstructionSet::kAvx512: return avx512::float_kernels();
    case InstructionSet::kAvx2: return avx2::float_kernels();
    default: return baseline::float_kernels();
  }
}

template <>
const RowKernels<Bf16>& row_kernels<Bf16>() {
  switch (instruction_set()) {
    case InstructionSet::kAvx512: return avx512::bf16_kernels();
    case InstructionSet::kAvx2: return avx2::bf16_kernels();
    default: return baseline::bf16_kernels();
  }
}

AdamWKernel adamw_kernel() {
  switch (instruction_set()) {
    case InstructionSet::kAvx512: return avx512::adamw_kernel();
    case InstructionSet::kAvx2: return avx2::adamw_kernel();
    default: return baseline::adamw_kernel();
  }
}

const char* instruction_set_name() {
  switch (instruction_set()) {
    case InstructionSet::kAvx512: return "avx512";
    case InstructionSet::kAvx2: return "avx2";
    default: return "baseline";
  }
}

}  // namespace longlora::ops::cpu
