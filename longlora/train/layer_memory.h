// Bytes that the tensors of one layer and of the loss hold in training.
#pragma once

#include <array>
#include <cstdint>
#include <optional>

#include "longlora/model/decoder.h"
#include "longlora/train/layer_pass.h"

namespace longlora::train {

/// What a layer holds that keeps this or that; all in bytes.
struct LayerPhases {
  int64_t kept = 0;     // beyond its input, from forward to backward
  int64_t forward = 0;  // beyond inputs and what is kept: the most while it runs forward, its output included
  int64_t backward = 0;  // … and backward, the gradient included
};

/// Measured by running the layer on tensors without values (forward/measured_layer.h), as far as it is asked
/// for. Not thread-safe.
class LayerMemory {
 public:
  struct Shape {
    int64_t tokens;     // N
    int64_t tile_rows;  // 0: all
    int64_t loss_chunk_rows;
    bool dropout = false;  // on what low-rank pairs read
  };
  /// The decoder must outlive it.
  LayerMemory(const model::Decoder& decoder, const Shape& shape);

  /// The hidden states [N, C].
  int64_t input() const;
  const LayerPhases& phases(Keep keep) const;
  /// The most that is held while the last norm, the head and the loss run, the last hidden states included.
  int64_t loss() const;
  /// What products that make weights' gradients hold beside tensors: a copy of the transposed operand.
  int64_t product_scratch() const;

 private:
  /// Those of LayerPhases, one after the other.
  std::array<int64_t, 3> measure_layer(Keep keep, int64_t tokens) const;
  int64_t measure_loss() const;

  const model::Decoder& decoder_;
  Shape shape_;
  model::Block block_;  // without values
  mutable std::array<std::optional<LayerPhases>, 3> phases_;
  mutable std::optional<int64_t> loss_;
};

}  // namespace longlora::train
