#include "longlora/ops/dynamic_map.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <iterator>
#include <vector>

namespace longlora::ops {

DynamicMap::DynamicMap(bool has_sign) {
  std::vector<float> values = {0.0f, 1.0f};
  int64_t parts = has_sign ? 1 : 2;
  // A power of ten has twice as many values as the one below it. They are the middles of equal parts.
  for (const double decade : {1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1.0}) {
    const at::Tensor bounds = at::linspace(0.1, 1.0, parts + 1, at::kFloat);
    const at::Tensor middles = (bounds.slice(0, 0, parts) + bounds.slice(0, 1)).div_(2.0).mul_(decade);
    const auto* positive = middles.const_data_ptr<float>();
    values.insert(values.end(), positive, positive + parts);
    if (has_sign) std::transform(positive, positive + parts, std::back_inserter(values), std::negate<>());
    parts *= 2;
  }
  std::sort(values.begin(), values.end());
  std::copy(values.begin(), values.end(), values_.begin());
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
  // Finds the last entry that is not above the value, without a branch that depends on the value.
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

}  // namespace longlora::ops
