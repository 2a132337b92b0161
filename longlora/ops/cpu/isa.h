// The instruction sets that the CPU kernels are compiled for, and the choice among them at run time.
#pragma once

namespace longlora::ops::cpu {

/// An instruction set architecture of the processor, narrowest first.
enum class Isa { kBaseline, kAvx2, kAvx512, kAvx512Bf16 };
constexpr Isa kIsas[] = {Isa::kBaseline, Isa::kAvx2, Isa::kAvx512, Isa::kAvx512Bf16};

/// Whether this machine can run it.
bool is_supported(Isa isa);
/// "avx512_bf16", "avx512", "avx2" or "baseline".
const char* isa_name(Isa isa);

/// The widest that this machine can run, and its name.
Isa widest_isa();
const char* isa_name();

/// The one of four variants that belongs to `isa`.
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
