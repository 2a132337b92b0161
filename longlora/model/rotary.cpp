#include "longlora/model/rotary.h"

#include <cmath>

namespace longlora::model {

void rotary_row(const RotaryFrequencies& frequencies, int64_t position, float* cos, float* sin) {
  for (size_t i = 0; i < frequencies.inverse_frequencies.size(); ++i) {
    // transformers computes the angles in float32.
    const float angle = static_cast<float>(position) * static_cast<float>(frequencies.inverse_frequencies[i]);
    cos[i] = static_cast<float>(std::cos(angle) * frequencies.attention_factor);
    sin[i] = static_cast<float>(std::sin(angle) * frequencies.attention_factor);
  }
}

RotaryTable make_rotary_table(const ModelConfig& config, const RotaryRange& range) {
  const RotaryFrequencies frequencies = rotary_frequencies(config, range.sequence_tokens);
  const auto pairs = static_cast<int64_t>(frequencies.inverse_frequencies.size());
  RotaryTable table = {at::empty({range.num_positions, pairs}, at::kFloat),
                       at::empty({range.num_positions, pairs}, at::kFloat)};
  float* const cos = table.cos.mutable_data_ptr<float>();
  float* const sin = table.sin.mutable_data_ptr<float>();
  for (int64_t row = 0; row < range.num_positions; ++row)
    rotary_row(frequencies, range.first_position + row, cos + row * pairs, sin + row * pairs);
  return table;
}

RotaryTable make_rotary_table(const ModelConfig& config, int64_t num_positions) {
  return make_rotary_table(config, {0, num_positions, num_positions});
}

}  // namespace longlora::model
