// Tables of the rotary embedding: cosines and sines of the angles by which heads are rotated.
#pragma once

#include <ATen/ATen.h>

#include <vector>

#include "longlora/model/config.h"

namespace longlora::model {

/// Cosines and sines [num_positions, pairs] in float32, multiplied by the attention factor of the scaling, as
/// transformers computes them. The first 2 · pairs dimensions of a head are rotated.
struct RotaryTable {
  at::Tensor cos;
  at::Tensor sin;
};

/// For each pair of dimensions the angle between two neighbouring positions, and the factor on cosines and
/// sines.
struct RotaryFrequencies {
  std::vector<double> inverse_frequencies;
  double attention_factor = 1.0;
};

/// Returns the frequencies after scaling (see RopeType) in a sequence of `sequence_tokens`; 0: a sequence
/// that fits the original window. Only dynamic and longrope depend on the length.
RotaryFrequencies rotary_frequencies(const ModelConfig& config, int64_t sequence_tokens = 0);

/// Writes the cosines and sines of one position, as many as there are frequencies.
void rotary_row(const RotaryFrequencies& frequencies, int64_t position, float* cos, float* sin);

/// The positions of a table, and the length of the sequence that they belong to.
struct RotaryRange {
  int64_t first_position = 0;
  int64_t num_positions = 0;
  int64_t sequence_tokens = 0;
};
/// Makes the table of a range, whose row 0 is the first position.
RotaryTable make_rotary_table(const ModelConfig& config, const RotaryRange& range);

/// Makes the table of all positions of a sequence of `num_positions`.
RotaryTable make_rotary_table(const ModelConfig& config, int64_t num_positions);

}  // namespace longlora::model
