// Transposes tiles of 16 × 16 elements of 32 bits. It is for translation units of kernels with AVX-512 only
// (everything has internal linkage).
#pragma once

#include "longlora/ops/cpu/vectors.h"

namespace longlora::ops::cpu {
namespace {

#if defined(__AVX512F__)
// Makes lane l of r[i] lane i of r[l]. Rows and lanes swap one bit of their numbers at a time.
template <int Bit>
LONGLORA_INLINE void swap_bit(U32x16 (&r)[16]) {
  alignas(64) uint32_t low[16], high[16];
  for (int l = 0; l < 16; ++l) {
    low[l] = (l & Bit) ? 16 + l - Bit : l;
    high[l] = (l & Bit) ? 16 + l : l + Bit;
  }
  const __m512i low_order = _mm512_load_si512(low), high_order = _mm512_load_si512(high);
  for (int i = 0; i < 16; ++i) {
    if (i & Bit) continue;
    const auto a = reinterpret_cast<__m512i>(r[i]), b = reinterpret_cast<__m512i>(r[i | Bit]);
    r[i] = reinterpret_cast<U32x16>(_mm512_permutex2var_epi32(a, low_order, b));
    r[i | Bit] = reinterpret_cast<U32x16>(_mm512_permutex2var_epi32(a, high_order, b));
  }
}
LONGLORA_INLINE void transpose_16(U32x16 (&r)[16]) {
  swap_bit<8>(r);
  swap_bit<4>(r);
  swap_bit<2>(r);
  swap_bit<1>(r);
}

// Loads 32-bit elements of a row from `column` on. Lanes from `columns` on are zero.
LONGLORA_INLINE U32x16 load_columns(const void* row, int64_t column, int64_t columns) {
  const auto mask = static_cast<__mmask16>(columns - column >= 16 ? 0xffff : (1 << (columns - column)) - 1);
  return reinterpret_cast<U32x16>(_mm512_maskz_loadu_epi32(mask, static_cast<const uint32_t*>(row) + column));
}

#endif

}  // namespace
}  // namespace longlora::ops::cpu
