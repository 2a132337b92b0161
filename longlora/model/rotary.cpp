#include "longlora/model/rotary.h"

#include <algorithm>
#include <cmath>

namespace longlora::model {
namespace {

double yarn_mscale(double factor, double mscale) {
  return factor <= 1.0 ? 1.0 : 0.1 * mscale * std::log(factor) + 1.0;
}

double yarn_attention_factor(const RopeScaling& scaling) {
  if (scaling.attention_factor > 0.0) return scaling.attention_factor;
  if (scaling.mscale != 0.0 && scaling.mscale_all_dim != 0.0)
    return yarn_mscale(scaling.factor, scaling.mscale) / yarn_mscale(scaling.factor, scaling.mscale_all_dim);
  return yarn_mscale(scaling.factor, 1.0);
}

/// Blends interpolated (slow) and untouched (fast) frequencies by how many turns
/// a dimension makes over the original window.
void apply_yarn(const ModelConfig& config, std::vector<double>& frequencies) {
  const RopeScaling& scaling = config.rope_scaling;
  const auto dimension_of_turns = [&](double turns) {
    return static_cast<double>(config.head_dim) *
           std::log(static_cast<double>(config.original_window()) / (turns * 2.0 * M_PI)) /
           (2.0 * std::log(config.rope_theta));
  };
  double low = dimension_of_turns(scaling.beta_fast);
  double high = dimension_of_turns(scaling.beta_slow);
  if (scaling.truncate) {
    low = std::floor(low);
    high = std::ceil(high);
  }
  low = std::max(low, 0.0);
  high = std::min(high, static_cast<double>(config.head_dim - 1));
  if (low == high) high += 0.001;  // as transformers: no division by zero
  for (size_t i = 0; i < frequencies.size(); ++i) {
    const double ramp = std::clamp((static_cast<double>(i) - low) / (high - low), 0.0, 1.0);
    frequencies[i] = frequencies[i] / scaling.factor * ramp + frequencies[i] * (1.0 - ramp);
  }
}

}  // namespace

RotaryFrequencies rotary_frequencies(const ModelConfig& config) {
  RotaryFrequencies result;
  const int64_t half = config.head_dim / 2;
  result.inverse_frequencies.resize(half);
  for (int64_t i = 0; i < half; ++i)
    result.inverse_frequencies[i] =
        1.0 / std::pow(config.rope_theta, static_cast<double>(2 * i) / static_cast<double>(config.head_dim));
  if (config.rope_scaling.type == RopeType::kLinear)
    for (double& frequency : result.inverse_frequencies) frequency /= config.rope_scaling.factor;
  if (config.rope_scaling.type == RopeType::kYarn) {
    apply_yarn(config, result.inverse_frequencies);
    result.attention_factor = yarn_attention_factor(config.rope_scaling);
  }
  return result;
}

RotaryTable make_rotary_table(const ModelConfig& config, int64_t num_positions) {
  const RotaryFrequencies frequencies = rotary_frequencies(config);
  const auto half = static_cast<int64_t>(frequencies.inverse_frequencies.size());
  RotaryTable table = {at::empty({num_positions, half}, at::kFloat),
                       at::empty({num_positions, half}, at::kFloat)};
  float* cos = table.cos.mutable_data_ptr<float>();
  float* sin = table.sin.mutable_data_ptr<float>();
  for (int64_t position = 0; position < num_positions; ++position) {
    for (int64_t i = 0; i < half; ++i) {
      // Angles are float32 products, as transformers forms them.
      const float angle =
          static_cast<float>(position) * static_cast<float>(frequencies.inverse_frequencies[i]);
      cos[position * half + i] = static_cast<float>(std::cos(angle) * frequencies.attention_factor);
      sin[position * half + i] = static_cast<float>(std::sin(angle) * frequencies.attention_factor);
    }
  }
  return table;
}

}  // namespace longlora::model
