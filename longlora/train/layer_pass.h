// Forward and backward of one layer, in tiles of tokens.
//
// Everything in a layer but attention works on each token by itself, so that it can run on a tile of tokens
// at a time. Then tensors that are wider than the hidden states never exist for all tokens at once, unless
// they are to be kept.
#pragma once

#include <ATen/ATen.h>
#include <torch/csrc/autograd/edge.h>

#include <cstdint>
#include <vector>

#include "longlora/forward/attend.h"
#include "longlora/model/decoder.h"
#include "longlora/ops/attention.h"
#include "longlora/train/trained_parameters.h"

namespace longlora::train {

/// What a layer keeps from forward for backward.
enum class Keep {
  kInput,       // only its input; backward runs the whole layer again
  kAttention,   // its input and the results of attention; backward runs everything but attention again
  kEverything,  // every intermediate result; backward runs nothing again
};

/// A piece of a layer's autograd graph, given by the edges where gradients enter (roots) and leave it
/// (leaves). It holds what autograd saved for backward, but not the results themselves.
struct GraphPiece {
  int64_t begin = 0, end = 0;  // the tokens that it is about
  std::vector<torch::autograd::Edge> roots, leaves;
};

/// What was kept of a layer from forward to backward. Where it has no pieces of graph, backward makes them by
/// running the layer again.
struct LayerRecord {
  at::Tensor input;  // [N, C]
  ops::KeptAttention attention;
  std::vector<GraphPiece> projections;  // for each tile, from the input to q, k, v
  std::vector<GraphPiece> attended;     // from q, k, v to the result of attention; at most one
  /// For each tile, from the input and the result of attention to the output.
  std::vector<GraphPiece> finishes;
};

/// Runs one layer on one batch. What the operands refer to must outlive this object.
class LayerPass {
 public:
  struct Operands {
    size_t index;  // of the layer
    const model::Block& block;
    const model::ModelConfig& config;
    const model::Positions& positions;
    forward::Attend& attention;
    int64_t tile_tokens;
    bool input_needs_gradient;
    model::PairDropout dropout = {};
  };
  explicit LayerPass(const Operands& operands) : operands_(operands) {}

  /// Returns the output [N, C] for record.input, detached from autograd, and puts what `keep` says into the
  /// record.
  at::Tensor forward(LayerRecord& record, Keep keep) const;

  /// Replaces grad [N, C], the gradient of the output, by the gradient of the input, and adds the gradients
  /// of `parameters` to their accumulators. Leaves the record empty. Where the input needs no gradient, the
  /// values of grad mean nothing afterwards.
  void backward(LayerRecord& record, at::Tensor& grad,
                const std::vector<TrainedParameter*>& parameters) const;

 private:
  /// Returns the dropout of the tile that begins at this token.
  model::PairDropout dropout_from(int64_t row) const;
  struct Projected {
    model::QueryKeyValue whole;
    bool q_needs_gradient = false, k_needs_gradient = false, v_needs_gradient = false;
    std::vector<GraphPiece> pieces;  // empty where no graph is wanted
  };
  Projected project(const at::Tensor& input, bool with_graph) const;
  /// Returns the result of attention, detached from autograd. Its piece of graph goes into `attended`.
  at::Tensor attend(const Projected& projected, bool with_graph, ops::KeptAttention* kept,
                    std::vector<GraphPiece>& attended) const;
  /// Returns the output of the tile that `piece` gives. Its graph goes into the piece where one is wanted.
  at::Tensor finish(const at::Tensor& input, const at::Tensor& attention, bool attention_needs_gradient,
                    GraphPiece& piece, bool with_graph) const;

  Operands operands_;
};

}  // namespace longlora::train
