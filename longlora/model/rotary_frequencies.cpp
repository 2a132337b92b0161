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

// Mixes interpolated and original frequencies. How often a pair of dimensions turns within the original
// window decides its share: frequencies that turn often stay as they are, those that turn seldom are
// interpolated.
void apply_yarn(const ModelConfig& config, std::vector<double>& frequencies) {
  const RopeScaling& scaling = config.rope_scaling;
  const auto dims = static_cast<double>(config.rotary_dims());
  const auto dimension_of_turns = [&](double turns) {
    return dims * std::log(static_cast<double>(config.original_window()) / (turns * 2.0 * M_PI)) /
           (2.0 * std::log(config.rope_theta));
  };
  double low = dimension_of_turns(scaling.beta_fast);
  double high = dimension_of_turns(scaling.beta_slow);
  if (scaling.truncate) {
    low = std::floor(low);
    high = std::ceil(high);
  }
  low = std::max(low, 0.0);
  high = std::min(high, dims - 1.0);
  if (low == high) high += 0.001;  // transformers does the same against a division by zero
  for (size_t i = 0; i < frequencies.size(); ++i) {
    const double ramp = std::clamp((static_cast<double>(i) - low) / (high - low), 0.0, 1.0);
    frequencies[i] = frequencies[i] / scaling.factor * ramp + frequencies[i] * (1.0 - ramp);
  }
}

// Interpolates frequencies with long wavelengths, leaves those with short ones, and mixes the two in between.
void apply_llama3(const ModelConfig& config, std::vector<double>& frequencies) {
  const RopeScaling& scaling = config.rope_scaling;
  const auto window = static_cast<double>(config.original_window());
  for (double& frequency : frequencies) {
    const double turns = window * frequency / (2.0 * M_PI);
    const double smooth = std::clamp(
        (turns - scaling.low_freq_factor) / (scaling.high_freq_factor - scaling.low_freq_factor), 0.0, 1.0);
    frequency = (1.0 - smooth) * frequency / scaling.factor + smooth * frequency;
  }
}

double longrope_attention_factor(const ModelConfig& config) {
  const RopeScaling& scaling = config.rope_scaling;
  if (scaling.attention_factor > 0.0) return scaling.attention_factor;
  if (scaling.factor <= 1.0) return 1.0;
  return std::sqrt(1.0 + std::log(scaling.factor) / std::log(static_cast<double>(config.original_window())));
}

// Returns the theta of dynamic NTK scaling. It grows with the length of the sequence, so that the slowest
// pair of dimensions turns over all of it no further than over the original window.
double dynamic_theta(const ModelConfig& config, int64_t sequence_tokens) {
  const auto window = static_cast<double>(config.original_window());
  const double length = std::max(static_cast<double>(sequence_tokens), window);
  const double factor = config.rope_scaling.factor;
  const auto dims = static_cast<double>(config.rotary_dims());
  return config.rope_theta * std::pow(factor * length / window - (factor - 1.0), dims / (dims - 2.0));
}

}  // namespace

RotaryFrequencies rotary_frequencies(const ModelConfig& config, int64_t sequence_tokens) {
  RotaryFrequencies result;
  const RopeScaling& scaling = config.rope_scaling;
  const int64_t dims = config.rotary_dims(), pairs = (dims + 1) / 2;
  const double theta =
      scaling.type == RopeType::kDynamic ? dynamic_theta(config, sequence_tokens) : config.rope_theta;
  std::vector<double>& frequencies = result.inverse_frequencies;
  frequencies.resize(pairs);
  for (int64_t i = 0; i < pairs; ++i)
    frequencies[i] = 1.0 / std::pow(theta, static_cast<double>(2 * i) / static_cast<double>(dims));
  if (scaling.type == RopeType::kLinear)
    for (double& frequency : frequencies) frequency /= scaling.factor;
  if (scaling.type == RopeType::kYarn) {
    apply_yarn(config, frequencies);
    result.attention_factor = yarn_attention_factor(scaling);
  }
  if (scaling.type == RopeType::kLongRope) {
    const bool is_long = sequence_tokens > config.original_window();
    const std::vector<double>& factors = is_long ? scaling.long_factor : scaling.short_factor;
    for (size_t i = 0; i < frequencies.size(); ++i) frequencies[i] /= factors.at(i);
    result.attention_factor = longrope_attention_factor(config);
  }
  if (scaling.type == RopeType::kLlama3) apply_llama3(config, frequencies);
  return result;
}

}  // namespace longlora::model
