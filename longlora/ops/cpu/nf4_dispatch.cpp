#include "longlora/ops/cpu/nf4_kernels.h"
#include "longlora/ops/cpu/nf4_products.h"

namespace longlora::ops::cpu {

namespace baseline {
const Nf4Kernels& nf4_kernels();
const Nf4Products& nf4_products();
}  // namespace baseline
namespace avx2 {
const Nf4Kernels& nf4_kernels();
const Nf4Products& nf4_products();
}  // namespace avx2
namespace avx512 {
const Nf4Kernels& nf4_kernels();
const Nf4Products& nf4_products();
}  // namespace avx512
namespace avx512_bf16 {
const Nf4Kernels& nf4_kernels();
const Nf4Products& nf4_products();
}  // namespace avx512_bf16

const Nf4Kernels& nf4_kernels_of(InstructionSet set) {
  switch (set) {
    case InstructionSet::kAvx512Bf16:
      return avx512_bf16::nf4_kernels();
    case InstructionSet::kAvx512:
      return avx512::nf4_kernels();
    case InstructionSet::kAvx2:
      return avx2::nf4_kernels();
    default:
      return baseline::nf4_kernels();
  }
}

const Nf4Kernels& nf4_kernels() {
  return nf4_kernels_of(instruction_set());
}

const Nf4Products& nf4_products_of(InstructionSet set) {
  switch (set) {
    case InstructionSet::kAvx512Bf16:
      return avx512_bf16::nf4_products();
    case InstructionSet::kAvx512:
      return avx512::nf4_products();
    case InstructionSet::kAvx2:
      return avx2::nf4_products();
    default:
      return baseline::nf4_products();
  }
}

const Nf4Products& nf4_products() {
  return nf4_products_of(instruction_set());
}

}  // namespace longlora::ops::cpu
