// Tables of rotary embedding angles.
#pragma once

#include <ATen/ATen.h>

#include <vector>

#include "longlora/model/config.h"

namespace longlora::model {

/// cos and sin [num_positions, pairs] float32, with the attention factor of the
/// scaling multiplied in, as transformers computes them. Of a head the first
/// 2 · pairs dimensions are rotated.
struct RotaryTable {
  at::Tensor cos;
  at::Tensor sin;
};

/// Angle per position of each pair of dimensions, and the factor on cos and sin.
struct RotaryFrequencies {
  std::vector<double> inverse_frequencies;
  double attention_factor = 1.0;
};

/// The frequencies after scaling (see RopeType) in a sequence of
/// `sequence_tokens`; 0: one that fits the original window. Only dynamic and
/// longrope look at the length.
RotaryFrequencies rotary_frequencies(const ModelConfig& config, int64_t sequence_tokens = 0);

/// Positions of a table, and the length of the sequence that they belong to.
struct RotaryRange {
  int64_t first_position = 0;
  int64_t num_positions = 0;
  int64_t sequence_tokens = 0;
};
/// Row 0 of the table is the range's first position.
RotaryTable make_rotary_table(const ModelConfig& config, const RotaryRange& range);

/// All positions of a sequence of num_positions.
RotaryTable make_rotary_table(const ModelConfig& config, int64_t num_positions);

}  // namespace longlora::model
