// Runs forward and backward over all layers, one layer at a time.
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

/// Sums over the tokens of a batch that have a label.
struct LossSums {
  double loss = 0.0;
  int64_t num_labels = 0;
  int64_t num_correct = 0;

  LossSums& operator+=(const LossSums& other);
  /// The mean loss of a token, or NaN where no token has a label.
  double mean() const { return loss / static_cast<double>(num_labels); }
};

/// How the work of a step is divided, which decides memory and time. Results depend on tile_tokens and
/// loss_chunk_rows in their last bits alone, and not at all on the places of inputs.
struct EngineOptions {
  int64_t tile_tokens = 0;  // how many tokens go through everything but attention at a time; 0: all
  /// How many rows of logits are made at a time; 0: as LinearCrossEntropyOptions chooses.
  int64_t loss_chunk_rows = 0;
  InputPlaces inputs;
};

/// Walks the layers of the decoder that `trained` belongs to. There is never a graph of the whole model:
/// forward keeps of each layer what `keep` says, and backward goes through the layers in reverse and releases
/// each. Not thread-safe.
class Engine {
 public:
  /// `keep` has one entry for each layer. Rows have at most `max_row_tokens` tokens. `source` brings the
  /// weights of the layers. Throws ResourceError when there is no room for inputs on disk.
  Engine(TrainedParameters& trained, std::vector<Keep> keep, int64_t max_row_tokens,
         EngineOptions options = {},
         std::shared_ptr<const forward::LayerSource> source = forward::resident());

  /// Adds grad_scale · d(loss sum) to the gradient of every parameter that is trained. Batches are on the CPU
  /// even where the decoder is on a GPU.
  LossSums forward_backward(const Batch& given, double grad_scale);

  /// Sets EngineOptions::tile_tokens and loss_chunk_rows for later calls.
  void set_tiles(int64_t tile_tokens, int64_t loss_chunk_rows);

  /// Computes the loss without gradients.
  LossSums evaluate(const Batch& given);

 private:
  /// Runs the last norm, the head and the loss forward and backward. Overwrites `hidden`, the last layer's
  /// output [N, C], with its gradient.
  LossSums head_forward_backward(at::Tensor& hidden, const Batch& batch, double grad_scale);
  bool input_needs_gradient(size_t index) const;
  void add_embedding_gradient(const at::Tensor& grad, const at::Tensor& ids);
  /// Returns the positions of the batch's tokens. Where angles depend on the length of a sequence, they are
  /// those of the batch's longest row. Throws for positions beyond max_row_tokens.
  model::Positions positions_of(const Batch& batch);

  const model::Decoder& decoder_;
  /// The trained parameters of each layer, of the last norm, the embedding and the head. The last two are
  /// null where they are not trained.
  std::vector<std::vector<TrainedParameter*>> of_layers_;
  std::vector<TrainedParameter*> of_norm_;
  TrainedParameter *embedding_, *head_;
  std::vector<Keep> keep_;
  int64_t max_row_tokens_;
  EngineOptions options_;
  InputStore inputs_;
  std::shared_ptr<const forward::LayerSource> source_;
  forward::RotaryTables rotary_;
  /// The lowest layer that has a trained parameter. Layers below it need no backward unless the embedding is
  /// trained.
  size_t first_trained_layer_ = 0;
};

}  // namespace longlora::train
