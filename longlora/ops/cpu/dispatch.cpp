#include <initializer_list>

#include "longlora/ops/cpu/row_kernels.h"

namespace longlora::ops::cpu {

#define LONGLORA_DECLARE_ISA(isa)           \
  namespace isa {                           \
  const RowKernels<float>& float_kernels(); \
  const RowKernels<Bf16>& bf16_kernels();   \
  AdamWKernel adamw_kernel();               \
  }
LONGLORA_DECLARE_ISA(baseline)
LONGLORA_DECLARE_ISA(avx2)
LONGLORA_DECLARE_ISA(avx512)
LONGLORA_DECLARE_ISA(avx512_bf16)
#undef LONGLORA_DECLARE_ISA

bool is_supported(InstructionSet set) {
  switch (set) {
    case InstructionSet::kAvx512Bf16:
      return is_supported(InstructionSet::kAvx512) && __builtin_cpu_supports("avx512bf16");
    case InstructionSet::kAvx512:
      return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
             __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq");
    case InstructionSet::kAvx2:
      return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
    default:
      return true;
  }
}

const char* instruction_set_name(InstructionSet set) {
  switch (set) {
    case InstructionSet::kAvx512Bf16:
      return "avx512_bf16";
    case InstructionSet::kAvx512:
      return "avx512";
    case InstructionSet::kAvx2:
      return "avx2";
    default:
      return "baseline";
  }
}

template <>
const RowKernels<float>& row_kernels_of<float>(InstructionSet set) {
  switch (set) {
    case InstructionSet::kAvx512Bf16:
      return avx512_bf16::float_kernels();
    case InstructionSet::kAvx512:
      return avx512::float_kernels();
    case InstructionSet::kAvx2:
      return avx2::float_kernels();
    default:
      return baseline::float_kernels();
  }
}

template <>
const RowKernels<Bf16>& row_kernels_of<Bf16>(InstructionSet set) {
  switch (set) {
    case InstructionSet::kAvx512Bf16:
      return avx512_bf16::bf16_kernels();
    case InstructionSet::kAvx512:
      return avx512::bf16_kernels();
    case InstructionSet::kAvx2:
      return avx2::bf16_kernels();
    default:
      return baseline::bf16_kernels();
  }
}

AdamWKernel adamw_kernel_of(InstructionSet set) {
  switch (set) {
    case InstructionSet::kAvx512Bf16:
      return avx512_bf16::adamw_kernel();
    case InstructionSet::kAvx512:
      return avx512::adamw_kernel();
    case InstructionSet::kAvx2:
      return avx2::adamw_kernel();
    default:
      return baseline::adamw_kernel();
  }
}

namespace {

InstructionSet widest_supported() {
  for (const InstructionSet set :
       {InstructionSet::kAvx512Bf16, InstructionSet::kAvx512, InstructionSet::kAvx2})
    if (is_supported(set)) return set;
  return InstructionSet::kBaseline;
}

}  // namespace

InstructionSet instruction_set() {
  static const InstructionSet set = widest_supported();
  return set;
}

template <>
const RowKernels<float>& row_kernels<float>() {
  return row_kernels_of<float>(instruction_set());
}

template <>
const RowKernels<Bf16>& row_kernels<Bf16>() {
  return row_kernels_of<Bf16>(instruction_set());
}

AdamWKernel adamw_kernel() {
  return adamw_kernel_of(instruction_set());
}

const char* instruction_set_name() {
  return instruction_set_name(instruction_set());
}

}  // namespace longlora::ops::cpu
