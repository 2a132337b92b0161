// Numbers in 8 bits, codes of a dynamic map: moments of an optimizer, scales of weights in four bits.
#pragma once

#include <array>
#include <cstdint>

namespace longlora::ops {

/// Numbers that share a scale, in either.
constexpr int64_t kQuantizedBlock = 256;

/// The 256 numbers in [−1, 1] (or [0, 1]) that a code stands for, ascending: exponents of ten down to 1e-7,
/// each with a linear fraction of as many steps as its size deserves (Dettmers 2015, arXiv 1511.04561;
/// equal to bitsandbytes' create_dynamic_map()).
class DynamicMap {
 public:
  explicit DynamicMap(bool has_sign);
  static const DynamicMap& with_sign();
  static const DynamicMap& without_sign();

  const std::array<float, 256>& values() const { return values_; }
  float operator[](uint8_t code) const { return values_[code]; }
  /// Code of the nearest number; of two equally near ones the smaller.
  uint8_t nearest(float value) const;

  /// values[i] = scale · map[codes[i]] for n <= kQuantizedBlock numbers.
  void dequantize(const uint8_t* codes, float scale, float* values, int64_t n) const;
  /// The other way: returns the scale, the largest magnitude of the n numbers.
  float quantize(const float* values, uint8_t* codes, int64_t n) const;

 private:
  std::array<float, 256> values_;
};

}  // namespace longlora::ops
