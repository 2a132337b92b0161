// The instruction sets that the CPU kernels are compiled for, and the choice among them at run time.
#pragma once

namespace longlora::ops::cpu {

/// Instruction sets, from the narrowest to the widest.
enum class Isa { kBaseline, kAvx2, kAvx512, kAvx512Bf16 };
constexpr Isa kIsas[] = {Isa::kBaseline, Isa::kAvx2, Isa::kAvx512, Isa::kAvx512Bf16};

/// Whether this machine can run an instruction set.
bool is_supported(Isa isa);
/// Returns "avx512_bf16", "avx512", "avx2" or "baseline".
const char* isa_name(Isa isa);

/// Returns the widest instruction set that this machine can run, and below, its name.
Isa widest_isa();
const char* isa_name();

/// Returns which of the four variants is that of `isa`.
template <typename Variant>
constexpr Variant pick(Isa isa, Variant baseline, Variant avx2, Variant avx512, Variant avx512_bf16) {
  switch (isa) {
    case Isa::kAvx512Bf16:
      return avx512_bf16;
    case Isa::kAvx512:
      return avx512;
    case Isa::kAvx2:
      return avx2;
    default:
      return baseline;
  }
}

}  // namespace longlora::ops::cpu
