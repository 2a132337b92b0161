#include "longlora/train/dynamic_map.h"

#include <algorithm>
#include <cmath>

namespace longlora::train {
namespace {

constexpr int kExponents = 7;

/// numpy's and torch's linspace(0.1, 1, count) in float32, which goes from either end to the middle.
float boundary(int i, int count) {
  constexpr float kFirst = 0.1f, kLast = 1.0f;
  const float step = (kLast - kFirst) / static_cast<float>(count - 1);
  return i < count / 2 ? kFirst + step * static_cast<float>(i)
                       : kLast - step * static_cast<float>(count - 1 - i);
}

}  // namespace

DynamicMap::DynamicMap(bool has_sign) {
  size_t count = 0;
  for (int exponent = 0; exponent < kExponents; ++exponent) {
    const int boundaries = (1 << (has_sign ? exponent : exponent + 1)) + 1;
    const double power = std::pow(10.0, exponent - (kExponents - 1));
    for (int i = 0; i + 1 < boundaries; ++i) {
      const float middle = (boundary(i, boundaries) + boundary(i + 1, boundaries)) / 2.0f;
      const auto value = static_cast<float>(power) * middle;
      values_[count++] = value;
      if (has_sign) values_[count++] = -value;
    }
  }
  values_[count++] = 0.0f;
  values_[count++] = 1.0f;
  std::sort(values_.begin(), values_.end());
}

const DynamicMap& DynamicMap::with_sign() {
  static const DynamicMap map(true);
  return map;
}

const DynamicMap& DynamicMap::without_sign() {
  static const DynamicMap map(false);
  return map;
}

uint8_t DynamicMap::nearest(float value) const {
  // The last entry that is not above the value, found without a branch that depends on it.
  size_t at = 0;
  for (size_t half = 128; half > 0; half /= 2) at += values_[at + half] <= value ? half : 0;
  if (at + 1 < values_.size() && values_[at + 1] - value < value - values_[at]) ++at;
  return static_cast<uint8_t>(at);
}

void DynamicMap::dequantize(const uint8_t* codes, float scale, float* values, int64_t n) const {
  for (int64_t i = 0; i < n; ++i) values[i] = values_[codes[i]] * scale;
}

float DynamicMap::quantize(const float* values, uint8_t* codes, int64_t n) const {
  float scale = 0.0f;
  for (int64_t i = 0; i < n; ++i) scale = std::max(scale, std::abs(values[i]));
  const float inverse = scale > 0.0f ? 1.0f / scale : 0.0f;
  for (int64_t i = 0; i < n; ++i) codes[i] = nearest(values[i] * inverse);
  return scale;
}

}  // namespace longlora::train
