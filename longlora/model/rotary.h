// Tables of rotary embedding angles.
#pragma once

#include <ATen/ATen.h>

#include "longlora/model/config.h"

namespace longlora::model {

/// cos and sin [num_positions, head_dim / 2] float32, with the attention factor
/// of the scaling multiplied in, as transformers computes them.
struct RotaryTable {
  at::Tensor cos;
  at::Tensor sin;
};

/// Angle per position of each pair of dimensions, and the factor on cos and sin.
struct RotaryFrequencies {
  std::vector<double> inverse_frequencies;  // head_dim / 2
  double attention_factor = 1.0;
};

/// The frequencies after scaling (linear: arXiv 2306.15595; YaRN: arXiv 2309.00071).
RotaryFrequencies rotary_frequencies(const ModelConfig& config);

RotaryTable make_rotary_table(const ModelConfig& config, int64_t num_positions);

}  // namespace longlora::model
