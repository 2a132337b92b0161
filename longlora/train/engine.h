// Forward and backward, layer by layer.
#pragma once

#include <ATen/ATen.h>

#include <cstdint>
#include <memory>
#include <vector>

#include "longlora/forward/layer_source.h"
#include "longlora/forward/rotary_tables.h"
#include "longlora/model/decoder.h"
#include "longlora/train/batch.h"
#include "longlora/train/input_store.h"
#include "longlora/train/layer_pass.h"
#include "longlora/train/trained_parameters.h"

namespace longlora::train {

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
};

/// Walks the layers of the decoder that `trained` belongs to. Never builds a graph of the whole model:
/// forward keeps what `keep` says of each layer, backward goes through the
/// layers in reverse and releases each. Not thread-safe.
class Engine {
 public:
  /// `keep` has one entry a layer; rows have at most `max_row_tokens` tokens; `source` brings the weights of
  /// the layers. Throws ResourceError when there is no room for inputs on disk.
  Engine(TrainedParameters& trained, std::vector<Keep> keep, int64_t max_row_tokens,
         EngineOptions options = {},
         std::shared_ptr<const forward::LayerSource> source = forward::resident());

  /// Adds grad_scale · d(loss sum) to the gradient of every parameter that trains. Batches are on the CPU,
  /// wherever the decoder is.
  LossSums forward_backward(const Batch& given, double grad_scale);

  /// Other EngineOptions::tile_rows and loss_chunk_rows from the next call on.
  void set_tiles(int64_t tile_rows, int64_t loss_chunk_rows);

  /// The loss alone.
  LossSums evaluate(const Batch& given);

 private:
  /// Forward and backward of the last norm, the head and the loss. Overwrites `hidden`, the last layer's
  /// output [N, C], with the gradient of the loss by it.
  LossSums head_forward_backward(at::Tensor& hidden, const Batch& batch, double grad_scale);
  bool input_needs_gradient(size_t index) const;
  void add_embedding_gradient(const at::Tensor& grad, const at::Tensor& ids);
  /// Of the batch's tokens. Where angles depend on the length they are those of the batch's longest row.
  /// Throws for positions beyond max_row_tokens.
  model::Positions positions_of(const Batch& batch);

  const model::Decoder& decoder_;
  /// What of each layer, of the last norm, and whether embedding and head train; null where they do not.
  std::vector<std::vector<TrainedParameter*>> of_layers_;
  std::vector<TrainedParameter*> of_norm_;
  TrainedParameter *embedding_, *head_;
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
