// Measures how many bytes the tensors of one layer, and of the loss, hold in training.
#pragma once

#include <array>
#include <cstdint>
#include <optional>

#include "longlora/model/decoder.h"
#include "longlora/train/layer_pass.h"

namespace longlora::train {

/// What a layer holds in bytes, given what it keeps for backward.
struct LayerPhases {
  int64_t kept = 0;      // what it keeps from forward to backward beside its input
  int64_t forward = 0;   // the most that it holds beside that while it runs forward; its output counts
  int64_t backward = 0;  // the same while it runs backward; the gradient counts
};

/// Measures by running the layer on tensors without values (forward/measured_layer.h), each value when it is
/// first asked for. Not thread-safe.
class LayerMemory {
 public:
  struct Shape {
    int64_t tokens;       // N
    int64_t tile_tokens;  // 0: one tile has all tokens
    int64_t loss_chunk_rows;
    bool dropout = false;  // whether low-rank pairs have dropout
  };
  /// The decoder must outlive this object.
  LayerMemory(const model::Decoder& decoder, const Shape& shape);

  /// Returns the bytes of the hidden states [N, C].
  int64_t input() const;
  const LayerPhases& phases(Keep keep) const;
  /// Returns the most bytes that tensors hold while last norm, head and loss run. The last hidden states
  /// count.
  int64_t loss() const;
  /// Returns what the products for gradients of weights hold beside tensors, which is a copy of the
  /// transposed operand.
  int64_t product_scratch() const;

 private:
  /// Returns the three members of LayerPhases in their order.
  std::array<int64_t, 3> measure_layer(Keep keep, int64_t tokens) const;
  int64_t measure_loss() const;

  const model::Decoder& decoder_;
  Shape shape_;
  model::Block block_;  // its tensors have no values
  mutable std::array<std::optional<LayerPhases>, 3> phases_;
  mutable std::optional<int64_t> loss_;
};

}  // namespace longlora::train
