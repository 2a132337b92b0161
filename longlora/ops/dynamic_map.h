// Numbers in 8 bits, which are codes of a dynamic map. Moments of the optimizer and scales of weights in four
// bits are stored so.
#pragma once

#include <array>
#include <cstdint>

namespace longlora::ops {

/// How many numbers share a scale, for moments and for scales of weights.
constexpr int64_t kQuantizedBlock = 256;

/// The 256 numbers in [−1, 1] or [0, 1] that codes stand for, ascending. They are linear fractions of powers
/// of ten down to 1e-7, with more steps for larger powers. They equal those of bitsandbytes'
/// create_dynamic_map(). (Dettmers 2015, arXiv 1511.04561)
class DynamicMap {
 public:
  explicit DynamicMap(bool has_sign);
  static const DynamicMap& with_sign();
  static const DynamicMap& without_sign();

  const std::array<float, 256>& values() const { return values_; }
  float operator[](uint8_t code) const { return values_[code]; }
  /// Returns the code of the nearest number, and of the smaller one where two are equally near.
  uint8_t nearest(float value) const;

  /// Computes values[i] = scale · map[codes[i]] for n <= kQuantizedBlock numbers.
  void dequantize(const uint8_t* codes, float scale, float* values, int64_t n) const;
  /// Finds the codes of n <= kQuantizedBlock numbers, and returns their scale, which is the largest
  /// magnitude.
  float quantize(const float* values, uint8_t* codes, int64_t n) const;

 private:
  std::array<float, 256> values_;
};

}  // namespace longlora::ops
