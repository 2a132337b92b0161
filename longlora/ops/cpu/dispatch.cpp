// Returns the kernels of each instruction set, which are compiled in a namespace of its name.
#include "longlora/ops/cpu/attention_kernels.h"
#include "longlora/ops/cpu/isa.h"
#include "longlora/ops/cpu/nf4_kernels.h"
#include "longlora/ops/cpu/nf4_products.h"
#include "longlora/ops/cpu/row_kernels.h"
#include "longlora/ops/cpu/step_attention.h"
#include "longlora/ops/cpu/step_kernels.h"

namespace longlora::ops::cpu {

#define LONGLORA_DECLARE_ISA(isa)                           \
  namespace isa {                                           \
  const RowKernels<float>& float_kernels();                 \
  const RowKernels<Bf16>& bf16_kernels();                   \
  AdamWKernel adamw_kernel();                               \
  const AttentionKernels<float>& float_attention_kernels(); \
  const AttentionKernels<Bf16>& bf16_attention_kernels();   \
  const Nf4Kernels& nf4_kernels();                          \
  const Nf4Products& nf4_products();                        \
  const StepKernels& step_kernels();                        \
  const StepAttention& step_attention();                    \
  }
LONGLORA_DECLARE_ISA(baseline)
LONGLORA_DECLARE_ISA(avx2)
LONGLORA_DECLARE_ISA(avx512)
LONGLORA_DECLARE_ISA(avx512_bf16)
#undef LONGLORA_DECLARE_ISA

template <>
const RowKernels<float>& row_kernels_of<float>(Isa isa) {
  return pick(isa, baseline::float_kernels, avx2::float_kernels, avx512::float_kernels,
              avx512_bf16::float_kernels)();
}

template <>
const RowKernels<Bf16>& row_kernels_of<Bf16>(Isa isa) {
  return pick(isa, baseline::bf16_kernels, avx2::bf16_kernels, avx512::bf16_kernels,
              avx512_bf16::bf16_kernels)();
}

AdamWKernel adamw_kernel_of(Isa isa) {
  return pick(isa, baseline::adamw_kernel, avx2::adamw_kernel, avx512::adamw_kernel,
              avx512_bf16::adamw_kernel)();
}

template <>
const AttentionKernels<float>& attention_kernels_of<float>(Isa isa) {
  return pick(isa, baseline::float_attention_kernels, avx2::float_attention_kernels,
              avx512::float_attention_kernels, avx512_bf16::float_attention_kernels)();
}

template <>
const AttentionKernels<Bf16>& attention_kernels_of<Bf16>(Isa isa) {
  return pick(isa, baseline::bf16_attention_kernels, avx2::bf16_attention_kernels,
              avx512::bf16_attention_kernels, avx512_bf16::bf16_attention_kernels)();
}

const Nf4Kernels& nf4_kernels_of(Isa isa) {
  return pick(isa, baseline::nf4_kernels, avx2::nf4_kernels, avx512::nf4_kernels, avx512_bf16::nf4_kernels)();
}

const Nf4Products& nf4_products_of(Isa isa) {
  return pick(isa, baseline::nf4_products, avx2::nf4_products, avx512::nf4_products,
              avx512_bf16::nf4_products)();
}

const StepKernels& step_kernels_of(Isa isa) {
  return pick(isa, baseline::step_kernels, avx2::step_kernels, avx512::step_kernels,
              avx512_bf16::step_kernels)();
}

const StepAttention& step_attention_of(Isa isa) {
  return pick(isa, baseline::step_attention, avx2::step_attention, avx512::step_attention,
              avx512_bf16::step_attention)();
}

template <typename T>
const RowKernels<T>& row_kernels() {
  return row_kernels_of<T>(widest_isa());
}
template const RowKernels<float>& row_kernels<float>();
template const RowKernels<Bf16>& row_kernels<Bf16>();

template <typename T>
const AttentionKernels<T>& attention_kernels() {
  return attention_kernels_of<T>(widest_isa());
}
template const AttentionKernels<float>& attention_kernels<float>();
template const AttentionKernels<Bf16>& attention_kernels<Bf16>();

AdamWKernel adamw_kernel() {
  return adamw_kernel_of(widest_isa());
}

const Nf4Kernels& nf4_kernels() {
  return nf4_kernels_of(widest_isa());
}

const Nf4Products& nf4_products() {
  return nf4_products_of(widest_isa());
}

const StepKernels& step_kernels() {
  return step_kernels_of(widest_isa());
}

const StepAttention& step_attention() {
  return step_attention_of(widest_isa());
}

}  // namespace longlora::ops::cpu
