#include "longlora/ops/cpu/isa.h"

namespace longlora::ops::cpu {

bool is_supported(Isa isa) {
  switch (isa) {
    case Isa::kAvx512Bf16:
      return is_supported(Isa::kAvx512) && __builtin_cpu_supports("avx512bf16");
    case Isa::kAvx512:
      return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
             __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq");
    case Isa::kAvx2:
      return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
    default:
      return true;
  }
}

const char* isa_name(Isa isa) {
  return pick(isa, "baseline", "avx2", "avx512", "avx512_bf16");
}

Isa widest_isa() {
  static const Isa widest = [] {
    for (const Isa isa : {Isa::kAvx512Bf16, Isa::kAvx512, Isa::kAvx2})
      if (is_supported(isa)) return isa;
    return Isa::kBaseline;
  }();
  return widest;
}

const char* isa_name() {
  return isa_name(widest_isa());
}

}  // namespace longlora::ops::cpu
