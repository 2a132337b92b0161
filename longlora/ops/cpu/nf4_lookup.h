// Looks up the values of 4-bit codes in registers. It is for translation units of kernels only (everything
// has internal linkage).
#pragma once

#if defined(__AVX2__)
#include <immintrin.h>
#endif

#include "longlora/ops/cpu/nf4_kernels.h"
#include "longlora/ops/cpu/vectors.h"

namespace longlora::ops::cpu {
namespace {

LONGLORA_INLINE U32x16 load_words(const void* p) {
  U32x16 words;
  std::memcpy(&words, p, sizeof words);
  return words;
}

/// Looks up the values of the codes in the lower four bits of each lane.
class FloatValues {
 public:
#if defined(__AVX512F__)
  FloatValues() : table_(_mm512_loadu_ps(kNf4Values)) {}
  LONGLORA_INLINE F32x16 operator[](U32x16 codes) const {
    return _mm512_permutexvar_ps(reinterpret_cast<__m512i>(codes), table_);
  }

 private:
  __m512 table_;
#elif defined(__AVX2__)
  FloatValues() : low_(_mm256_loadu_ps(kNf4Values)), high_(_mm256_loadu_ps(kNf4Values + 8)) {}
  LONGLORA_INLINE F32x16 operator[](U32x16 codes) const {
    __m256i halves[2];
    std::memcpy(halves, &codes, sizeof halves);
    __m256 found[2];
    for (int h = 0; h < 2; ++h) {
      const __m256 low = _mm256_permutevar8x32_ps(low_, halves[h]);
      const __m256 high = _mm256_permutevar8x32_ps(high_, halves[h]);
      found[h] = _mm256_blendv_ps(low, high, _mm256_castsi256_ps(_mm256_slli_epi32(halves[h], 28)));
    }
    F32x16 values;
    std::memcpy(&values, found, sizeof values);
    return values;
  }

 private:
  __m256 low_, high_;
#else
  LONGLORA_INLINE F32x16 operator[](U32x16 codes) const {
    F32x16 values = {};
    for (int64_t l = 0; l < kLanes; ++l) values[l] = kNf4Values[codes[l] & 15u];
    return values;
  }
#endif
};

}  // namespace
}  // namespace longlora::ops::cpu
