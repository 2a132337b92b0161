// Forward and backward of one layer, in tiles of rows.
//
// All of a layer but attention works row by row, so it runs on some rows at a time: what is wider than the
// hidden states never exists for all tokens at once, unless it is to be kept.
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
  kInput,       // only its input; backward runs the layer again
  kAttention,   // its input and what attention computed; backward runs the rest again
  kEverything,  // every intermediate result
};

/// A piece of a layer's graph: where gradients go in and come out. It keeps what autograd saved, not the
/// results themselves.
struct GraphPiece {
  int64_t begin = 0, end = 0;  // rows
  std::vector<torch::autograd::Edge> roots, leaves;
};

/// What was kept of a layer. Without graphs backward makes them again.
struct LayerRecord {
  at::Tensor input;  // [N, C]
  ops::KeptAttention attention;
  std::vector<GraphPiece> projections;  // one a tile: input to q, k, v
  std::vector<GraphPiece> attended;     // q, k, v to attention; one, or none
  std::vector<GraphPiece> finishes;     // one a tile: input and attention to output
};

/// One layer on one batch. What it refers to must outlive it.
class LayerPass {
 public:
  struct Operands {
    const model::Block& block;
    const model::ModelConfig& config;
    const model::Positions& positions;
    forward::Segments& segments;
    int64_t tile_rows;
    bool input_needs_gradient;
    model::PairDropout dropout = {};
  };
  explicit LayerPass(const Operands& operands) : operands_(operands) {}

  /// Output [N, C] for record.input, outside autograd; what `keep` says goes into the record.
  at::Tensor forward(LayerRecord& record, Keep keep) const;

  /// Turns grad [N, C] of the output into that of the input, in its place, and adds the gradients of
  /// `parameters` to their accumulators. Leaves the record empty. Without a need for the input's gradient
  /// grad holds nothing of use afterwards.
  void backward(LayerRecord& record, at::Tensor& grad,
                const std::vector<TrainedParameter*>& parameters) const;

 private:
  /// Dropout of the tile that begins at this row.
  model::PairDropout dropout_from(int64_t row) const;
  struct Projected {
    model::QueryKeyValue whole;
    bool q_needs_gradient = false, k_needs_gradient = false, v_needs_gradient = false;
    std::vector<GraphPiece> pieces;  // with graph
  };
  Projected project(const at::Tensor& input, bool with_graph) const;
  /// Attention's output, outside autograd.
  at::Tensor attend(const Projected& projected, bool with_graph, ops::KeptAttention* kept,
                    std::vector<GraphPiece>& attended) const;
  /// Rows [begin, end) of the output; its graph goes to `piece` where one is wanted.
  at::Tensor finish(const at::Tensor& input, const at::Tensor& attention, bool attention_needs_gradient,
                    GraphPiece& piece, bool with_graph) const;

  Operands operands_;
};

}  // namespace longlora::train
