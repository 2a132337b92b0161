// Scalar building blocks that the compiler vectorises; for kernel translation
// units only (everything has internal linkage).
#pragma once

#include <cstdint>
#include <cstring>

#include "longlora/ops/cpu/row_kernels.h"

namespace longlora::ops::cpu {
namespace {

inline float bits_to_float(uint32_t bits) {
  float value;
  std::memcpy(&value, &bits, sizeof value);
  return value;
}

inline uint32_t float_to_bits(float value) {
  uint32_t bits;
  std::memcpy(&bits, &value, sizeof bits);
  return bits;
}

inline float load(const float* p) {
  return *p;
}
inline float load(const Bf16* p) {
  return bits_to_float(static_cast<uint32_t>(p->bits) << 16);
}
inline void store(float* p, float value) {
  *p = value;
}
// Round to nearest even; a NaN keeps its sign and stays a NaN.
inline void store(Bf16* p, float value) {
  const uint32_t bits = float_to_bits(value);
  const uint32_t rounded = (bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16;
  const bool is_nan = (bits & 0x7fffffffu) > 0x7f800000u;
  p->bits = static_cast<uint16_t>(is_nan ? (bits >> 16) | 0x40u : rounded);
}

// The value computed as written, also under -fassociative-math. Loops that become
// vectors need -fno-tree-reassoc beside it: g++ 12's vectoriser forgets the barrier.
inline float in_this_order(float value) {
#if defined(__GNUC__) && !defined(__clang__)
  return __builtin_assoc_barrier(value);
#else
  return value;
#endif
}

// e^x within 1e-7 of its value for x in [-87, 88], clamped outside: x = n ln 2 + r,
// with a degree-7 polynomial for e^r on |r| <= ln 2 / 2.
inline float fast_exp(float x) {
  x = x < -87.0f ? -87.0f : (x > 88.0f ? 88.0f : x);
  const float shifted = x * 1.44269504088896341f + 12582912.0f;  // rounds to an integer in the low bits
  const int32_t n = static_cast<int32_t>(float_to_bits(shifted)) - 0x4b400000;
  const float nf = static_cast<float>(n);
  // ln 2 in two parts (Cody and Waite): the first has 9 bits, so that its product
  // with n is exact, and so is the difference. Joined into one product they would
  // be 4e-6 off at the ends of the range.
  float r = in_this_order(x - nf * 0.693359375f);
  r = r + nf * 2.12194440e-4f;
  float p = 1.9875691500e-4f;
  p = p * r + 1.3981999507e-3f;
  p = p * r + 8.3334519073e-3f;
  p = p * r + 4.1665795894e-2f;
  p = p * r + 1.6666665459e-1f;
  p = p * r + 5.0000001201e-1f;
  p = p * r * r + r + 1.0f;
  return p * bits_to_float(static_cast<uint32_t>(n + 127) << 23);
}

// The largest of n values. A plain loop over one maximum does not vectorise
// without -ffinite-math-only; independent lanes do.
template <typename T>
inline float maximum_of(const T* p, int64_t n) {
  constexpr int64_t kLanes = 16;
  float lanes[kLanes];
  for (int64_t l = 0; l < kLanes; ++l) lanes[l] = load(p);
  const int64_t whole = n - n % kLanes;
  for (int64_t i = 0; i < whole; i += kLanes)
    for (int64_t l = 0; l < kLanes; ++l) {
      const float v = load(p + i + l);
      lanes[l] = v > lanes[l] ? v : lanes[l];
    }
  for (int64_t i = whole; i < n; ++i) lanes[0] = load(p + i) > lanes[0] ? load(p + i) : lanes[0];
  float best = lanes[0];
  for (int64_t l = 1; l < kLanes; ++l) best = lanes[l] > best ? lanes[l] : best;
  return best;
}

}  // namespace
}  // namespace longlora::ops::cpu
