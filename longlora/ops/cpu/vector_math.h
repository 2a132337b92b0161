// Scalar functions that the compiler vectorises. They are for translation units of kernels only (everything
// has internal linkage).
#pragma once

#include <cstdint>
#include <cstring>

#include "longlora/ops/cpu/bf16.h"

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
// Rounds to nearest even. A NaN stays a NaN with its sign.
inline void store(Bf16* p, float value) {
  const uint32_t bits = float_to_bits(value);
  const uint32_t rounded = (bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16;
  const bool is_nan = (bits & 0x7fffffffu) > 0x7f800000u;
  p->bits = static_cast<uint16_t>(is_nan ? (bits >> 16) | 0x40u : rounded);
}

}  // namespace
}  // namespace longlora::ops::cpu
