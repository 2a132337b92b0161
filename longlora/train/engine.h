// Forward and backward by layer.
#pragma once

#include <ATen/ATen.h>

#include <cstdint>
#include <vector>

#include "longlora/model/decoder.h"
#include "longlora/ops/segment_attention.h"
#include "longlora/ops/segment_plan.h"

namespace longlora::train {

/// One micro-batch of rows laid end to end: N = rows × row_tokens.
struct Batch {
  at::Tensor ids;        // [N] int64
  at::Tensor labels;     // [N] int64, ops::kIgnoreLabel where there is no target
  at::Tensor positions;  // [N] int64, place of the token in its row
  ops::SegmentPlan plan;
  at::Tensor embedding_noise = {};  // [N, C] added to the embeddings in training, or undefined
};

/// A batch of next-token prediction: labels are the ids one place ahead inside
/// each row. ids [rows, row_tokens] int64.
Batch make_next_token_batch(const at::Tensor& ids, int64_t group_tokens);

/// What a layer keeps from forward for backward.
enum class Keep {
  kInput,       // only its input; backward runs the layer again
  kAttention,   // its input and what attention computed; backward runs the rest again
  kEverything,  // every intermediate result
};

/// Sums over the supervised tokens of a batch.
struct LossSums {
  double loss = 0.0;
  int64_t num_labels = 0;
  int64_t num_correct = 0;

  LossSums& operator+=(const LossSums& other);
  double mean() const { return num_labels > 0 ? loss / static_cast<double>(num_labels) : 0.0; }
};

/// Walks the layers of one decoder. Never builds a graph of the whole model:
/// forward keeps what `keep` says of each layer, backward goes through the
/// layers in reverse and releases each. Not thread-safe.
class Engine {
 public:
  /// `keep` has one entry a layer; rotary tables reach `max_row_tokens`.
  Engine(model::Decoder& decoder, std::vector<Keep> keep, int64_t max_row_tokens);

  /// Adds grad_scale · d(loss sum) to the gradient of every trainable parameter.
  LossSums forward_backward(const Batch& batch, double grad_scale);

  /// The loss alone.
  LossSums evaluate(const Batch& batch);

 private:
  struct LayerRecord {
    at::Tensor input;   // leaf of the layer's graph, or a plain tensor
    at::Tensor output;  // with graph when everything was kept
    ops::KeptAttention attention;
  };

  /// `kept`: attention's results, to fill or to go on from; may be null.
  LayerRecord run_layer(size_t index, const at::Tensor& input, const Batch& batch, bool with_graph,
                        ops::KeptAttention* kept = nullptr) const;
  LossSums head_forward_backward(const at::Tensor& hidden, const Batch& batch, double grad_scale,
                                 at::Tensor& grad_hidden);
  at::Tensor layer_backward(size_t index, LayerRecord& record, const Batch& batch,
                            const at::Tensor& grad_output);
  bool input_needs_gradient(size_t index) const;
  /// The rotation reads the tables unchecked: throws for positions beyond them.
  /// Where angles depend on the length they are made for that of the batch's longest row.
  void prepare_positions(const Batch& batch);

  model::Decoder& decoder_;
  std::vector<Keep> keep_;
  int64_t max_row_tokens_;
  model::RotaryTable rotary_;
  /// Lowest layer that holds a trainable parameter; layers below need no backward.
  size_t first_trained_layer_ = 0;
};

}  // namespace longlora::train
