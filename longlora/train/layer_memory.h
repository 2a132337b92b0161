// Bytes that one layer's tensors hold, phase by phase, as layer_pass.cpp and the ops allocate them.
#pragma once

#include <cstdint>

#include "longlora/model/decoder.h"
#include "longlora/train/layer_pass.h"

namespace longlora::train {

/// Sizes for one decoder and micro-batch; all in bytes.
class LayerMemory {
 public:
  struct Shape {
    int64_t tokens;     // N
    int64_t tile_rows;  // 0: all
    int64_t loss_chunk_rows;
    bool dropout = false;  // on what low-rank pairs read
  };
  LayerMemory(const model::Decoder& decoder, const Shape& shape);

  /// The hidden states [N, C].
  int64_t input() const { return tokens_ * hidden_; }
  /// What a layer holds beyond its input from forward to backward.
  int64_t kept(Keep keep) const;
  /// Beyond inputs and what is kept: the most that is held while a layer runs forward, its output included,
  int64_t forward(Keep keep) const;
  /// … and backward, the gradient included and what was kept not;
  int64_t backward(Keep keep) const;
  /// … and while the last norm, the head and the loss run, the last hidden states included.
  int64_t loss() const;
  /// What products that make weights' gradients hold beside tensors: a copy of the transposed operand.
  int64_t product_scratch() const;

 private:
  /// What the two halves of a layer save for backward.
  void count_saved(const model::Block& block, const model::BlockForm& form, int64_t element);
  /// The gradients of its trained matrices.
  void count_gradients(const model::Block& block, int64_t element);
  int64_t everything_per_token() const;
  int64_t attention_per_token() const { return query_ + 4 * heads_; }
  /// The most that one tile of what follows attention holds while it runs backward, gradients of its
  /// operands not counted; `again`: forward too.
  int64_t finish_backward(bool again) const;

  // Bytes a token of each width; counts.
  int64_t tokens_, tile_, hidden_, query_, key_, feed_forward_;
  int64_t heads_;
  int64_t projections_saved_ = 0;  // beyond q, k and v: the normed input, low-rank products, unnormed heads
  int64_t finish_saved_ = 0;       // by everything after attention
  int64_t mlp_streams_ = 2, extra_streams_ = 0;
  // What one linear layer with dropout or a magnitude holds while it runs.
  int64_t projection_scratch_ = 0, mlp_scratch_ = 0;
  bool sequential_ = true, mlp_input_ = false;
  // Gradients of trained matrices before they are added up.
  int64_t projection_gradient_ = 0, down_gradient_ = 0, mlp_gradient_ = 0;
  int64_t shared_key_sums_ = 0;
  int64_t loss_rows_ = 0, vocabulary_ = 0, head_gradient_ = 0;
};

}  // namespace longlora::train
