// Forward and backward, layer by layer.
#pragma once

#include <ATen/ATen.h>

#include <cstdint>
#include <memory>
#include <vector>

#include "longlora/forward/layer_source.h"
#include "longlora/forward/rotary_tables.h"
#include "longlora/model/decoder.h"
#include "longlora/ops/segment_plan.h"
#include "longlora/train/input_store.h"
#include "longlora/train/layer_pass.h"

namespace longlora::train {

/// One micro-batch of rows laid end to end: N = rows × row_tokens.
struct Batch {
  at::Tensor ids;        // [N] int64
  at::Tensor labels;     // [N] int64, ops::kIgnoreLabel where there is no target
  at::Tensor positions;  // [N] int64, place of the token in its row
  ops::SegmentPlan plan;
  at::Tensor embedding_noise = {};  // [N, C] added to the embeddings in training, or undefined
  model::PairDropout dropout = {};  // in training
};

/// A batch of next-token prediction: labels are the ids one place ahead inside
/// each row. ids [rows, row_tokens] int64.
Batch make_next_token_batch(const at::Tensor& ids, int64_t group_tokens);

/// Sums over the supervised tokens of a batch.
struct LossSums {
  double loss = 0.0;
  int64_t num_labels = 0;
  int64_t num_correct = 0;

  LossSums& operator+=(const LossSums& other);
  /// NaN where there are none.
  double mean() const { return loss / static_cast<double>(num_labels); }
};

/// How the work of a step is cut up; decides memory and time. Results depend on tile_rows and
/// loss_chunk_rows in their last bits alone, and on the rest not at all.
struct EngineOptions {
  int64_t tile_rows = 0;        // rows at a time of all but attention; 0: all
  int64_t loss_chunk_rows = 0;  // rows of logits at a time; 0: LinearCrossEntropyOptions' choice
  InputPlaces inputs;
  /// Tokens of all calls of forward_backward() between two updates, 0: any number. No more rows of an
  /// embedding than that get gradients, and room is made for so many.
  int64_t window_tokens = 0;
};

/// Walks the layers of one decoder. Never builds a graph of the whole model:
/// forward keeps what `keep` says of each layer, backward goes through the
/// layers in reverse and releases each. Not thread-safe.
class Engine {
 public:
  /// `keep` has one entry a layer; rows have at most `max_row_tokens` tokens; `source` brings the weights of
  /// the layers. Throws ResourceError when there is no room for inputs on disk.
  Engine(model::Decoder& decoder, std::vector<Keep> keep, int64_t max_row_tokens, EngineOptions options = {},
         std::shared_ptr<const forward::LayerSource> source = forward::resident());

  /// Adds grad_scale · d(loss sum) to the gradient of every trainable parameter. Batches are on the CPU,
  /// wherever the decoder is.
  LossSums forward_backward(const Batch& given, double grad_scale);

  /// Other EngineOptions::tile_rows and loss_chunk_rows from the next call on.
  void set_tiles(int64_t tile_rows, int64_t loss_chunk_rows);

  /// The loss alone.
  LossSums evaluate(const Batch& given);

 private:
  /// Turns the last hidden states [N, C] into their gradient, in their place.
  LossSums head_forward_backward(const at::Tensor& hidden, const Batch& batch, double grad_scale);
  bool input_needs_gradient(size_t index) const;
  /// Makes the gradient of an embedding, by rows where lookups alone add to it.
  void prepare_embedding_gradient();
  void add_embedding_gradient(const at::Tensor& grad, const at::Tensor& ids);
  /// Of the batch's tokens. Where angles depend on the length they are those of the batch's longest row.
  /// Throws for positions beyond max_row_tokens.
  model::Positions positions_of(const Batch& batch);

  model::Decoder& decoder_;
  std::vector<Keep> keep_;
  int64_t max_row_tokens_;
  EngineOptions options_;
  InputStore inputs_;
  std::shared_ptr<const forward::LayerSource> source_;
  forward::RotaryTables rotary_;
  /// Lowest layer that holds a trainable parameter; layers below need no backward.
  size_t first_trained_layer_ = 0;
};

}  // namespace longlora::train
