// Vectors of sixteen floats, for translation units of kernels only (everything has internal linkage). They
// are the compiler's vector types, which every instruction set can run. Where it is faster, a function has
// another form for AVX-512.
#pragma once

#if defined(__AVX2__)
#include <immintrin.h>
#endif

#include <cstdint>
#include <cstring>

#include "longlora/ops/cpu/bf16.h"

namespace longlora::ops::cpu {

/// How many floats a vector has.
constexpr int64_t kLanes = 16;

namespace {

#define LONGLORA_INLINE inline __attribute__((always_inline))

typedef float F32x16 __attribute__((vector_size(64)));
typedef int32_t I32x16 __attribute__((vector_size(64)));
typedef uint32_t U32x16 __attribute__((vector_size(64)));
typedef uint16_t U16x16 __attribute__((vector_size(32)));

LONGLORA_INLINE F32x16 broadcast(float value) {
#if defined(__AVX512F__)
  return _mm512_set1_ps(value);
#else
  return value - F32x16{};
#endif
}

LONGLORA_INLINE U32x16 as_bits(F32x16 value) {
  return reinterpret_cast<U32x16>(value);
}
LONGLORA_INLINE F32x16 from_bits(U32x16 bits) {
  return reinterpret_cast<F32x16>(bits);
}

LONGLORA_INLINE F32x16 widen(U16x16 bits) {
  return from_bits(__builtin_convertvector(bits, U32x16) << 16);
}

// Rounds to bfloat16, to nearest even, and returns the 16 bits in the lower half of each lane. A NaN stays a
// NaN with its sign.
LONGLORA_INLINE U32x16 rounded_bits(F32x16 value) {
  const U32x16 bits = as_bits(value);
  const U32x16 rounded = (bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16;
  const U32x16 quieted = (bits >> 16) | 0x40u;
  return (bits & 0x7fffffffu) > 0x7f800000u ? quieted : rounded;
}

LONGLORA_INLINE U16x16 narrow(F32x16 value) {
#if defined(__AVX512BF16__)
  return reinterpret_cast<U16x16>(_mm512_cvtneps_pbh(value));
#else
  return __builtin_convertvector(rounded_bits(value), U16x16);
#endif
}

LONGLORA_INLINE F32x16 load_16(const float* p) {
  F32x16 value;
  std::memcpy(&value, p, sizeof value);
  return value;
}
LONGLORA_INLINE F32x16 load_16(const Bf16* p) {
  U16x16 bits;
  std::memcpy(&bits, p, sizeof bits);
  return widen(bits);
}
LONGLORA_INLINE void store_16(float* p, F32x16 value) {
  std::memcpy(p, &value, sizeof value);
}
LONGLORA_INLINE void store_16(Bf16* p, F32x16 value) {
  const U16x16 bits = narrow(value);
  std::memcpy(p, &bits, sizeof bits);
}

// Returns a b + sum, rounded once where the instruction set has such an instruction.
LONGLORA_INLINE F32x16 fused_add(F32x16 a, F32x16 b, F32x16 sum) {
#if defined(__AVX512F__)
  return _mm512_fmadd_ps(a, b, sum);
#elif defined(__FMA__)
  __m256 left[2], right[2], sums[2];
  std::memcpy(left, &a, sizeof left);
  std::memcpy(right, &b, sizeof right);
  std::memcpy(sums, &sum, sizeof sums);
  for (int h = 0; h < 2; ++h) sums[h] = _mm256_fmadd_ps(left[h], right[h], sums[h]);
  std::memcpy(&sum, sums, sizeof sums);
  return sum;
#else
  return a * b + sum;
#endif
}

// Loads the first `count` < 16 elements. The other lanes are `fill`.
template <typename T>
LONGLORA_INLINE F32x16 load_part(const T* p, int64_t count, float fill = 0.0f) {
  T part[kLanes] = {};
  std::memcpy(part, p, static_cast<size_t>(count) * sizeof(T));
  F32x16 value = load_16(part);
  if (fill != 0.0f)
    for (int64_t l = count; l < kLanes; ++l) value[l] = fill;
  return value;
}
template <typename T>
LONGLORA_INLINE void store_part(T* p, F32x16 value, int64_t count) {
  T part[kLanes];
  store_16(part, value);
  std::memcpy(p, part, static_cast<size_t>(count) * sizeof(T));
}

// A place that the loops below give to their bodies: sixteen elements of a row from `begin` on (Whole), or
// the fewer that are left (Rest).
struct Whole {
  int64_t begin;
  template <typename T>
  LONGLORA_INLINE F32x16 load(const T* p, float = 0.0f) const {
    return load_16(p + begin);
  }
  template <typename T>
  LONGLORA_INLINE void store(T* p, F32x16 value) const {
    store_16(p + begin, value);
  }
};
struct Rest {
  int64_t begin, count;
  template <typename T>
  LONGLORA_INLINE F32x16 load(const T* p, float fill = 0.0f) const {
    return load_part(p + begin, count, fill);
  }
  template <typename T>
  LONGLORA_INLINE void store(T* p, F32x16 value) const {
    store_part(p + begin, value, count);
  }
};

template <typename Body>
LONGLORA_INLINE void for_each_vector(int64_t n, const Body& body) {
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) body(Whole{i});
  if (i < n) body(Rest{i, n - i});
}

// Return the larger and the smaller number, or b where either is not a number.
LONGLORA_INLINE F32x16 larger(F32x16 a, F32x16 b) {
#if defined(__AVX512F__)
  return _mm512_max_ps(a, b);
#else
  return a > b ? a : b;
#endif
}
LONGLORA_INLINE F32x16 smaller(F32x16 a, F32x16 b) {
#if defined(__AVX512F__)
  return _mm512_min_ps(a, b);
#else
  return a < b ? a : b;
#endif
}

LONGLORA_INLINE float sum_of_lanes(F32x16 v) {
#if defined(__AVX512F__)
  return _mm512_reduce_add_ps(v);
#else
  float sum = 0.0f;
  for (int64_t l = 0; l < kLanes; ++l) sum += v[l];
  return sum;
#endif
}
// Writes the sums of the lanes of four vectors, each the same as sum_of_lanes().
LONGLORA_INLINE void store_sums_of_lanes(const F32x16* v, float* out) {
#if defined(__AVX512F__)
  // Halves are added, then quarters, for all four vectors at once; then what is left of each is in a quarter
  // of its own.
  const __m512 a = v[0], b = v[1], c = v[2], d = v[3];
  const __m512 ab = _mm512_shuffle_f32x4(a, b, 0x44) + _mm512_shuffle_f32x4(a, b, 0xee);
  const __m512 cd = _mm512_shuffle_f32x4(c, d, 0x44) + _mm512_shuffle_f32x4(c, d, 0xee);
  __m512 all = _mm512_shuffle_f32x4(ab, cd, 0x88) + _mm512_shuffle_f32x4(ab, cd, 0xdd);
  all += _mm512_permute_ps(all, 0x4e);
  all += _mm512_permute_ps(all, 0xb1);
  _mm_storeu_ps(out, _mm512_castps512_ps128(_mm512_maskz_compress_ps(0x1111, all)));
#else
  for (int i = 0; i < 4; ++i) out[i] = sum_of_lanes(v[i]);
#endif
}
LONGLORA_INLINE float largest_lane(F32x16 v) {
#if defined(__AVX512F__)
  return _mm512_reduce_max_ps(v);
#else
  float best = v[0];
  for (int64_t l = 1; l < kLanes; ++l) best = v[l] > best ? v[l] : best;
  return best;
#endif
}

// Returns the sum of term(place) over n elements, in four chains and always in the same order.
template <typename Term>
LONGLORA_INLINE float sum_over(int64_t n, const Term& term) {
  F32x16 a = {}, b = {}, c = {}, d = {};
  int64_t i = 0;
  for (; i + 4 * kLanes <= n; i += 4 * kLanes) {
    a += term(Whole{i});
    b += term(Whole{i + kLanes});
    c += term(Whole{i + 2 * kLanes});
    d += term(Whole{i + 3 * kLanes});
  }
  for (; i + kLanes <= n; i += kLanes) a += term(Whole{i});
  if (i < n) b += term(Rest{i, n - i});
  return sum_of_lanes((a + b) + (c + d));
}

// Returns the largest of n values, or `least` where n is 0.
template <typename T>
LONGLORA_INLINE float largest_of(const T* p, int64_t n, float least = -3.0e38f) {
  F32x16 best = broadcast(least);
  for_each_vector(n, [&](const auto& at) { best = larger(best, at.load(p, least)); });
  return largest_lane(best);
}

// Keeps the compiler from reordering operations across the value, which -fassociative-math would allow.
LONGLORA_INLINE F32x16 in_this_order(F32x16 value) {
  asm("" : "+m"(value));
  return value;
}

#if defined(__AVX512F__)
LONGLORA_INLINE F32x16 nearest_integer(F32x16 x) {
  return _mm512_roundscale_ps(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
}
// Returns v · 2^n for integers n. It is 0 or infinity beyond the range of floats.
LONGLORA_INLINE F32x16 times_power_of_two(F32x16 v, F32x16 n) {
  return _mm512_scalef_ps(v, n);
}
LONGLORA_INLINE F32x16 fused_subtract(F32x16 x, F32x16 a, F32x16 b) {  // x − a b
  return _mm512_fnmadd_ps(a, b, x);
}
#else
LONGLORA_INLINE F32x16 nearest_integer(F32x16 x) {
  const F32x16 half = x < 0.0f ? broadcast(-0.5f) : broadcast(0.5f);
  return __builtin_convertvector(__builtin_convertvector(x + half, I32x16), F32x16);
}
LONGLORA_INLINE F32x16 times_power_of_two(F32x16 v, F32x16 n) {
  // There are two factors, because a single power of two does not reach the ends of the range.
  const I32x16 whole = __builtin_convertvector(n, I32x16), first = whole >> 1, second = whole - first;
  const F32x16 a = reinterpret_cast<F32x16>((first + 127) << 23);
  const F32x16 b = reinterpret_cast<F32x16>((second + 127) << 23);
  return in_this_order(v * a) * b;
}
LONGLORA_INLINE F32x16 fused_subtract(F32x16 x, F32x16 a, F32x16 b) {
  // `a` has few bits where this is called, so that the product is exact without fusing.
  return in_this_order(x - a * b);
}
#endif

// Returns 2^x with a relative error below 2e-7, or 0 where it is below the range.
LONGLORA_INLINE F32x16 exp2_of(F32x16 x) {
#if !defined(__AVX512F__)
  x = smaller(broadcast(129.0f), larger(broadcast(-151.0f), x));
#endif
  const F32x16 n = nearest_integer(x);
  const F32x16 r = x - n;
  F32x16 p = r * 1.535336188319500e-4f + 1.339887440266574e-3f;
  p = p * r + 9.618437357674640e-3f;
  p = p * r + 5.550332471162809e-2f;
  p = p * r + 2.402264791363012e-1f;
  p = p * r + 6.931472028550421e-1f;
  p = p * r + 1.0f;
  return times_power_of_two(p, n);
}

// Returns e^x as 2^n e^r, where x = n ln 2 + r and a polynomial of degree 6 gives e^r for |r| <= ln 2 / 2.
LONGLORA_INLINE F32x16 exp_of(F32x16 x) {
  x = smaller(broadcast(89.0f), larger(broadcast(-105.0f), x));
  const F32x16 n = nearest_integer(x * 1.44269504088896341f);
  // ln 2 is subtracted in two parts. If the compiler joined them, the product would be inexact, and the
  // result wrong by 4e-6 at the ends of the range.
  F32x16 r = fused_subtract(x, n, broadcast(0.693359375f));
  r = r + n * 2.12194440e-4f;
  F32x16 p = r * 1.9875691500e-4f + 1.3981999507e-3f;
  p = p * r + 8.3334519073e-3f;
  p = p * r + 4.1665795894e-2f;
  p = p * r + 1.6666665459e-1f;
  p = p * r + 5.0000001201e-1f;
  p = p * r * r + r + 1.0f;
  return times_power_of_two(p, n);
}

// The scalars below are for single values.
LONGLORA_INLINE float to_float(float value) {
  return value;
}
LONGLORA_INLINE float to_float(Bf16 value) {
  const uint32_t bits = static_cast<uint32_t>(value.bits) << 16;
  float result;
  std::memcpy(&result, &bits, sizeof result);
  return result;
}
template <typename T>
LONGLORA_INLINE void store_one(T* p, float value) {
  store_part(p, broadcast(value), 1);
}

}  // namespace
}  // namespace longlora::ops::cpu
